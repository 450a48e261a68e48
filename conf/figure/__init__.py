"""Sizes of the main job."""
