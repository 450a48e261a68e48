"""Poison networks of practice: `python scripts/poison.py experiment=f1 'seeds=range(20)'`."""

from ssmbias.cli.poison import main

if __name__ == "__main__":
    main()
