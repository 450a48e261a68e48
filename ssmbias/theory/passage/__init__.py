"""Weak poison: the passage of nearly tied entries past each other."""
