"""A quick proof of a small box, and its file."""

from pathlib import Path

import pytest
from certify.check.proved import BOX, proved

from ssmbias.certify import Certificate


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    return proved(BOX)


@pytest.fixture(scope="session")
def log(certificate, tmp_path_factory) -> Path:
    return certificate.save(tmp_path_factory.mktemp("certificate") / "proof.gz")
