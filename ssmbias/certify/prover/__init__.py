"""The prover: a tube that holds every trajectory from a box, in plain floating point."""
