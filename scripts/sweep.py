"""Sweep a grid: `python scripts/sweep.py 'strength=logspace(-9,3,60)' 'seed=range(64)'`."""

from ssmbias.cli.sweep import main

if __name__ == "__main__":
    main()
