"""Hydra configuration tree, shipped as `ssmbias.conf`."""
