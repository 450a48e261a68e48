"""SSM layers of practice as pure functions of one sequence: S4D, LRU, Mamba-2."""
