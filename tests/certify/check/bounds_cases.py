"""Entries of a state in the checker's coordinates."""


def entries(pb, e, g, w, mus):
    """a_1..a_d of a state, S_1 = 1 + w."""
    d = pb.state_dim
    second = (1 + w) / d + e * (1 - g / d)
    return [second + g * e, second] + [second - mu * e for mu in mus]
