"""The published experiment on CIFAR-10, at full scale: its settings, and running them."""
