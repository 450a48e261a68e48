"""`ssmbias-certify`: prove Theorem 1 over boxes of starts."""

from __future__ import annotations

from ssmbias.cli.program import Program

PROGRAM = Program(
    name="certify",
    does="prove Theorem 1 over boxes of starts: certificates, checked twice",
    examples=(
        ("", "the default boxes, in one to two minutes"),
        ("rel=0.2 'delta=[1e-9,1e-8]'", "a box by numbers"),
        ("boxes=k7d10_rel_0.1", "a box by name"),
        ("rel=[0.1,0.2,0.3]", "three boxes in one job"),
        ("-m rel=.1,.2,.3 strength=.1,1,10", "nine jobs, and one table over all of them"),
    ),
    violated="a box is not certified, or a certificate is contradicted",
    texts=("boxes", "delta", "rel"),
)
main = PROGRAM.main

if __name__ == "__main__":
    main()
