"""Searches for the widest boxes that can be certified."""

from __future__ import annotations

import pytest

from ssmbias.certify import largest_delta, widest_box
from ssmbias.certify.box import Box, default_box


def test_the_widest_box_is_found_and_the_next_one_fails() -> None:
    start = (1e-3, 1e-8, [2.5e-4, 5e-4])
    found = widest_box(*start, seq_len=7, rels=(0.1, 0.2, 0.3), at_least=0.15)
    assert found.rel in {0.1, 0.2, 0.3}
    assert found.certificate.certified
    assert found.certificate.poisoned_error_lower >= 0.15
    # A harm beyond what the start itself suffers (0.18 to 0.21) is proved for no box.
    assert widest_box(*start, seq_len=7, rels=(0.1, 0.2), at_least=0.3).rel == 0


def test_a_start_without_near_tie_is_not_certified() -> None:
    found = widest_box(1e-3, 5e-4, [2.5e-4, 5e-4], seq_len=7, rels=(0.1, 0.3))
    assert found.rel == 0
    assert not found.certificate.certified
    assert "slab" in found.certificate.reason


@pytest.mark.slow  # some forty seconds
def test_one_statement_covers_five_decades_of_the_leading_gap() -> None:
    box = default_box(10, rel=0.1, delta=(1e-13, 1.6e-8))
    found = largest_delta(box, 7, at_least=0.026, ratio=1.3)
    assert found.box.delta[0] == 1e-13
    assert found.box.delta[1] > 1.6e-8
    # In all of it poison does more harm than clean training ends with.
    assert found.clean_error_upper < 0.026 <= found.poisoned_error_lower


@pytest.mark.parametrize("rels", [(), (0.2, 0.1), (0.1, 0.1)])
def test_widths_must_rise(rels) -> None:
    with pytest.raises(ValueError, match="rels="):
        widest_box(1e-3, 1e-8, [5e-4], seq_len=7, rels=rels)


def test_the_ratio_must_exceed_one() -> None:
    with pytest.raises(ValueError, match=r"ratio=1\.0: must be greater than 1"):
        largest_delta(default_box(3), 7, 0.1, ratio=1.0)


@pytest.mark.parametrize("harm", [-0.1, float("nan")])
def test_a_harm_that_is_no_number_is_refused(harm):
    with pytest.raises(ValueError, match="at_least"):
        widest_box(1e-3, 5e-9, [5e-4], seq_len=7, at_least=harm)
    with pytest.raises(ValueError, match="at_least"):
        largest_delta(Box(a2=(9e-4, 1e-3), delta=(1e-12, 1e-10), gaps=([4e-4], [5e-4])), 7, harm)
