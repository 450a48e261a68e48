"""What a run leaves behind, once for all programs; nothing here knows what is computed.

`files` writes whole files or none, `provenance` says where numbers come from, `fingerprint` what
they depend on (`sources` finds the modules by their imports, `describe` the configuration), `units`
keeps finished work so that a killed run goes on, `workers` runs it in processes, `mapping` makes
dataclasses of plain mappings.
"""
