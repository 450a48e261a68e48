"""`ssmbias-sweep`: run a grid of seeds, poison strengths, gaps and init scales."""

from __future__ import annotations

from ssmbias.cli.program import Program

PROGRAM = Program(
    name="sweep",
    does="run a grid of seeds, poison strengths, gaps and init scales into a store",
    examples=(
        ("'strength=logspace(-9,3,60)' 'seed=range(64)'", "3840 runs in one job"),
        ("experiment=phase_diagram", "a named sweep with its report"),
        ("-m seq_len=5,7 state_dim=10,20 'seed=range(8)'", "four jobs, one for each shape"),
        ("-m cluster=joblib seq_len=5,7 'seed=range(8)'", "jobs side by side"),
        ("'seed=range(8)' store=runs.zarr", "a store of your own; it is resumed if it is there"),
    ),
    texts=("seed", "strength", "gap", "relative_gap", "init_scale", "save_times"),
    paths=("store",),
    announced=False,
)
main = PROGRAM.main

if __name__ == "__main__":
    main()
