"""Half a smear is no smear: whatever the decoder would have had to make up is refused."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnosis.images import jpeg
from diagnosis.images.intake import ImageRejected, clean_image
from tests.diagnosis.images.pictures import TINY, clean, decoded, encoded, farthest, refused, smear

WHOLE = {
    "jpeg": encoded(smear(200, 150), "JPEG", quality=90),
    "progressive": encoded(smear(200, 150), "JPEG", quality=90, progressive=True),
    "restarts": encoded(smear(200, 150), "JPEG", quality=90, restart_marker_rows=1),
    "grey jpeg": encoded(smear(200, 150).convert("L"), "JPEG", quality=90),
    "png": encoded(smear(200, 150), "PNG"),
    "tiff": encoded(smear(200, 150), "TIFF"),
    "tiff lzw": encoded(smear(200, 150), "TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded(smear(200, 150), "TIFF", compression="tiff_deflate"),
    "bmp": encoded(smear(200, 150), "BMP"),
    "webp": encoded(smear(200, 150), "WEBP"),
    "webp lossless": encoded(smear(200, 150), "WEBP", lossless=True),
}
JPEGS = ("jpeg", "progressive", "restarts", "grey jpeg")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", WHOLE)
def test_it_refuses_a_truncated_file(name: str, part: float) -> None:
    data = WHOLE[name]
    assert refused(data[: int(len(data) * part)]) in ("corrupt", "not_an_image")


@pytest.mark.parametrize("name", JPEGS)
def test_it_refuses_a_jpeg_without_its_end_marker(name: str) -> None:
    assert refused(WHOLE[name][:-2]) == "corrupt"


@pytest.mark.parametrize("lost", [16, 40, 200])
@pytest.mark.parametrize("name", JPEGS)
def test_it_refuses_lost_coded_data_though_the_end_marker_is_there(name: str, lost: int) -> None:
    """The decoder passes these, painting grey: check that it does, so that the test means something."""
    data = WHOLE[name]
    cut = data[: -2 - lost] + b"\xff\xd9"
    decoded(cut)
    assert refused(cut) == "corrupt"


@pytest.mark.parametrize("lost", range(1, 12))
def test_it_refuses_the_loss_of_the_last_few_bytes(lost: int) -> None:
    """So few that the filler completes the block: only the comparison of the two pictures tells."""
    data = encoded(smear(200, 150, seed=0), "JPEG", quality=98, subsampling=0)
    assert refused(data[: -2 - lost] + b"\xff\xd9") == "corrupt"


@pytest.mark.parametrize("name", JPEGS)
def test_it_refuses_lost_data_in_the_middle_of_an_interval(name: str) -> None:
    """Blocks are then missing at the end. (A loss smaller than a block may go unseen: JPEG has no checksum.)"""
    whole = jpeg.read(WHOLE[name], TINY)
    start, end = max(whole.intervals, key=lambda interval: interval[1] - interval[0])
    third = (end - start) // 3
    assert third > 100
    assert refused(whole.data[: start + third] + whole.data[start + 2 * third :]) == "corrupt"


def test_it_refuses_a_jpeg_with_an_interval_missing_or_out_of_order() -> None:
    whole = jpeg.read(WHOLE["restarts"], TINY)
    (_, first_end), (start, end) = whole.intervals[2], whole.intervals[3]
    assert refused(whole.data[:first_end] + whole.data[end:]) == "corrupt"
    assert refused(whole.data[: start - 1] + b"\xd7" + whole.data[start:]) == "corrupt"


@pytest.mark.parametrize("name", JPEGS)
def test_it_refuses_bytes_that_belong_to_no_block(name: str) -> None:
    """Where a ZIP or a page could hide before the end marker, in the one place that is copied as it is."""
    whole = jpeg.read(WHOLE[name], TINY)
    for _, end in whole.intervals:
        assert refused(whole.data[:end] + b"<script>alert(1)</script>" + whole.data[end:]) == "corrupt"


def test_it_bears_a_few_padding_bytes_as_some_cameras_write_them() -> None:
    data = WHOLE["jpeg"]
    padded = data[:-2] + bytes(4) + b"\xff\xff\xff\xd9"
    assert farthest(clean(padded).data, data) == 0


@pytest.mark.parametrize("name", ["png", "tiff deflate"])
def test_it_refuses_flipped_bits_where_the_format_has_checksums(name: str) -> None:
    data = bytearray(WHOLE[name])
    data[len(data) // 2] ^= 0x10
    assert refused(bytes(data)) == "corrupt"


def test_it_refuses_a_png_whose_picture_is_too_short_though_every_checksum_is_right() -> None:
    from tests.diagnosis.images.pictures import png

    assert refused(png(64, 64, 8, 0, bytes(65 * 63))) == "corrupt"
    assert refused(png(64, 64, 8, 0, b"").replace(zlib.compress(b""), b"")) == "corrupt"
    assert clean(png(64, 64, 8, 0, bytes(65 * 64))).width == 64


@pytest.mark.parametrize("name", WHOLE)
def test_it_takes_the_whole_file(name: str) -> None:
    tolerance = 0 if name != "grey jpeg" else 1
    assert farthest(clean(WHOLE[name]).data, WHOLE[name]) <= tolerance


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), start=st.sampled_from([b"", *(whole[:40] for whole in WHOLE.values())]))
def test_arbitrary_bytes_raise_nothing_but_a_rejection(data: bytes, start: bytes) -> None:
    with pytest.raises(ImageRejected):
        clean_image(start + data, file_name="x", limits=TINY)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(WHOLE)))
def test_a_damaged_file_is_either_refused_or_stored_as_a_whole_picture(data: st.DataObject, name: str) -> None:
    broken = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = clean_image(bytes(broken), file_name="x", limits=TINY)
    except ImageRejected:
        return
    assert decoded(result.data).size == (result.width, result.height)
    assert clean_image(result.data, file_name="x", limits=TINY).width == result.width
