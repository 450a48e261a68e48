"""Intervals, paired tests, corrections, and fits of power laws."""
