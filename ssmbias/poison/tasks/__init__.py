"""Tasks: F1, digits, images of CIFAR-10 and your own data; each keeps `ssmbias.poison.Task`."""
