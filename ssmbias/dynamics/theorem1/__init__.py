"""Gradient flow in Theorem 1's setting: lanes that step, stop and are refilled on their own."""
