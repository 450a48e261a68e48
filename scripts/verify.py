"""Check the claims about Theorem 1: `python scripts/verify.py setting=t7 num_seeds=64`."""

from ssmbias.cli.verify import main

if __name__ == "__main__":
    main()
