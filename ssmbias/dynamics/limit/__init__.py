"""Where flows of Theorem 1's setting end, without the time in between."""
