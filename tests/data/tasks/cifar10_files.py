"""Files of CIFAR-10 for tests."""

from __future__ import annotations

import pytest

from ssmbias.data.tasks.cifar10 import load_cifar10

MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


def refused(source, match, **options) -> None:
    """It is refused for this reason, and the message says what to put there."""
    with pytest.raises(ValueError, match=match) as caught:
        load_cifar10(source, **options)
    message = str(caught.value)
    assert MD5 in message
    assert str(source) in message
    assert "30730000 bytes" in message
