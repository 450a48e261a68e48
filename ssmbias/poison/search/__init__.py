"""Gradient matching: the search for perturbations, its choices, and random ones of their size."""
