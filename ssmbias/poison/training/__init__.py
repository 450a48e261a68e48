"""Training: all examples at every step, or minibatches; the same engine runs both."""
