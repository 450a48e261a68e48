"""What the programs do: from a plain mapping to a job, and from a job to an exit code.

A module a program, with `parse(mapping)` and `job(config, folder)`. They load JAX.
"""
