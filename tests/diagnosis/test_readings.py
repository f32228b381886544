"""What a reader may say of an image and a case, and what is asked of it."""

import pytest

from accounts.models import Site, User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import Case, ModelVersion, PredictionRun, Reading
from diagnosis.selectors.readings import case_reading, findings
from diagnosis.services.cases import (
    case_advance,
    case_ask_second_read,
    case_claim,
    case_return,
    case_submit,
    case_take_over,
)
from diagnosis.services.readings import case_conclude, image_read, images_agree_all, own_read_enter
from diagnosis.states import ReadingDecision, ReadingStage, TimelineKind
from tests.factories import end_run, submitted_case

pytestmark = pytest.mark.django_db


@pytest.fixture
def revealed(in_review: Case, haematologist: User) -> Case:
    own_read_enter(case=in_review, actor=haematologist, finding="Pre")
    return in_review


class TestOwnRead:
    def test_it_comes_before_everything_that_needs_the_prediction(self, in_review: Case, haematologist: User) -> None:
        for step in (images_agree_all, lambda **who: case_conclude(finding="Early", **who)):
            with pytest.raises(StateConflict, match="own read"):
                step(case=in_review, actor=haematologist)

    def test_it_reveals_and_is_written_down(self, in_review: Case, haematologist: User) -> None:
        assert not case_reading(in_review, haematologist).revealed
        reading = own_read_enter(case=in_review, actor=haematologist, finding="Pre", comment="Large nuclei.")
        assert (reading.stage, reading.decision, reading.suggested) == ("own", "independent", "")
        assert case_reading(in_review, haematologist).revealed
        assert in_review.timeline.last().kind == TimelineKind.REVEALED

    def test_it_is_entered_once(self, revealed: Case, haematologist: User) -> None:
        with pytest.raises(StateConflict, match="already"):
            own_read_enter(case=revealed, actor=haematologist, finding="Early")

    def test_after_the_prediction_was_seen_it_would_not_be_one(
        self, in_review: Case, haematologist: User, site: Site
    ) -> None:
        Site.objects.filter(pk=site.pk).update(own_read_first=False)
        with pytest.raises(StateConflict, match="would not be an own read"):
            own_read_enter(case=in_review, actor=haematologist, finding="Early")

    def test_it_is_the_readers(self, in_review: Case, second_haematologist: User) -> None:
        with pytest.raises(StateConflict, match="not the reader"):
            own_read_enter(case=in_review, actor=second_haematologist, finding="Early")

    def test_who_takes_over_gives_one_of_their_own(self, revealed: Case, second_haematologist: User) -> None:
        case_take_over(case=revealed, actor=second_haematologist, reason="Shift ends.")
        assert not case_reading(revealed, second_haematologist).revealed

    def test_a_case_that_comes_back_is_read_anew(self, revealed: Case, haematologist: User) -> None:
        case_return(case=revealed, actor=haematologist, reason="Out of focus.")
        case_submit(case=revealed, actor=revealed.submitted_by)
        revealed.refresh_from_db()
        case_claim(case=revealed, actor=haematologist)
        assert not case_reading(revealed, haematologist).revealed

    def test_the_site_may_do_without(self, in_review: Case, haematologist: User, site: Site) -> None:
        Site.objects.filter(pk=site.pk).update(own_read_first=False)
        in_review = Case.objects.get(pk=in_review.pk)
        assert case_reading(in_review, haematologist).revealed


class TestImage:
    def test_before_the_reveal_it_is_an_own_read(self, in_review: Case, haematologist: User) -> None:
        reading = image_read(case=in_review, image=in_review.images.all()[0], actor=haematologist, finding="Pro")
        assert (reading.stage, reading.decision, reading.run) == (ReadingStage.OWN, "independent", None)

    def test_agreeing_needs_no_reason(self, revealed: Case, haematologist: User) -> None:
        image = revealed.images.all()[0]
        reading = image_read(case=revealed, image=image, actor=haematologist, finding="Early")
        assert (reading.decision, reading.suggested, reading.run) == (
            ReadingDecision.AGREE,
            "Early",
            image.runs.get(),
        )

    def test_overriding_needs_a_reason(self, revealed: Case, haematologist: User) -> None:
        image = revealed.images.all()[0]
        with pytest.raises(ServiceError) as caught:
            image_read(case=revealed, image=image, actor=haematologist, finding="Pro", reason=" ")
        assert caught.value.field == "reason"
        reading = image_read(
            case=revealed, image=image, actor=haematologist, finding="Pro", reason="Coarse chromatin."
        )
        assert (reading.decision, reading.reason) == (ReadingDecision.OVERRIDE, "Coarse chromatin.")

    def test_without_a_prediction_there_is_nothing_to_agree_with(self, technician: User, haematologist: User) -> None:
        case = submitted_case(technician, images=1)
        case_claim(case=case, actor=haematologist)
        own_read_enter(case=case, actor=haematologist, finding=Reading.OTHER)
        reading = image_read(case=case, image=case.images.get(), actor=haematologist, finding=Reading.UNUSABLE)
        assert reading.decision == ReadingDecision.INDEPENDENT

    def test_the_newest_reading_holds(self, revealed: Case, haematologist: User) -> None:
        image = revealed.images.all()[0]
        for finding in ("Early", "Pro"):
            image_read(case=revealed, image=image, actor=haematologist, finding=finding, reason="Looked again.")
        view = next(view for view in case_reading(revealed, haematologist).images if view.image == image)
        assert view.reading_title == "Pro"
        assert image.readings.count() == 2

    @pytest.mark.parametrize("finding", ["", "Prolymphocyte", "<script>"])
    def test_a_finding_is_one_of_the_offered(self, finding: str, revealed: Case, haematologist: User) -> None:
        with pytest.raises(ServiceError) as caught:
            image_read(case=revealed, image=revealed.images.all()[0], actor=haematologist, finding=finding)
        assert caught.value.field == "finding"


class TestAgreeAll:
    def test_uncertain_predictions_and_read_images_are_left_out(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=3)
        uncertain, overridden, plain = PredictionRun.objects.filter(image__case=case).order_by("image__position")
        end_run(uncertain, "Early", 0.4, abstained=True)
        end_run(overridden)
        end_run(plain)
        case.refresh_from_db()
        read_by(case, haematologist)
        image_read(case=case, image=overridden.image, actor=haematologist, finding="Pro", reason="Coarse.")
        assert case_reading(case, haematologist).agreeable == 1
        assert images_agree_all(case=case, actor=haematologist) == 1
        assert case_reading(case, haematologist).agreeable == 0
        assert plain.image.readings.get().decision == ReadingDecision.AGREE
        assert overridden.image.readings.get().finding == "Pro"
        assert not uncertain.image.readings.exists()


def read_by(case: Case, reader: User) -> None:
    case_advance(case=case)
    case.refresh_from_db()
    case_claim(case=case, actor=reader)
    own_read_enter(case=case, actor=reader, finding="Early")


class TestConclusion:
    def test_differing_from_the_suggestion_needs_a_reason(self, revealed: Case, haematologist: User) -> None:
        with pytest.raises(ServiceError) as caught:
            case_conclude(case=revealed, actor=haematologist, finding="Pro")
        assert caught.value.field == "reason"
        reading = case_conclude(case=revealed, actor=haematologist, finding="Pro", reason="Coarse chromatin.")
        assert (reading.decision, reading.suggested) == (ReadingDecision.OVERRIDE, "Early")

    def test_an_uncertain_suggestion_is_none_to_agree_or_differ_with(
        self, technician: User, haematologist: User, model_version: ModelVersion
    ) -> None:
        case = submitted_case(technician, images=2)
        for run in PredictionRun.objects.filter(image__case=case):
            end_run(run, "Early", 0.4, abstained=True)
        read_by(case, haematologist)
        for finding in ("Early", "Pro"):
            reading = case_conclude(case=case, actor=haematologist, finding=finding)
            assert (reading.decision, reading.suggested) == (ReadingDecision.INDEPENDENT, "")

    def test_the_second_reader_is_not_shown_the_first_ones(
        self, revealed: Case, haematologist: User, second_haematologist: User
    ) -> None:
        image = revealed.images.all()[0]
        image_read(case=revealed, image=image, actor=haematologist, finding="Early")
        case_conclude(case=revealed, actor=haematologist, finding="Early")
        case_ask_second_read(case=revealed, actor=haematologist, reason="Sure?")
        case_claim(case=revealed, actor=second_haematologist)
        reading = case_reading(revealed, second_haematologist)
        assert (reading.conclusion, [view.reading for view in reading.images]) == (None, [None, None])

    def test_somebody_who_looks_on_is_not_shown_it(
        self, revealed: Case, haematologist: User, second_haematologist: User, technician: User
    ) -> None:
        case_conclude(case=revealed, actor=haematologist, finding="Early")
        for user in (second_haematologist, technician):
            assert case_reading(revealed, user).conclusion is None
        assert case_reading(revealed, haematologist).conclusion_title == "Early"


def test_the_digits_choose_the_classes_then_the_general_findings(model_version: ModelVersion) -> None:
    keys = {finding.key: finding.code for finding in findings(model_version)}
    assert keys == {"1": "Benign", "2": "Early", "3": "Pre", "4": "Pro", "5": "other", "6": "unusable"}
