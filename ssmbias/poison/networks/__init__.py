"""Networks: ours, and how those of flax and equinox become `ssmbias.poison.Network`."""
