"""Certify boxes: `python scripts/certify.py seq_len=7 state_dim=10 rel=0.2 'delta=[1e-9,1e-8]'`."""

from ssmbias.cli.certify import main

if __name__ == "__main__":
    main()
