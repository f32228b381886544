"""Proof that a JPEG's coded data is complete, which decoders do not give.

libjpeg never fails on coded data that is cut short but followed by an end marker: it paints the rest
grey and only counts a warning, which Pillow does not pass on. Half a smear with a clean grey half would
reach the reader. So the decoder is watched while it eats: it is fed the end of every interval of coded
data byte by byte.

- While it still decodes blocks, it takes bytes only several at a time, as it refills its bit buffer.
- Once it has all blocks of an interval it throws away every byte at once until a marker comes.

An interval that is left in the first state although filler was given after it, is cut short. One that is
in the second state long before its own end carries bytes that belong to no block: the data lost its
thread somewhere before, or something was hidden there. The picture decoded with filler must at last
equal the one decoded without.

What this cannot see: a loss within a few blocks after which the decoder happens to find the right block
again (JPEG has no checksum), and the last few bytes of an interval.
"""

from __future__ import annotations

import io

from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from diagnosis.images.faults import corrupt
from diagnosis.images.jpeg import CodedPicture

_SURPLUS_TOLERATED = 8
_FILLER = bytes.fromhex("a55ac3963c69b4d217")
_ROWS_AT_A_TIME = 512


def decode_whole(picture: CodedPicture) -> JpegImageFile:
    """The decoded picture, or an `ImageFault` if any block of it had to be made up."""
    with Image.open(io.BytesIO(picture.data), formats=("JPEG",)) as image:
        if not isinstance(image, JpegImageFile):
            raise corrupt()
        watched = _decode_watching(picture, image)
        image.load()
        if not _same_pixels(image, watched):
            raise corrupt()
        return image


def _decode_watching(picture: CodedPicture, image: JpegImageFile) -> Image.Image:
    canvas = Image.new(image.mode, image.size)
    feeder = _Feeder(image, canvas)
    data, position = picture.data, 0
    for start, end in picture.intervals:
        probe = max(start, end - _SURPLUS_TOLERATED - 2)
        feeder.feed(data[position:probe])
        surplus = [feeder.feed(data[n : n + 1]) for n in range(probe, min(probe + 2, end))]
        if len(surplus) == 2 and all(surplus) and end - start > _SURPLUS_TOLERATED + 2:
            raise corrupt()
        feeder.feed(data[min(probe + 2, end) : end])
        feeder.feed(_FILLER)
        if not all([feeder.feed(_FILLER[:1]), feeder.feed(_FILLER[1:2])]):
            raise corrupt()
        position = end
    feeder.feed(data[position:])
    if not feeder.finished:
        raise corrupt()
    return canvas


class _Feeder:
    """Pillow's own decoder, given bytes as they come."""

    def __init__(self, image: JpegImageFile, canvas: Image.Image) -> None:
        codec, _, _, arguments = image.tile[0]
        self.decoder = Image._getdecoder(image.mode, codec, arguments)
        self.decoder.setimage(canvas.im, (0, 0, *image.size))
        self.pending = b""
        self.finished = False

    def feed(self, data: bytes) -> bool:
        """Whether the decoder took everything it was given so far."""
        if self.finished:
            return True
        self.pending += data
        taken, error = self.decoder.decode(self.pending)
        if taken < 0:
            if error < 0:
                raise corrupt()
            self.finished = True
            self.pending = b""
            return True
        self.pending = self.pending[taken:]
        return not self.pending


def _same_pixels(one: Image.Image, other: Image.Image) -> bool:
    """In bands, so that no third picture of full size is held."""
    width, height = one.size
    for top in range(0, height, _ROWS_AT_A_TIME):
        band = (0, top, width, min(top + _ROWS_AT_A_TIME, height))
        difference = ImageChops.difference(one.crop(band), other.crop(band))
        if any(channel.getbbox() for channel in difference.split()):
            return False
    return True
