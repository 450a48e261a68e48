"""The command-line programs, one module each, and what they share.

`program` is what a program is, `help` its --help, `launch` how it runs under Hydra, `words` what is
typed, `command` how it goes on, `multirun` the end of many jobs, `jobs` the work.
"""
