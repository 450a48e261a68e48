"""What a run leaves behind: atomic files, provenance, fingerprints."""
