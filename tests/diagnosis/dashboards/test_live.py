"""Live performance against what scikit-learn and NumPy count over the same rows."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

from accounts.models import Site, User
from diagnosis.dashboards.figures import Figure, Group
from diagnosis.dashboards.filters import Scope, default_days
from diagnosis.dashboards.live import live_groups
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import Case, ModelVersion
from diagnosis.services.reports import report_amend
from diagnosis.states import CaseState
from tests.diagnosis.dashboards.archive import CODES, RARE_REASON, Archive, CaseRow, ImageRow
from tests.diagnosis.dashboards.conftest import Pick
from tests.factories import ModelVersionFactory, case_in_review, signed_case

pytestmark = pytest.mark.django_db


@pytest.fixture
def groups(archive: Archive, scope: Scope) -> list[Group]:
    return live_groups(archive.version, scope)


def shares(figure: Figure) -> dict[str, tuple[int, int]]:
    """Row name → (of, agreed)."""
    return {row[0]: (row[1], row[2]) for row in figure.rows}


def read(archive: Archive) -> list[ImageRow]:
    return [row for row in archive.images if row.state == "succeeded" and row.finding in CODES]


def test_the_confusion_matrix_is_scikit_learns(archive: Archive, groups: list[Group], pick: Pick) -> None:
    rows = read(archive)
    expected = theirs.confusion_matrix([r.finding for r in rows], [r.label for r in rows], labels=list(CODES))
    figure = pick(groups, "confusion")
    assert [list(row[1:5]) for row in figure.rows[:4]] == expected.tolist()
    assert [row[5] for row in figure.rows[:4]] == expected.sum(1).tolist()
    shares = expected / expected.sum(1, keepdims=True)
    assert np.array([row[6:] for row in figure.rows[:4]], float) == pytest.approx(shares)


def test_kappa_is_scikit_learns(archive: Archive, groups: list[Group], pick: Pick) -> None:
    rows = read(archive)
    kappa = theirs.cohen_kappa_score([r.finding for r in rows], [r.label for r in rows])
    assert f"kappa over the classes {kappa:.2f}." in pick(groups, "confusion").note


def test_an_image_read_as_not_usable_has_a_row_of_its_own(archive: Archive, groups: list[Group], pick: Pick) -> None:
    row = pick(groups, "confusion").rows[4]
    unusable = [r for r in archive.images if r.state == "succeeded" and r.finding == "unusable"]
    assert unusable
    assert (row[0], row[5]) == ("Not usable", len(unusable))


def test_concordance_by_image(archive: Archive, groups: list[Group], pick: Pick) -> None:
    found = shares(pick(groups, "concordance"))
    rows = read(archive)

    def expected(chosen: list[ImageRow]) -> tuple[int, int]:
        return len(chosen), int(
            theirs.accuracy_score([r.finding for r in chosen], [r.label for r in chosen], normalize=False)
        )

    assert found["Images, all"] == expected(rows)
    assert found["Images, without the uncertain"] == expected([r for r in rows if not r.abstained])
    assert found["Images read before the reveal"] == expected([r for r in rows if r.stage == "own"])
    assert found["Images read with the prediction in view"] == expected([r for r in rows if r.stage == "informed"])


def test_concordance_by_case_split_by_who_read_first(archive: Archive, groups: list[Group], pick: Pick) -> None:
    found = shares(pick(groups, "concordance"))

    def expected(chosen: list[CaseRow]) -> tuple[int, int]:
        return len(chosen), sum(row.suggested == row.conclusion for row in chosen)

    # The signer's own read counts; in a second read it was the first reader who gave one.
    own_first = [row for row in archive.cases if row.own and not row.second_read]
    seen = [row for row in archive.cases if not row.own or row.second_read]
    assert found["Cases, all"] == expected(archive.cases)
    assert found["Cases, own read entered first"] == expected(own_first)
    assert found["Cases, prediction seen at once"] == expected(seen)
    assert own_first
    assert seen


def test_concordance_has_wilsons_interval(groups: list[Group], pick: Pick) -> None:
    row = pick(groups, "concordance").rows[0]
    expected = stats.binomtest(row[2], row[1]).proportion_ci(0.95, method="wilson")
    assert row[3:] == pytest.approx((row[2] / row[1], expected.low, expected.high))


def test_the_weeks_add_up_to_the_whole(groups: list[Group], pick: Pick) -> None:
    weeks = pick(groups, "concordance-by-week").rows
    whole = shares(pick(groups, "concordance"))["Images, all"]
    assert (sum(row[1] for row in weeks), sum(row[2] for row in weeks)) == whole
    assert {row[0].weekday() for row in weeks} == {0}


def test_what_became_of_the_images(archive: Archive, groups: list[Group], pick: Pick) -> None:
    counts = {row[0]: row[1] for row in pick(groups, "outcomes").rows}
    states = Counter(row.state for row in archive.images)
    uncertain = sum(row.abstained for row in archive.images)
    assert counts == {
        "Predicted": states["succeeded"] - uncertain,
        "Predicted, marked uncertain": uncertain,
        "Refused": states["refused"],
        "Failed": states["failed"],
    }


def test_the_override_rate(archive: Archive, groups: list[Group], pick: Pick) -> None:
    found = shares(pick(groups, "overrides"))
    decided = [r for r in archive.images if r.state == "succeeded" and r.decision in ("agree", "override")]
    assert found["Images"] == (len(decided), sum(r.decision == "override" for r in decided))
    over = sum(row.suggested != row.conclusion for row in archive.cases)
    assert found["Cases"] == (len(archive.cases), over)


def test_the_reasons_of_overrides_in_order(archive: Archive, groups: list[Group], pick: Pick) -> None:
    expected = Counter(row.reason for row in archive.images if row.decision == "override")
    rare = sum(n for reason, n in expected.items() if n < 3)
    quoted = sorted(((n, reason) for reason, n in expected.items() if n >= 3), key=lambda pair: (-pair[0], pair[1]))
    rows = list(pick(groups, "override-reasons").rows)
    assert [(row[1], row[0]) for row in rows[: len(quoted)]] == quoted
    assert sum(row[1] for row in rows[len(quoted) :]) == rare


def test_a_rare_reason_is_not_quoted(archive: Archive, groups: list[Group], pick: Pick) -> None:
    assert sum(row.reason == RARE_REASON for row in archive.images) == 1
    figure = pick(groups, "override-reasons")
    assert "ruiz" not in str(figure.rows).lower()
    assert figure.rows[-1] == ("(each given fewer than 3 times)", 1)


def test_what_readers_did_after_the_reveal(archive: Archive, groups: list[Group], pick: Pick) -> None:
    counts = {row[0]: row[1] for row in pick(groups, "after-reveal").rows}
    read = [(row.own, row.suggested, row.first_conclusion) for row in archive.cases if row.own]
    assert counts == {
        "Agreed from the start, kept": sum(own == said == then for own, said, then in read),
        "Agreed from the start, left it": sum(own == said != then for own, said, then in read),
        "Differed, kept the own read": sum(own != said and then == own for own, said, then in read),
        "Differed, took the suggestion": sum(own != said == then for own, said, then in read),
        "Differed, went to a third class": sum(len({own, said, then}) == 3 for own, said, then in read),
    }
    assert counts["Differed, took the suggestion"] > 0


def test_flips_are_judged_by_another_reader_or_an_amendment_only(
    archive: Archive, groups: list[Group], pick: Pick
) -> None:
    judged = [row for row in archive.cases if row.own and (row.second_read or row.amended)]
    pairs = Counter((row.own == row.standing, row.first_conclusion == row.standing) for row in judged)
    assert [row[1] for row in pick(groups, "flips").rows] == [
        pairs[True, True],
        pairs[False, True],
        pairs[True, False],
        pairs[False, False],
    ]
    assert pairs[False, True]


def test_an_amendment_is_what_a_read_is_judged_by(
    technician: User, haematologist: User, second_haematologist: User, model_version: ModelVersion, pick: Pick
) -> None:
    """Own read and conclusion Early, amended to Pre by another: wrong, and stayed so; the signing itself agreed."""
    case = signed_case(technician, haematologist, finding="Early")
    report_amend(case=case, actor=second_haematologist, finding="Pre", comment="", reason="Flow cytometry.")
    summaries_refresh()
    found = live_groups(model_version, Scope((case.site_id,), **default_days()))
    assert {row[0]: row[1] for row in pick(found, "flips").rows} == {
        "Right, stayed right": 0,
        "Wrong → right after the reveal": 0,
        "Right → wrong after the reveal": 0,
        "Wrong, stayed wrong": 1,
    }
    assert shares(pick(found, "concordance"))["Cases, all"] == (1, 1)


def test_a_case_that_is_not_signed_is_not_counted(
    technician: User, haematologist: User, model_version: ModelVersion, scope: Scope
) -> None:
    case_in_review(technician, haematologist)
    summaries_refresh()
    assert live_groups(model_version, scope) == []


def test_cases_of_another_site_are_not_counted(archive: Archive, other_site: Site) -> None:
    assert live_groups(archive.version, Scope((other_site.pk,), **default_days())) == []


def test_what_another_version_said_is_not_counted(archive: Archive, scope: Scope) -> None:
    other = ModelVersionFactory(status="retired")
    assert live_groups(other, scope) == []


def test_only_the_days_asked_for_are_counted(archive: Archive, scope: Scope, pick: Pick) -> None:
    days = sorted(row.signed_at.date() for row in archive.cases)
    some = Scope(scope.site_ids, days[20], days[60])
    expected = sum(days[20] <= row.signed_at.date() <= days[60] for row in archive.cases)
    assert shares(pick(live_groups(archive.version, some), "concordance"))["Cases, all"][0] == expected


def test_a_withdrawn_image_is_not_counted(archive: Archive, scope: Scope, pick: Pick) -> None:
    case = Case.objects.filter(state=CaseState.SIGNED).first()
    assert case
    case.images.update(withdrawn_at=case.signed_at)
    summaries_refresh()
    counts = [row[1] for row in pick(live_groups(archive.version, scope), "outcomes").rows]
    assert sum(counts) == len(archive.images) - 3
