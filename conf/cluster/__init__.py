"""Launchers that run the jobs of a multirun side by side, here or on a cluster."""
