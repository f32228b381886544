"""Whatever is put into a JPEG between its own segments, the same pixels come out, and never more bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnosis.images import jpeg
from tests.diagnosis.images.pictures import TINY, clean, encoded, farthest, jpeg_segment, jpeg_segments, smear

OPTIONS = st.fixed_dictionaries(
    {
        "quality": st.integers(1, 100),
        "subsampling": st.sampled_from([0, 1, 2]),
        "optimize": st.booleans(),
    }
)
EXTRAS = st.one_of(
    st.tuples(st.sampled_from([*range(0xE2, 0xEE), 0xEF, 0xFE]), st.binary(max_size=300)),
    st.tuples(st.just(0xE1), st.binary(max_size=100).map(b"http://ns.adobe.com/xap/1.0/\0".__add__)),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_inserted_segments_vanish_and_the_pixels_stay(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    mode = data.draw(st.sampled_from(["RGB", "L", "CMYK"]))
    progressive = data.draw(st.booleans())
    restarts = {} if progressive else {"restart_marker_rows": data.draw(st.integers(0, 2))}
    image = smear(width, height, seed=data.draw(st.integers(0, 9))).convert(mode)
    original = encoded(image, "JPEG", progressive=progressive, **data.draw(OPTIONS), **restarts)
    places = [start for _, start, _ in jpeg_segments(original)]
    crowded, last = b"", 0
    for place in places:
        segments = data.draw(st.lists(EXTRAS, max_size=2))
        crowded += original[last:place] + b"".join(jpeg_segment(*segment) for segment in segments)
        last = place
    crowded += original[last:] + data.draw(st.binary(max_size=50))
    result = clean(crowded, limits=TINY)
    assert farthest(result.data, original) == 0
    assert result.data == clean(original, limits=TINY).data
    assert len(result.data) <= len(original)


def test_cleaning_twice_changes_nothing() -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        once = clean(encoded(smear(), "JPEG", **options)).data
        assert clean(once).data == once


def test_tables_that_change_between_scans_are_kept_in_their_places() -> None:
    """Optimised progressive files define a new Huffman table for every scan under the same number."""
    data = encoded(smear(200, 100), "JPEG", progressive=True, optimize=True)
    assert data.count(b"\xff\xc4") > 4
    assert farthest(clean(data).data, data) == 0


def test_the_coded_data_are_copied_bit_for_bit() -> None:
    data = encoded(smear(), "JPEG", comment=b"x")
    coded = jpeg.read(data, TINY)
    for start, end in coded.intervals:
        assert coded.data[start:end] in data


def test_real_smears_pass_bit_for_bit(smear_data: Path) -> None:
    for folder in ("taleqani", "pbc", "all_idb2", "deepapl"):
        for path in sorted((smear_data / folder).rglob("*.jpg"))[::400]:
            data = path.read_bytes()
            result = clean(data)
            assert farthest(result.data, data) == 0, path
            assert len(result.data) <= len(data)


@pytest.mark.parametrize("count", [1, 3])
def test_a_second_frame_header_is_refused(count: int) -> None:
    from tests.diagnosis.images.pictures import refused

    data = encoded(smear(), "JPEG")
    frame = next(data[start:end] for marker, start, end in jpeg_segments(data) if marker == 0xC0)
    at = data.index(b"\xff\xda")
    assert refused(data[:at] + frame * count + data[at:]) == "corrupt"
