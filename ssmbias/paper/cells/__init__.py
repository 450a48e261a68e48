"""The units of work of a reproduction: what they are, what computes them, and how they are run."""
