"""Where the demonstration's images come from: a folder the operator names, or the drawing board."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from diagnosis.demo.plan import PlannedCase
from diagnosis.demo.smears import draw_smear

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
HARMLESS = ("benign", "normal", "healthy", "hem")


class NoPictures(Exception):
    """The folder holds nothing to show; the message says so."""


class Pictures(Protocol):
    """`truth` is what a case is known to show, as a class code, or empty."""

    source: str

    def of(self, planned: PlannedCase) -> Iterator[tuple[str, bytes]]: ...

    def truth(self, planned: PlannedCase) -> str: ...


class DrawnPictures:
    """Made by code, and labelled as such in the picture, in the file name and in the clinical note."""

    source = "synthetic smears, drawn by code"

    def of(self, planned: PlannedCase) -> Iterator[tuple[str, bytes]]:
        for position in range(1, planned.images + 1):
            name = f"synthetic_{planned.accession_number}_{position:02}.jpg"
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
            count = 9 + seed % 8 if planned.blasts else 1 + seed % 3
            yield name, draw_smear(seed, lymphoblasts=count, out_of_focus=position in planned.spoilt)

    def truth(self, planned: PlannedCase) -> str:
        return ""


class FolderPictures:
    """From `folder/<class>/<file>`, each file once, a case from one class."""

    def __init__(self, folder: Path) -> None:
        self.source = f"images of the folder {folder.name}"
        self._files = {
            place.name: sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES)
            for place in sorted(folder.iterdir())
            if place.is_dir() and not place.name.startswith(".")
        }
        self._files = {name: files for name, files in self._files.items() if files}
        if not self._files:
            raise NoPictures(f"{folder} holds no folders with images in them (one folder for each class).")
        self._turn = {blasts: itertools.cycle(self._classes(blasts)) for blasts in (True, False)}
        self._chosen: dict[str, str] = {}

    def _classes(self, blasts: bool) -> list[str]:
        fitting = [name for name in self._files if (name.lower() not in HARMLESS) == blasts]
        return fitting or list(self._files)

    def choose(self, planned: PlannedCase) -> str:
        if planned.accession_number not in self._chosen:
            self._chosen[planned.accession_number] = next(self._turn[planned.blasts])
        return self._chosen[planned.accession_number]

    def of(self, planned: PlannedCase) -> Iterator[tuple[str, bytes]]:
        """Far apart in the folder, because neighbours are often the same patient."""
        files = self._files[self.choose(planned)]
        start = int.from_bytes(hashlib.sha256(planned.accession_number.encode()).digest()[:4])
        step = max(1, len(files) // (planned.images + 1))
        taken = dict.fromkeys(files[(start + position * step) % len(files)] for position in range(planned.images))
        for file in taken:
            yield file.name, file.read_bytes()

    def truth(self, planned: PlannedCase) -> str:
        return self.choose(planned)
