"""What claims are about: simulations that claims share, run once."""
