"""`python -m ml.agreement --data DIR`: cells found against cells counted by hand, on `ml/reference_counts.json`.

The counts are one person's, made before anything was found in these fields. The limits of `ml.nuclei` were set on
other fields of the same hospital, but for the closer look at clumps, which was added after a first look at these.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ml import cells
from ml.decode import decode

COUNTS = Path(__file__).parent / "reference_counts.json"
FOLDER = "taleqani"


def counted() -> dict[str, int]:
    """Cells by file, as counted by hand."""
    counts: dict[str, int] = json.loads(COUNTS.read_text(encoding="utf-8"))["counts"]
    return counts


def found(root: Path, names: list[str]) -> np.ndarray:
    """Number of cells found in each file, int (N,)."""
    return np.array([len(cells.find(decode((root / name).read_bytes()))) for name in names])


def agreement(by_eye: np.ndarray, by_us: np.ndarray) -> dict[str, float]:
    """Pearson's correlation, mean absolute error in cells, bias in cells, shares (0..1) of fields close enough."""
    apart = np.abs(by_us - by_eye)
    return {
        "fields": float(len(by_eye)),
        "correlation": float(np.corrcoef(by_eye, by_us)[0, 1]),
        "mean_absolute_error": float(apart.mean()),
        "bias": float((by_us - by_eye).mean()),
        "within_one": float((apart <= 1).mean()),
        "within_20_percent": float((apart <= 0.2 * by_eye).mean()),
    }


def measure(data: Path) -> dict[str, float]:
    """The agreement on the counted fields, which lie in the folder `taleqani` of `data`."""
    counts = counted()
    return agreement(np.array(list(counts.values())), found(data / FOLDER, list(counts)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.agreement", description="Cells found against hand counts.")
    parser.add_argument("--data", required=True, type=Path, help=f"folder that holds {FOLDER}")
    options = parser.parse_args(arguments)
    try:
        figures = measure(options.data)
    except OSError as error:
        print(f"ml.agreement: {error}", file=sys.stderr)
        return 2
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
