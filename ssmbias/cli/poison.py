"""`ssmbias-poison`: poison networks of practice, with controls."""

from __future__ import annotations

from ssmbias.cli.program import Program

PROGRAM = Program(
    name="poison",
    does="poison networks of practice, with controls, paired tests and a verdict",
    examples=(
        ("experiment=f1 'seeds=range(20)'", "task F1 with an LRU: all arms, 20 seeds"),
        ("experiment=f1_mamba2", "the same with Mamba-2"),
        ("arms=[dup,early,late] scale=0.02", "some arms, and another size of the poison"),
        ("-m experiment=f1,f1_small", "two jobs, and one table over both"),
        ("experiment=cifar10 model=s4d data=cifar-10-batches-bin", "at full scale, for a GPU"),
    ),
    violated="the verdict of a published experiment is not the documented one",
    texts=("seeds", "windows"),
    paths=("data",),
)
main = PROGRAM.main

if __name__ == "__main__":
    main()
