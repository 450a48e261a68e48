"""Boxes of initialisations: what is refused at the door, and what the helpers build."""

import math

import numpy as np
import pytest

from ssmbias.certify.box import Box, box_around, default_box, require_flow
from ssmbias.certify.catalogue import CASES, STARTS, start_box

GOOD = {"a2": (1e-3, 1.1e-3), "delta": (1e-8, 2e-8), "gaps": ([1e-4, 2e-4], [1.5e-4, 3e-4])}


def test_a_good_box_keeps_its_numbers():
    box = Box(**GOOD)
    assert box.state_dim == 4
    assert box.gaps == ((1e-4, 2e-4), (1.5e-4, 3e-4))
    assert hash(box) == hash(Box(**(GOOD | {"gaps": np.array(GOOD["gaps"])})))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"a2": (1.1e-3, 1e-3)}, "a2"),
        ({"a2": (math.nan, 1e-3)}, "a2"),
        ({"a2": 1e-3}, "a2"),
        ({"a2": (1e-3, 0.3)}, "a2"),  # S_1(0) >= 1
        ({"a2": (3e-4, 1e-3)}, "a2"),  # a_4 may be 0
        ({"a2": "ab"}, "a2"),
        ({"delta": (0.0, 2e-8)}, "delta"),
        ({"delta": (-1e-8, 2e-8)}, "delta"),
        ({"delta": (2e-8, 1e-8)}, "delta"),
        ({"delta": (1e-8, math.inf)}, "delta"),
        ({"delta": np.array([1e-8, 2e-8], dtype=np.float32)}, "delta"),
        ({"gaps": ([1e-4], [1.5e-4, 3e-4])}, "gaps"),
        ({"gaps": ([], [])}, "gaps"),
        ({"gaps": ([0.0, 2e-4], [1.5e-4, 3e-4])}, "gaps"),
        ({"gaps": ([2e-4, 2e-4], [1.5e-4, 3e-4])}, "gaps"),
        ({"gaps": ([math.nan, 2e-4], [1.5e-4, 3e-4])}, "gaps"),
        ({"gaps": 3}, "gaps"),
    ],
)
def test_bad_boxes_are_refused_by_name(change, name):
    with pytest.raises(ValueError, match=name):
        Box(**(GOOD | change))


@pytest.mark.parametrize(
    ("seq_len", "strength", "name"),
    [
        (6, 1.0, "seq_len"),
        (3, 1.0, "seq_len"),
        (101, 1.0, "seq_len"),
        (7.0, 1.0, "seq_len"),
        (7, 0.0, "strength"),
        (7, math.nan, "strength"),
        (7, -math.inf, "strength"),
        (7, 10**400, "strength"),
    ],
)
def test_bad_flows_are_refused_by_name(seq_len, strength, name):
    with pytest.raises(ValueError, match=name):
        require_flow(Box(**GOOD), seq_len, strength)


def test_halves_share_the_cut_and_cover_the_box():
    box = Box(**GOOD)
    for coordinate, cut in (("a2", 1.05e-3), ("delta", 1.5e-8), (4, 2.5e-4)):
        below, above = box.halves(coordinate, cut)
        ends = [
            {"a2": x.a2, "delta": x.delta, 4: (x.gaps[0][1], x.gaps[1][1])}[coordinate]
            for x in (box, below, above)
        ]
        assert ends[1] == (ends[0][0], cut)
        assert ends[2] == (cut, ends[0][1])
        assert below.gaps[0][0] == above.gaps[0][0] == box.gaps[0][0]
    with pytest.raises(ValueError, match="cut"):
        box.halves("delta", 1e-8)
    with pytest.raises(ValueError, match="coordinate"):
        box.halves(5, 1e-4)


def test_default_box_and_box_around():
    box = default_box(10, scale=1e-3, rel=0.2)
    # D_10 is half the scale, D_3 an eighth of that, each with 20 % to both sides.
    np.testing.assert_allclose([box.gaps[0][-1], box.gaps[1][0]], [4e-4, 7.5e-5], rtol=1e-12)
    with pytest.raises(ValueError, match="a2"):
        default_box(10, rel=0.9)
    with pytest.raises(ValueError, match="state_dim"):
        default_box(2)
    # A gap of 1e-12 keeps its digits: it is never formed as a difference of entries.
    tight = box_around(1e-3, 1e-12, [1e-12, 9.9e-4], rel=0.1)
    assert tight.gaps[0][0] == pytest.approx(9e-13, rel=1e-12)
    assert max(tight.gaps[1]) < tight.a2[0]


def test_the_catalogue_holds_every_case_once():
    assert len(CASES) == 28
    assert len({case.name for case in CASES}) == 28
    for name, start in STARTS.items():
        box = start_box(name, 0.1)
        assert box.a2[0] < start.entries[0] < box.a2[1]
        for j, entry in enumerate(start.entries[1:]):
            assert box.gaps[0][j] < start.entries[0] - entry < box.gaps[1][j]


@pytest.mark.parametrize("width", ["rel", "rel_delta", "rel_a2"])
def test_widths_of_one_or_more_are_refused_by_name(width):
    with pytest.raises(ValueError, match=f"{width}=2: must be below 1"):
        box_around(1e-3, 1e-12, [1e-4], **{width: 2})
