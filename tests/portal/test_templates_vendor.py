"""The browser code of others that we serve: it is what its list says, and nothing more."""

import hashlib
import re
from pathlib import Path

from django.conf import settings

VENDOR = Path(settings.BASE_DIR) / "portal" / "static" / "vendor"
ROW = re.compile(
    r"^\| `(?P<file>[^`]+)` \| (?P<package>\S+) \| (?P<version>[\d.]+) \| (?P<licence>[\w.-]+) \|"
    r".*`(?P<hash>\w{64})`"
)


def listed() -> dict[str, re.Match[str]]:
    rows = map(ROW.match, (VENDOR / "README.md").read_text().splitlines())
    return {row["file"]: row for row in rows if row}


def test_every_file_has_the_listed_hash() -> None:
    rows = listed()
    assert rows
    for file, row in rows.items():
        assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == row["hash"], file


def test_nothing_lies_there_unlisted() -> None:
    files = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}
    unlisted = files - set(listed()) - {"README.md"}
    assert {Path(file).name for file in unlisted} <= {"LICENSE"}


def test_every_package_brings_its_licence() -> None:
    for file, row in listed().items():
        licence = VENDOR / file.split("/")[0] / "LICENSE"
        assert row["licence"] in {"MIT", "BSD-3-Clause", "Apache-2.0"}
        assert licence.is_file()


def test_no_file_points_at_a_map_that_is_not_there() -> None:
    """The manifest storage of static files would refuse to collect it."""
    for file in listed():
        if not file.endswith(".woff2"):
            assert "sourceMappingURL" not in (VENDOR / file).read_text()


def test_the_icons_named_by_templates_exist() -> None:
    known = set(re.findall(r"\.bi-([\w-]+)::before", (VENDOR / "bootstrap-icons/bootstrap-icons.min.css").read_text()))
    templates = Path(settings.BASE_DIR) / "templates"
    text = "\n".join(path.read_text() for path in templates.rglob("*.html"))
    scripts = "\n".join(path.read_text() for path in (VENDOR.parent / "js").glob("*.js"))
    named = set(re.findall(r"\bbi-([a-z0-9][\w-]*)", text + scripts)) | set(re.findall(r'icon="([\w-]+)"', text))
    assert named
    assert named - known == set()
