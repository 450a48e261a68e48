"""Named sweeps: a grid with its settings and its report."""
