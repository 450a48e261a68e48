"""The phase diagram of strength over gap: predictions, numbers and report."""
