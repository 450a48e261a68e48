"""Gradient flow of linear students on any data."""
