"""Data of the experiments with networks: sums and signs, digits, CIFAR-10."""
