"""What was measured of a release comes into the portal with it."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from diagnosis.models import ModelEvaluation, ModelVersion
from tests.worker.released import write_release

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def written(root: Path) -> Path:
    return write_release(root)


@pytest.fixture
def release(written: Path, root: Path, settings: Any) -> Path:
    """A release with a report and curves."""
    settings.MODELS_DIR = root
    (written / "report.json").write_text('{"protocols": [], "robustness": {"grey": {"accuracy": NaN}}}')
    (written / "curves.json").write_text('[{"epoch": 1, "train_loss": 1.5}]')
    return written


def register() -> str:
    said = io.StringIO()
    call_command("register_models", stdout=io.StringIO(), stderr=said)
    return said.getvalue()


def test_report_and_curves_are_kept_beside_the_version(release: Path) -> None:
    register()
    stored = ModelEvaluation.objects.get(model_version=ModelVersion.objects.get())
    assert stored.curves == [{"epoch": 1, "train_loss": 1.5}]
    assert stored.report["protocols"] == []


def test_a_figure_that_is_not_a_number_becomes_nothing(release: Path) -> None:
    """The database has no NaN, and one undefined figure must not keep a model from being registered."""
    register()
    assert ModelEvaluation.objects.get().report["robustness"]["grey"]["accuracy"] is None


def test_a_version_that_was_measured_again_is_brought_up_to_date(release: Path) -> None:
    register()
    (release / "report.json").write_text(json.dumps({"protocols": [{"name": "again"}]}))
    register()
    assert ModelEvaluation.objects.get().report == {"protocols": [{"name": "again"}]}


def test_what_is_absent_takes_nothing_away(release: Path) -> None:
    register()
    (release / "report.json").unlink()
    register()
    assert ModelEvaluation.objects.get().report is not None


def test_a_release_without_either_is_registered(release: Path) -> None:
    (release / "report.json").unlink()
    (release / "curves.json").unlink()
    register()
    assert ModelVersion.objects.exists()
    assert not ModelEvaluation.objects.exists()


@pytest.mark.parametrize("content", ["{not json", '["a list"]'])
def test_a_report_that_cannot_be_read_is_said_and_left_out(content: str, release: Path) -> None:
    (release / "report.json").write_text(content)
    assert "report.json" in register()
    assert ModelVersion.objects.exists()
    assert ModelEvaluation.objects.get().report is None


def test_other_protocols_and_the_audit_join_the_report(release: Path) -> None:
    (release / "report.json").write_text(json.dumps({"protocols": [{"name": "contiguous block"}]}))
    (release / "report-random.json").write_text(json.dumps({"protocols": [{"name": "random"}]}))
    (release / "report-broken.json").write_text("{")
    (release / "audit.json").write_text(json.dumps({"probes": {"crowding": {"raw": 0.4, "flagged": True}}}))
    try:
        assert "report-broken.json" in register()
    finally:
        for name in ("report-random.json", "report-broken.json", "audit.json"):
            (release / name).unlink()
    report = ModelEvaluation.objects.get().report
    assert [protocol["name"] for protocol in report["protocols"]] == ["contiguous block", "random"]
    assert report["shortcuts"]["crowding"]["raw"] == 0.4


class TestSeveralVersions:
    @pytest.fixture
    def models(self, written: Path, tmp_path: Path, settings: Any) -> Path:
        """The release as 0.0.9, and once more as 0.0.10."""
        settings.MODELS_DIR = tmp_path
        for version in ("0.0.9", "0.0.10"):
            directory = tmp_path / written.parent.name / version
            shutil.copytree(written, directory)
            manifest = json.loads((directory / "manifest.json").read_text())
            (directory / "manifest.json").write_text(json.dumps(manifest | {"version": version}))
        return tmp_path / written.parent.name

    def test_a_new_portal_starts_with_the_newest_alone(self, models: Path) -> None:
        register()
        assert list(ModelVersion.objects.values_list("version", "status")) == [("0.0.10", "active")]

    def test_one_that_serves_goes_on_until_somebody_decides(self, models: Path) -> None:
        (models / "0.0.10").rename(models.parent / "later")
        register()
        (models.parent / "later").rename(models / "0.0.10")
        register()
        found = dict(ModelVersion.objects.values_list("version", "status"))
        assert found == {"0.0.9": "active", "0.0.10": "candidate"}

    def test_where_the_newest_is_damaged_the_one_before_serves(self, models: Path) -> None:
        (models / "0.0.10" / "model.safetensors").write_bytes(b"torn")
        assert "0.0.10" in register()
        assert list(ModelVersion.objects.values_list("version", "status")) == [("0.0.9", "active")]
