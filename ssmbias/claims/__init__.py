"""The catalogue of claims, and nothing else: one file a claim."""
