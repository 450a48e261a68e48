"""Reproduce the paper: `scripts/reproduce.py table=1`, `figure=2`, `replay=<name>`, `all`."""

from ssmbias.cli.reproduce import main

if __name__ == "__main__":
    main()
