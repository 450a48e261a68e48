"""`ssmbias-verify`: check claims against simulation."""

from __future__ import annotations

from ssmbias.cli.program import Program

PROGRAM = Program(
    name="verify",
    does="check claims of theory against simulation, ours and those of your own files",
    examples=(
        ("setting=t7 num_seeds=64", "every claim in one setting, with 64 starts"),
        ("profile=quick", "four claims within seconds"),
        ("claims=[M1,B1] strength=[0,1]", "some claims, with two poison strengths"),
        ("claims=my_claims.py", "claims of a file (CLAIMS and SUBJECTS)"),
        ("-m setting=t7,t9 strength=0,1,100", "six jobs, and one table over all of them"),
    ),
    violated="a claim is violated",
    texts=("claims", "setting", "strength"),
    paths=("claims",),
)
main = PROGRAM.main

if __name__ == "__main__":
    main()
