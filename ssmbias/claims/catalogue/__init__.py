"""One module for each claim; `registry.all_claims` finds them by their `CLAIMS`."""
