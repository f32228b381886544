"""No site's backlog keeps another site waiting, and a claim costs the same however much waits."""

import json
from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts.models import Site
from accounts.roles import Role
from diagnosis.models import Case, ModelVersion, PredictionRun, SmearImage
from diagnosis.states import CaseState, Priority, RunState
from tests.factories import CaseFactory, ModelVersionFactory, SiteFactory, make_user
from worker.claiming import TURNS, Claim, runs_claim, turns

Backlog = Callable[..., Site]


@pytest.fixture
def backlog(model_version: ModelVersion) -> Backlog:
    """A site whose case has so many queued runs; no bytes behind the images."""

    def make(images: int, priority: Priority = Priority.ROUTINE, version: ModelVersion = model_version) -> Site:
        site = SiteFactory()
        case = CaseFactory(submitted_by=make_user(Role.TECHNICIAN, site), priority=priority)
        Case.objects.filter(pk=case.pk).update(state=CaseState.SUBMITTED, submitted_at=Now())
        made = SmearImage.objects.bulk_create(image_of(case, position) for position in range(1, images + 1))
        PredictionRun.objects.bulk_create(
            PredictionRun(image=image, model_version=version, priority=priority) for image in made
        )
        return site

    return make


def image_of(case: Case, position: int) -> SmearImage:
    values = {"content_type": "image/png", "size": 1, "width": 1, "height": 1, "thumbnail_size": 1}
    names = {"sha256": uuid4().hex * 2, "thumbnail_sha256": "0" * 64, "file_name": "x.png"}
    return SmearImage(case=case, position=position, uploaded_by=case.submitted_by, **names, **values)


def claim(version: ModelVersion, limit: int = 8) -> Claim:
    claimed = runs_claim(limit=limit, worker="here:1", model_versions=[version.pk])
    assert claimed is not None
    return claimed


def sites_of(claimed: Claim) -> Counter[UUID]:
    return Counter(run.site_id for run in claimed.runs)


def test_a_run_has_the_site_of_its_case_whoever_makes_it(backlog: Backlog, model_version: ModelVersion) -> None:
    site, other = backlog(1), backlog(1)
    run = PredictionRun.objects.get(image__case__site=site)
    assert run.site_id == site.pk
    PredictionRun.objects.filter(pk=run.pk).update(site=other)
    run.refresh_from_db()
    assert run.site_id == site.pk
    run.site_id = None
    run.save()
    run.refresh_from_db()
    assert run.site_id == site.pk


def test_a_small_site_is_in_the_next_batch_behind_anothers_backlog(
    backlog: Backlog, model_version: ModelVersion
) -> None:
    large = backlog(60)
    small = backlog(3)
    assert sites_of(claim(model_version)) == {large.pk: 5, small.pk: 3}


def test_sites_share_batches_equally_while_all_have_something(backlog: Backlog, model_version: ModelVersion) -> None:
    sites = [backlog(40), backlog(20), backlog(9)]
    taken: Counter[UUID] = Counter()
    for _ in range(4):
        taken += sites_of(claim(model_version, limit=6))
    assert taken == {site.pk: 8 for site in sites}


def test_with_more_sites_than_places_each_gets_its_turn(backlog: Backlog, model_version: ModelVersion) -> None:
    """One place for each claim, as for runs that are tried again: a hundred claims, and the odds that a site with one
    run among six is passed over every time are below one in eighty million."""
    backlog(150)
    small = {backlog(1).pk for _ in range(5)}
    seen: set[UUID] = set()
    for _ in range(100):
        seen |= set(sites_of(claim(model_version, limit=1)))
    assert small <= seen


def test_priority_comes_before_fairness(backlog: Backlog, model_version: ModelVersion) -> None:
    routine = backlog(4)
    stat = backlog(12, Priority.STAT)
    assert sites_of(claim(model_version)) == {stat.pk: 8}
    claimed = claim(model_version)
    assert [run.priority for run in claimed.runs] == [Priority.STAT] * 4 + [Priority.ROUTINE] * 4
    assert sites_of(claimed) == {stat.pk: 4, routine.pk: 4}


def test_within_a_site_the_oldest_comes_first(backlog: Backlog, model_version: ModelVersion) -> None:
    backlog(20)
    last = PredictionRun.objects.order_by("pk").last()
    PredictionRun.objects.filter(pk=last.pk).update(queued_at="2020-01-01T00:00Z")
    assert claim(model_version, limit=3).runs[0].pk == last.pk


def test_a_more_pressing_run_of_another_model_is_taken_first(backlog: Backlog, model_version: ModelVersion) -> None:
    other = ModelVersionFactory(task="cell-type")
    backlog(5)
    backlog(1, Priority.URGENT, other)
    claimed = runs_claim(limit=8, worker="here:1", model_versions=[model_version.pk, other.pk])
    assert claimed is not None
    assert (claimed.model_version, len(claimed.runs)) == (other, 1)


def test_models_of_one_priority_take_turns(backlog: Backlog, model_version: ModelVersion) -> None:
    other = ModelVersionFactory(task="cell-type")
    backlog(60)
    backlog(60, version=other)
    served = {
        runs_claim(limit=1, worker="here:1", model_versions=[model_version.pk, other.pk]).model_version.pk
        for _ in range(40)
    }
    assert served == {model_version.pk, other.pk}


@pytest.mark.django_db(transaction=True)
def test_a_worker_looks_past_what_another_is_just_taking(backlog: Backlog, model_version: ModelVersion) -> None:
    import threading

    backlog(12)
    got: list[int] = []

    def second() -> None:
        got.append(len(claim(model_version, limit=4).runs))
        connection.close()

    with transaction.atomic():
        first = claim(model_version, limit=4)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(20)
    assert (len(first.runs), got) == (4, [4])
    assert PredictionRun.objects.filter(state=RunState.RUNNING).count() == 8


@pytest.mark.django_db
def test_a_claim_reads_a_few_rows_of_ten_thousand(backlog: Backlog, model_version: ModelVersion) -> None:
    for _ in range(4):
        backlog(2500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE diagnosis_predictionrun")
        values = {"version": str(model_version.pk), "count": 80, "lot": "x"}
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + TURNS, values)
        found = cursor.fetchone()[0]
        (plan,) = json.loads(found) if isinstance(found, str) else found
    scans = list(nodes(plan["Plan"]))
    assert {node["Relation Name"] for node in scans if "Relation Name" in node} == {"diagnosis_predictionrun"}
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= 4 * 80
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 800
    assert len(turns([model_version.pk], 80)) == 80


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_runs_from_before_get_the_site_of_their_case(backlog: Backlog) -> None:
    first, second = backlog(3), backlog(2)
    try:
        call_command("migrate", "diagnosis", "0004", verbosity=0)
    finally:
        call_command("migrate", verbosity=0)
    assert Counter(PredictionRun.objects.values_list("site", flat=True)) == {first.pk: 3, second.pk: 2}


def nodes(plan: dict) -> list[dict]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]
