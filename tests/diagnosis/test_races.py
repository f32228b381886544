"""Two at once: real threads with connections of their own, held back until both are ready."""

import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from diagnosis.errors import StateConflict
from diagnosis.models import Case, ModelVersion, PredictionRun
from diagnosis.services.cases import case_advance, case_claim, case_create, case_submit
from diagnosis.services.images import image_add
from diagnosis.services.readings import case_conclude, images_agree_all, own_read_enter
from diagnosis.services.reports import case_sign, report_amend
from diagnosis.states import CaseState, Priority, TimelineKind
from tests.conftest import SignedIn
from tests.factories import (
    PatientFactory,
    case_in_review,
    draft_case,
    end_run,
    predicted_case,
    signed_case,
    smear_jpeg,
    submitted_case,
)

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*steps: Callable[[], Any]) -> list[Any]:
    """What each step returned, or the exception it raised."""
    ready = threading.Barrier(len(steps))
    outcomes: list[Any] = [None] * len(steps)

    def run(number: int, step: Callable[[], Any]) -> None:
        connection.ensure_connection()
        ready.wait(timeout=20)
        try:
            outcomes[number] = step()
        except Exception as error:
            outcomes[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


def seen_by_each(case: Case) -> list[Case]:
    return [Case.objects.get(pk=case.pk) for _ in range(2)]


def test_of_two_who_claim_one_wins_and_the_other_is_told_who(
    technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
) -> None:
    case = predicted_case(technician, images=1)
    readers = [haematologist, second_haematologist]
    pairs = list(zip(seen_by_each(case), readers, strict=True))
    outcomes = at_once(*[lambda c=c, r=r: case_claim(case=c, actor=r) for c, r in pairs])
    case.refresh_from_db()
    assert outcomes.count(None) == 1
    loser = next(outcome for outcome in outcomes if outcome is not None)
    assert isinstance(loser, StateConflict)
    assert str(case.reader) in loser.message
    assert case.timeline.filter(to_state=CaseState.IN_REVIEW).count() == 1


def test_two_who_ask_for_the_next_case_never_get_the_same(
    technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
) -> None:
    for _ in range(3):
        predicted_case(technician, images=1)
    browsers = [SignedIn(user) for user in (haematologist, second_haematologist)]
    for _ in range(2):
        answers = at_once(*[lambda b=b: b.post("/worklist/next/")["Location"] for b in browsers])
        got = [answer for answer in answers if answer != "/worklist/"]
        assert len(set(got)) == len(got), answers
    assert Case.objects.filter(state=CaseState.IN_REVIEW).count() == 3, answers


def test_of_two_signatures_one_counts(technician: User, haematologist: User, model_version: ModelVersion) -> None:
    case = case_in_review(technician, haematologist, images=1)
    own_read_enter(case=case, actor=haematologist, finding="Early")
    images_agree_all(case=case, actor=haematologist)
    case_conclude(case=case, actor=haematologist, finding="Early")
    outcomes = at_once(*[lambda c=c: case_sign(case=c, actor=haematologist) for c in seen_by_each(case)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Report", "StateConflict"]
    assert case.reports.count() == 1


def test_two_amendments_become_two_versions(
    technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion
) -> None:
    case = signed_case(technician, haematologist, images=1)
    words = {"finding": "Pro", "comment": "", "reason": "Flow came in."}
    readers = (haematologist, second_haematologist)
    at_once(*[lambda r=r: report_amend(case=Case.objects.get(pk=case.pk), actor=r, **words) for r in readers])
    first, second, third = case.reports.order_by("version")
    assert (second.previous_hash, third.previous_hash) == (first.hash, second.hash)


def test_two_workers_that_end_the_last_two_runs_move_the_case_on_once(
    technician: User, model_version: ModelVersion
) -> None:
    case = submitted_case(technician, images=2)

    def finish(run: PredictionRun) -> bool:
        end_run(run)
        return case_advance(case=Case.objects.get(pk=case.pk))

    outcomes = at_once(*[lambda run=run: finish(run) for run in PredictionRun.objects.filter(image__case=case)])
    case.refresh_from_db()
    assert case.state == CaseState.AWAITING_REVIEW
    assert sorted(outcomes) == [False, True]
    assert case.timeline.filter(kind=TimelineKind.MOVED, to_state=CaseState.AWAITING_REVIEW).count() == 1


def test_of_two_cases_with_one_accession_number_one_is_made(technician: User) -> None:
    patient = PatientFactory(site=technician.site)
    outcomes = at_once(
        *[lambda: case_create(actor=technician, patient=patient, accession_number="A-1") for _ in range(2)]
    )
    assert sorted(getattr(outcome, "field", "made") for outcome in outcomes) == ["accession_number", "made"]


def test_images_that_arrive_together_each_get_a_place(technician: User) -> None:
    case = draft_case(technician, images=0)

    def upload(seed: int) -> int:
        data = BytesIO(smear_jpeg(seed))
        return image_add(case=case, actor=technician, upload=data, file_name="field.jpg").position

    assert sorted(at_once(*[lambda seed=seed: upload(seed) for seed in range(4)])) == [1, 2, 3, 4]


def test_a_case_handed_in_while_the_archive_is_queued_anew_gets_one_run_for_each_image(
    technician: User, model_version: ModelVersion
) -> None:
    """At its own priority: nobody's case waits behind the archive."""
    case = draft_case(technician, images=2)
    queued = threading.Event()

    def archive() -> None:
        with transaction.atomic():
            for image in case.images.all():
                PredictionRun.objects.create(image=image, model_version=model_version, priority=Priority.BACKFILL)
            queued.set()
            deadline = time.monotonic() + 20
            while not somebody_waits() and time.monotonic() < deadline:
                time.sleep(0.05)

    def hand_in() -> None:
        assert queued.wait(20)
        case_submit(case=case, actor=technician)

    assert at_once(archive, hand_in) == [None, None]
    runs = PredictionRun.objects.filter(image__case=case)
    assert list(runs.values_list("priority", flat=True)) == [Priority.ROUTINE, Priority.ROUTINE]


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
