"""Checks at the door, the names of axes, and array aliases: what every room may use."""
