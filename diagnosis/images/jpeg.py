"""JPEG: keep the coded picture bit for bit, drop everything else, and prove that the picture is whole.

A JPEG is rebuilt from what its decoder needs: frame header, the quantisation and Huffman tables in use,
restart interval, scans. APPn, COM, unused tables, filling between segments and whatever follows the end
are not copied. One thing outside of the picture changes its colours: Adobe's APP14. It is written anew
(12 fixed bytes) where a decoder would otherwise guess the colour space wrongly, so CMYK, YCCK and RGB
pictures keep their colours.

The embedded colour profile is dropped without conversion: applying it would mean coding the picture a
second time, and the models see the numbers the camera wrote. Smear cameras write sRGB or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

from diagnosis.images.faults import ImageFault, corrupt, several_pictures, unsupported
from diagnosis.images.limits import ImageLimits

SIGNATURE = b"\xff\xd8\xff"
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF_SEQUENTIAL, SOF_PROGRESSIVE = (0xC0, 0xC1), 0xC2
DHT, DQT, DRI, SOS, COM = 0xC4, 0xDB, 0xDD, 0xDA, 0xFE
APP0, APP1, APP14, APP15 = 0xE0, 0xE1, 0xEE, 0xEF
STANDALONE = (0x01, *range(0xD0, 0xD9))
RGB_IDS = b"RGB"
MAX_SCANS = 100
MAX_INTERVALS = 250_000

_IN_SCAN_MARKER = re.compile(rb"\xff+([^\x00\xff])")


@dataclass
class Frame:
    """What the start-of-frame segment says."""

    marker: int
    body: bytes
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]
    tables: dict[int, int]

    @property
    def progressive(self) -> bool:
        return self.marker == SOF_PROGRESSIVE

    @property
    def ids(self) -> bytes:
        return bytes(self.sampling)

    def units_in_scan(self, components: list[int]) -> int:
        """Minimum coded units of a scan over these components (ITU T.81, A.2)."""
        widest = max(h for h, _ in self.sampling.values())
        tallest = max(v for _, v in self.sampling.values())
        if len(components) > 1:
            return ceil(self.width / (8 * widest)) * ceil(self.height / (8 * tallest))
        h, v = self.sampling[components[0]]
        return ceil(ceil(self.width * h / widest) / 8) * ceil(ceil(self.height * v / tallest) / 8)


@dataclass
class CodedPicture:
    """A JPEG reduced to what makes the picture."""

    width: int
    height: int
    data: bytes
    exif: bytes | None
    sampling: list[tuple[int, int]]
    tables: list[int]
    """Number of the quantisation table of each component."""
    intervals: list[tuple[int, int]]
    """Where each run of entropy-coded bytes lies in `data`: up to a restart marker, the next table or
    the end."""


def read(data: bytes, limits: ImageLimits) -> CodedPicture:
    """Parse the whole file and rebuild it. Pixels are not decoded here; sizes are checked at the frame
    header."""
    if not data.startswith(SIGNATURE):
        raise corrupt()
    return _Rebuilder(data, limits).run()


@dataclass
class _Rebuilder:
    """One pass over the segments, writing the clean file as it goes."""

    data: bytes
    limits: ImageLimits
    position: int = 2
    frame: Frame | None = None
    quantisation: dict[int, bytes] = field(default_factory=dict)
    huffman: dict[int, bytes] = field(default_factory=dict)
    restart_interval: int = 0
    exif: bytes | None = None
    jfif: bool = False
    adobe: int | None = None
    scans: int = 0
    out: bytearray = field(default_factory=lambda: bytearray(SOI))
    written: dict[tuple[int, int], bytes] = field(default_factory=dict)
    latched: set[int] = field(default_factory=set)
    intervals: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> CodedPicture:
        while (marker := self._next_marker()) != EOI[1]:
            self._segment(marker)
        if self.frame is None or not self.scans:
            raise corrupt()
        self.out += EOI
        return CodedPicture(
            width=self.frame.width,
            height=self.frame.height,
            data=bytes(self.out),
            exif=self.exif,
            sampling=list(self.frame.sampling.values()),
            tables=list(self.frame.tables.values()),
            intervals=self.intervals,
        )

    def _next_marker(self) -> int:
        """Skip filling up to the next marker; a file that ends before its end marker is cut off."""
        match = _IN_SCAN_MARKER.search(self.data, self.position)
        if match is None:
            raise corrupt()
        self.position = match.end()
        return match.group(1)[0]

    def _segment(self, marker: int) -> None:
        if marker in STANDALONE:
            raise _refusal_of(marker)
        body = self._body()
        if marker in (*SOF_SEQUENTIAL, SOF_PROGRESSIVE):
            self._read_frame(marker, body)
        elif marker in self._readers:
            self._readers[marker](self, body)
        elif APP0 <= marker <= APP15:
            self._note_application_segment(marker, body)
        elif marker != COM:
            raise _refusal_of(marker)

    def _body(self) -> bytes:
        length = int.from_bytes(self.data[self.position : self.position + 2])
        end = self.position + length
        if length < 2 or end > len(self.data):
            raise corrupt()
        body = self.data[self.position + 2 : end]
        self.position = end
        return body

    def _read_frame(self, marker: int, body: bytes) -> None:
        if self.frame is not None or len(body) < 6 or len(body) != 6 + 3 * body[5]:
            raise corrupt()
        if body[0] != 8:
            raise unsupported(f"{body[0]}-bit JPEG coding")
        height, width, count = int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[5]
        self.limits.check_size(width, height)
        parts = [body[6 + 3 * n : 9 + 3 * n] for n in range(count)]
        sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
        if count not in (1, 3, 4):
            raise unsupported(f"{count} colour channels")
        if len(sampling) != count or not all(1 <= s <= 4 for pair in sampling.values() for s in pair):
            raise corrupt()
        self.frame = Frame(marker, body, width, height, sampling, {part[0]: part[2] for part in parts})

    def _read_quantisation(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            length = 1 + (128 if body[at] >> 4 else 64)
            table = body[at : at + length]
            if len(table) != length or body[at] >> 4 > 1 or body[at] & 15 > 3:
                raise corrupt()
            self.quantisation[body[at] & 15] = table
            at += length

    def _read_huffman(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            length = 17 + sum(body[at + 1 : at + 17])
            table = body[at : at + length]
            if len(table) != length or body[at] & 0xEC:
                raise corrupt()
            self.huffman[body[at]] = table
            at += length

    def _read_restart_interval(self, body: bytes) -> None:
        if len(body) != 2:
            raise corrupt()
        self.restart_interval = int.from_bytes(body)

    def _note_application_segment(self, marker: int, body: bytes) -> None:
        if marker == APP0 and body.startswith(b"JFIF\0"):
            self.jfif = True
        elif marker == APP1 and body.startswith(b"Exif\0") and self.exif is None:
            self.exif = body[6:]
        elif marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            self.adobe = body[11]

    def _copy_scan(self, body: bytes) -> None:
        frame = self.frame
        if frame is None or not body or len(body) != 4 + 2 * body[0] or not 1 <= body[0] <= 4:
            raise corrupt()
        components = list(body[1 : 1 + 2 * body[0] : 2])
        if len(set(components)) != len(components) or not set(components) <= set(frame.sampling):
            raise corrupt()
        self._count_scan(frame)
        if self.scans == 1:
            self._write_colour_space(frame)
        self._write_tables(frame, components, body)
        self._write_segment(SOS, body if frame.progressive else body[:-3] + b"\x00\x3f\x00")
        self._copy_entropy(frame.units_in_scan(components))

    def _count_scan(self, frame: Frame) -> None:
        """Every scan visits every block: thousands of empty scans over a large frame would run for hours."""
        self.scans += 1
        if self.scans > MAX_SCANS or self.scans * frame.width * frame.height > 32 * self.limits.max_pixels:
            raise unsupported("an extreme number of progressive scans")

    def _write_colour_space(self, frame: Frame) -> None:
        transform = _adobe_transform(frame.ids, self.jfif, self.adobe)
        if transform is not None:
            self._write_segment(APP14, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))

    def _write_tables(self, frame: Frame, components: list[int], scan: bytes) -> None:
        """Write each table once, when the first scan that needs it comes; tables nobody needs are not
        written."""
        new = [c for c in components if c not in self.latched]
        self.latched.update(new)
        self._write_new(DQT, {frame.tables[c]: self.quantisation.get(frame.tables[c]) for c in new})
        if self.scans == 1:
            self._write_segment(frame.marker, frame.body)
        interval = self.restart_interval.to_bytes(2)
        if self.written.get((DRI, 0), b"\0\0") != interval:
            self._write_segment(DRI, interval)
            self.written[DRI, 0] = interval
        needed = _huffman_tables_of(scan, frame.progressive)
        self._write_new(DHT, {key: self.huffman.get(key) for key in needed})

    def _write_new(self, marker: int, tables: dict[int, bytes | None]) -> None:
        fresh = {
            key: table
            for key, table in sorted(tables.items())
            if table is not None and self.written.get((marker, key)) != table
        }
        if fresh:
            self._write_segment(marker, b"".join(fresh.values()))
            self.written.update({(marker, key): table for key, table in fresh.items()})

    def _write_segment(self, marker: int, body: bytes) -> None:
        self.out += bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body

    def _copy_entropy(self, units: int) -> None:
        """Copy coded data up to the next segment; restart markers must be the ones the scan calls for."""
        expected = ceil(units / self.restart_interval) - 1 if self.restart_interval else 0
        if expected > MAX_INTERVALS:
            raise unsupported("an extreme number of restart markers")
        found = 0
        for start, end, marker in self._entropy_runs():
            self.intervals.append((len(self.out), len(self.out) + end - start))
            self.out += self.data[start:end]
            if marker is None:
                break
            if marker != 0xD0 + found % 8:
                raise corrupt()
            self.out += bytes([0xFF, marker])
            found += 1
        if found != expected:
            raise corrupt()

    def _entropy_runs(self) -> Iterator[tuple[int, int, int | None]]:
        """(start, end, restart marker that ended it, or None at the end of the scan)."""
        start = self.position
        while match := _IN_SCAN_MARKER.search(self.data, start):
            marker = match.group(1)[0]
            if not 0xD0 <= marker <= 0xD7:
                self.position = match.start()
                yield start, match.start(), None
                return
            yield start, match.start(), marker
            start = match.end()
        raise corrupt()

    _readers: ClassVar[dict[int, Callable[[_Rebuilder, bytes], None]]] = {
        DHT: _read_huffman,
        DQT: _read_quantisation,
        DRI: _read_restart_interval,
        SOS: _copy_scan,
    }


def _huffman_tables_of(scan: bytes, progressive: bool) -> list[int]:
    """Keys (class in the high half byte, number in the low one) of the tables a scan reads."""
    selectors = list(scan[2 : 2 + 2 * scan[0] : 2])
    direct = [s >> 4 for s in selectors]
    alternating = [0x10 | s & 15 for s in selectors]
    if not progressive:
        return direct + alternating
    first_coefficient, approximation = scan[-3], scan[-1]
    if first_coefficient:
        return alternating
    return direct if approximation >> 4 == 0 else []


def _adobe_transform(ids: bytes, jfif: bool, adobe: int | None) -> int | None:
    """The APP14 transform that keeps the decoder's reading of the colours once JFIF and APP14 are gone.

    Decoders look at JFIF first, then APP14, then the component letters.
    """
    if len(ids) == 1:
        return None
    if len(ids) == 4:
        return 2 if adobe == 2 else 0
    if jfif or adobe not in (None, 0):
        return 1 if ids == RGB_IDS else None
    return 0 if adobe == 0 and ids != RGB_IDS else None


def _refusal_of(marker: int) -> ImageFault:
    if marker in (0xC3, 0xC7):
        return unsupported("lossless JPEG coding")
    if 0xC9 <= marker <= 0xCF:
        return unsupported("arithmetic JPEG coding")
    if marker in (0xC5, 0xC6, 0xDE, 0xDF):
        return unsupported("hierarchical JPEG coding")
    if marker == SOI[1]:
        return several_pictures()
    return corrupt()
