"""What runs the points of a block: one module an engine, chosen by `ssmbias.sweeps.solve`.

An engine has `run(a0, log_gap, strength, seq_len, settings, devices)`, which takes and returns
NumPy arrays with one row a point, and `points_at_a_time(state_dim, devices)`. A store depends on
the source of the engine that filled it, and not on that of the others. Shapes that reach a compiler
are padded, so that blocks, grids and jobs of one process share compiled code.
"""
