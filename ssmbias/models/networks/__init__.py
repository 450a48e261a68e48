"""Networks built of SSM layers, and the paper's network of one SSM and a head."""
