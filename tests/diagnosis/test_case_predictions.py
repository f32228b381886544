"""What a model says of a case as a whole: put together when its runs have ended, kept as one row, shown from it."""

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.template.loader import render_to_string

from accounts.models import User
from diagnosis.models import Case, CasePrediction, ModelVersion, PredictionRun
from diagnosis.selectors.cells import cell_marks
from diagnosis.selectors.predictions import case_model_version, case_suggestion
from diagnosis.selectors.readings import case_reading
from diagnosis.services.cases import case_advance, case_claim, case_return, case_submit
from diagnosis.services.predictions import run_retry
from diagnosis.services.readings import case_conclude, image_read, own_read_enter
from diagnosis.services.reports import case_sign, cells_content
from diagnosis.states import CaseState, ImageKind, RunState, Triage
from ml import quality
from ml.tasks import TASKS
from tests.factories import CELL_CLASSES, ModelVersionFactory, cells, draft_case, end_run, signed_case, submitted_case
from worker.pooling import case_pool
from worker.sweeper import queue_sweep

pytestmark = pytest.mark.django_db


def runs_of(case: Case) -> list[PredictionRun]:
    return list(PredictionRun.objects.filter(image__case=case).order_by("image__position"))


def tried_again(run: PredictionRun, label: str, actor: User) -> None:
    run_retry(run=run, actor=actor)
    end_run(run, label)


@pytest.fixture
def mixed(technician: User, model_version: ModelVersion) -> Case:
    """Three fields predicted, one uncertain among them, and one that failed."""
    case = submitted_case(technician, images=4)
    first, second, third, fourth = runs_of(case)
    end_run(first, "Early", 0.9)
    end_run(second, "Early", 0.7)
    end_run(third, "Pre", 0.4, abstained=True)
    end_run(fourth, state=RunState.FAILED)
    queue_sweep()
    case.refresh_from_db()
    return case


@pytest.fixture
def cell_model(model_version: ModelVersion) -> ModelVersion:
    manifest = model_version.manifest | {"classes": [entry | {"description": ""} for entry in CELL_CLASSES]}
    ModelVersion.objects.update(input_kind=ImageKind.SINGLE_CELL, manifest=manifest)
    model_version.refresh_from_db()
    return model_version


def cell_case(technician: User, *labels: str, specimen: str = "bone_marrow_aspirate") -> Case:
    case = submitted_case(technician, images=len(labels), image_kind=ImageKind.SINGLE_CELL, specimen=specimen)
    for run, label in zip(runs_of(case), labels, strict=True):
        end_run(run, label)
    queue_sweep()
    case.refresh_from_db()
    return case


class TestRow:
    def test_it_is_written_as_the_case_moves_on(self, mixed: Case, model_version: ModelVersion) -> None:
        row = CasePrediction.objects.get()
        assert (row.case, row.model_version) == (mixed, model_version)
        assert mixed.state == CaseState.AWAITING_REVIEW
        assert (row.image_count, row.answered_count, row.abstained_count, row.label) == (4, 3, 1, "Early")
        runs = [run for run in runs_of(mixed) if run.state == RunState.SUCCEEDED]
        for code, mean in row.probabilities.items():
            assert mean == pytest.approx(sum(run.probabilities[code] for run in runs) / 3)
            low, high = row.intervals[code]
            assert low <= mean <= high

    def test_nothing_is_written_while_a_run_is_open(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician, images=2)
        end_run(runs_of(case)[0])
        queue_sweep()
        assert not CasePrediction.objects.exists()

    def test_a_single_image_has_no_interval(self, technician: User, model_version: ModelVersion) -> None:
        end_run(runs_of(submitted_case(technician, images=1))[0])
        queue_sweep()
        assert CasePrediction.objects.get().intervals is None

    def test_a_case_without_an_answer_says_so(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician, images=1)
        end_run(runs_of(case)[0], state=RunState.FAILED)
        queue_sweep()
        row = CasePrediction.objects.get()
        assert (row.answered_count, row.image_count, row.label, row.probabilities) == (0, 1, "", None)
        assert case_suggestion(case) is None

    def test_a_run_that_ends_later_is_put_in(self, mixed: Case, haematologist: User) -> None:
        case_claim(case=mixed, actor=haematologist)
        tried_again(runs_of(mixed)[3], "Pro", haematologist)
        case_advance(case=mixed, pool=case_pool)
        row = CasePrediction.objects.get()
        assert (row.answered_count, row.image_count) == (4, 4)
        mixed.refresh_from_db()
        assert mixed.state == CaseState.IN_REVIEW

    def test_what_was_signed_stays(self, technician: User, haematologist: User, model_version: ModelVersion) -> None:
        case = signed_case(technician, haematologist)
        row = CasePrediction.objects.get()
        PredictionRun.objects.update(label="Pro")
        case_advance(case=case, pool=case_pool)
        assert CasePrediction.objects.get().computed_at == row.computed_at

    def test_who_hands_in_again_gets_it_anew(self, mixed: Case, technician: User) -> None:
        case_return(case=mixed, actor=technician, reason="Image 2 is of another slide.")
        mixed.images.filter(position=2).update(withdrawn_at=mixed.submitted_at)
        case_submit(case=mixed, actor=technician)
        assert not CasePrediction.objects.exists()
        assert case_suggestion(mixed).image_count == 2, "the plain mean until then"
        queue_sweep()
        row = CasePrediction.objects.get()
        assert (row.answered_count, row.image_count) == (2, 3)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"answered_count": 9},
            {"abstained_count": 9},
            {"label": ""},
            {"probabilities": None},
            {"answered_count": 1, "abstained_count": 0},
        ],
        ids=str,
    )
    def test_the_database_refuses_what_cannot_be(self, wrong: dict, mixed: Case) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            CasePrediction.objects.update(**wrong)


class TestShown:
    @pytest.fixture
    def reading_case(self, mixed: Case, haematologist: User) -> Case:
        case_claim(case=mixed, actor=haematologist)
        own_read_enter(case=mixed, actor=haematologist, finding="Early")
        return mixed

    def test_the_station_and_the_report_say_what_the_row_says(self, reading_case: Case, haematologist: User) -> None:
        row = CasePrediction.objects.get()
        shown = case_reading(reading_case, haematologist).suggestion
        low, high = row.intervals["Early"]
        assert shown.interval == f"{round(low * 100)}–{round(high * 100)} %"
        assert (shown.image_count, shown.image_total) == (3, 4)
        for image in reading_case.images.all():
            image_read(case=reading_case, image=image, actor=haematologist, finding="Early", reason="All of a kind.")
        case_conclude(case=reading_case, actor=haematologist, finding="Early")
        said = case_sign(case=reading_case, actor=haematologist).content["suggestion"]
        assert (said["interval"], said["image_count"], said["image_total"]) == (shown.interval, 3, 4)
        assert said["percent"] == round(row.probabilities["Early"] * 100)

    def test_the_row_alone_decides(self, reading_case: Case, haematologist: User) -> None:
        CasePrediction.objects.update(label="Pro", probabilities={"Pro": 0.6, "Pre": 0.4}, intervals=None)
        assert case_reading(reading_case, haematologist).suggestion.label == "Pro"
        assert case_suggestion(reading_case).percent == 60

    def test_flags_are_counted_over_the_case(self, reading_case: Case, haematologist: User) -> None:
        first, second, *_ = runs_of(reading_case)
        PredictionRun.objects.filter(pk__in=[first.pk, second.pk]).update(reasons=["unlike_training"])
        PredictionRun.objects.filter(pk=first.pk).update(reasons=["low_confidence", "wrong_scale", "unlike_training"])
        flags = case_reading(reading_case, haematologist).flags
        assert {flag.code: flag.count for flag in flags} == {"wrong_scale": 1, "unlike_training": 2}
        assert "Unlike the pictures the model was trained on." in {flag.sentence for flag in flags}


class TestDifferential:
    def test_single_cells_are_counted_and_suggest_no_class(self, technician: User, cell_model: ModelVersion) -> None:
        case = cell_case(technician, *["blast"] * 3, *["lymphocyte"] * 6, "promyelocyte", "smudge_cell", "smudge_cell")
        counted = CasePrediction.objects.get().differential
        assert counted["cells"] == 10
        assert counted["beside"] == {"smudge_cell": 2}
        assert (counted["blasts"]["codes"], counted["blasts"]["share"]["share"]) == (["blast"], 0.3)
        assert counted["malignant"]["share"]["share"] == 0.4
        assert case_suggestion(case) is None

    def test_the_count_is_shown_with_its_groups_named(
        self, technician: User, haematologist: User, cell_model: ModelVersion
    ) -> None:
        case = cell_case(technician, "blast", "promyelocyte", "lymphocyte", "lymphocyte", "smudge_cell")
        case_claim(case=case, actor=haematologist)
        assert case_reading(case, haematologist).differential is None
        own_read_enter(case=case, actor=haematologist, finding="blast")
        counted = case_reading(case, haematologist).differential
        assert [(group.titles, group.percent) for group in counted.groups] == [
            (("Blast",), 25),
            (("Blast", "Promyelocyte"), 50),
        ]
        assert next((line.title, line.count, line.percent) for line in counted.lines) == ("Lymphocyte", 2, 50)
        assert [(line.title, line.percent) for line in counted.beside] == [("Smudge cell", None)]

    def test_erythroblasts_of_blood_stand_beside(self, technician: User, cell_model: ModelVersion) -> None:
        cell_case(technician, "lymphocyte", "erythroblast", specimen="peripheral_blood")
        assert CasePrediction.objects.get().differential["beside"] == {"erythroblast": 1}

    @pytest.mark.parametrize(
        ("labels", "triage"),
        [
            (["blast"] * 8 + ["lymphocyte"] * 12, Triage.CRITICAL),
            (["blast"] + ["lymphocyte"] * 9, Triage.UNCERTAIN),
            (["lymphocyte"] * 5, Triage.UNCERTAIN),
            (["smudge_cell"], Triage.UNCERTAIN),
        ],
    )
    def test_blasts_decide_the_place_in_the_worklist(
        self, labels: list[str], triage: Triage, technician: User, cell_model: ModelVersion
    ) -> None:
        assert cell_case(technician, *labels).triage == triage

    def test_the_cells_of_a_fields_images_are_counted_together(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        ModelVersion.objects.update(manifest=model_version.manifest | {"cell_classes": CELL_CLASSES})
        case = submitted_case(technician, images=3)
        first, second, third = runs_of(case)
        end_run(first, cells=cells("blast", "blast", "smudge_cell"))
        end_run(second, cells=cells("lymphocyte", "lymphocyte"))
        end_run(third)
        queue_sweep()
        row = CasePrediction.objects.get()
        assert (row.label, row.differential["cells"]) == ("Early", 4)
        assert row.differential["blasts"]["share"]["share"] == 0.5
        assert row.differential["images"] == 2, "in the third no cell was looked for"
        case.refresh_from_db()
        case_claim(case=case, actor=haematologist)
        own_read_enter(case=case, actor=haematologist, finding="Early")
        content = cells_content(case_reading(case, haematologist))
        said = " ".join(render_to_string("diagnosis/reports/_cells.html", {"cells": content}).split())
        assert "4 cells counted in 2 of 3 images. Blast: 50 %" in said

    def test_without_cell_classes_nothing_is_counted(self, technician: User, model_version: ModelVersion) -> None:
        case = submitted_case(technician, images=1)
        end_run(runs_of(case)[0], cells=cells("blast"))
        queue_sweep()
        assert CasePrediction.objects.get().differential is None

    def test_a_refused_image_has_no_cells(self, technician: User, model_version: ModelVersion) -> None:
        run = runs_of(submitted_case(technician, images=1))[0]
        end_run(run, state=RunState.REFUSED)
        with pytest.raises(IntegrityError), transaction.atomic():
            PredictionRun.objects.update(cells=cells("blast"))


@pytest.mark.parametrize("handed_in", [True, False])
def test_an_experimental_model_takes_no_case_out_of_the_readers_classes(
    handed_in: bool, technician: User, model_version: ModelVersion
) -> None:
    """Though its runs are queued later, and its task comes first by name."""
    manifest = model_version.manifest | {"experimental": True}
    experimental = ModelVersionFactory(task="a-lineage", manifest=manifest)
    case = submitted_case(technician, images=1) if handed_in else draft_case(technician, images=1)
    PredictionRun.objects.filter(model_version=experimental).update(queued_at=Now())
    assert PredictionRun.objects.count() == (2 if handed_in else 0)
    assert case_model_version(case) == model_version


def test_an_experimental_model_alone_is_read_by(technician: User) -> None:
    version = ModelVersionFactory()
    ModelVersion.objects.update(manifest=version.manifest | {"experimental": True})
    assert case_model_version(submitted_case(technician, images=1)) == version


def test_no_two_classes_share_a_mark() -> None:
    classes = [{"code": entry.code, "title": entry.title} for entry in TASKS["cell-type"].classes]
    marks = cell_marks(classes)
    assert len(set(marks.values())) == len(classes)
    assert (marks["blast"], marks["basophil"], marks["lymphocyte"]) == ("B", "Ba", "L")


def test_every_reason_of_the_models_has_its_sentence() -> None:
    from diagnosis.reasons import FLAGS, REASONS

    assert set(FLAGS) <= set(REASONS)
    assert {code: REASONS.get(code) for code in quality.REASONS} == quality.REASONS
