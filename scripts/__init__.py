"""Command-line programs, shipped as `ssmbias.scripts`."""
