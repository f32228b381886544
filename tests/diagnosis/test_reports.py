"""Signing out and amending: who may, what blocks it, and a chain that shows every later change."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import User
from diagnosis.errors import ServiceError, StateConflict
from diagnosis.models import AccessEvent, Case, Report
from diagnosis.selectors.chain import chain_faults
from diagnosis.selectors.readings import case_reading
from diagnosis.services.cases import case_ask_second_read, case_claim
from diagnosis.services.readings import case_conclude, image_read, images_agree_all, own_read_enter
from diagnosis.services.reports import case_sign, report_amend, report_hash_of
from diagnosis.states import AccessedKind, CaseState, ReportStatus, TimelineKind
from tests.conftest import SignedIn
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture
def concluded(in_review: Case, haematologist: User) -> Case:
    """Everything read; the signature is all that is missing."""
    own_read_enter(case=in_review, actor=haematologist, finding="Pre")
    images_agree_all(case=in_review, actor=haematologist)
    case_conclude(case=in_review, actor=haematologist, finding="Early", comment="Flow cytometry decides.")
    return in_review


def amend(case: Case, actor: User, **values: Any) -> Report:
    return report_amend(
        case=case, actor=actor, **{"finding": "Pro", "comment": "", "reason": "Flow came in."} | values
    )


class TestBlockers:
    def test_every_image_must_be_read(self, in_review: Case, haematologist: User) -> None:
        own_read_enter(case=in_review, actor=haematologist, finding="Early")
        case_conclude(case=in_review, actor=haematologist, finding="Early")
        image_read(case=in_review, image=in_review.images.all()[0], actor=haematologist, finding="Early")
        with pytest.raises(ServiceError, match=r"1 without a reading \(2\)"):
            case_sign(case=in_review, actor=haematologist)

    def test_there_must_be_a_conclusion(self, in_review: Case, haematologist: User) -> None:
        own_read_enter(case=in_review, actor=haematologist, finding="Early")
        images_agree_all(case=in_review, actor=haematologist)
        with pytest.raises(ServiceError, match="conclusion"):
            case_sign(case=in_review, actor=haematologist)

    def test_only_the_reader_signs(self, concluded: Case, second_haematologist: User, technician: User) -> None:
        for user in (second_haematologist, technician):
            with pytest.raises(ServiceError, match="Only the reader"):
                case_sign(case=concluded, actor=user)

    def test_the_submitter_cannot_sign_even_as_reader(self, concluded: Case, haematologist: User) -> None:
        Case.objects.filter(pk=concluded.pk).update(submitted_by=haematologist)
        with pytest.raises(ServiceError, match="another haematologist must sign"):
            case_sign(case=concluded, actor=haematologist)

    def test_whoever_asked_for_a_second_read_cannot_sign(
        self, concluded: Case, haematologist: User, second_haematologist: User
    ) -> None:
        case_ask_second_read(case=concluded, actor=haematologist, reason="Sure?")
        case_claim(case=concluded, actor=second_haematologist)
        with pytest.raises(ServiceError):
            case_sign(case=concluded, actor=haematologist)
        with pytest.raises(ServiceError, match="conclusion"):
            case_sign(case=concluded, actor=second_haematologist)


class TestSign:
    def test_it_closes_the_case_with_a_final_report(self, concluded: Case, haematologist: User) -> None:
        report = case_sign(case=concluded, actor=haematologist)
        concluded.refresh_from_db()
        assert (concluded.state, concluded.signed_by, concluded.signed_at) == (
            CaseState.SIGNED,
            haematologist,
            report.signed_at,
        )
        assert (report.version, report.status, report.previous_hash) == (1, ReportStatus.FINAL, "")
        content = report.content
        assert content["conclusion"] == {"code": "Early", "title": "Early", "comment": "Flow cytometry decides."}
        assert (content["own_read"], content["decision"]) == ("Pre", "agree")
        assert content["patient"]["mrn"] == concluded.patient.mrn
        assert [(entry["position"], entry["finding"]) for entry in content["images"]] == [(1, "Early"), (2, "Early")]

    def test_who_comes_second_is_told_who_signed(self, signed: Case, haematologist: User) -> None:
        with pytest.raises(StateConflict, match=f"{haematologist} has signed"):
            case_sign(case=signed, actor=haematologist)
        assert signed.reports.count() == 1

    def test_nothing_is_read_afterwards(self, signed: Case, haematologist: User) -> None:
        with pytest.raises(StateConflict):
            image_read(case=signed, image=signed.images.all()[0], actor=haematologist, finding="Pro")


class TestPassword:
    @pytest.fixture
    def browser(self, haematologist: User) -> Client:
        return SignedIn(haematologist)

    def test_the_password_signs(self, concluded: Case, browser: Client) -> None:
        response = browser.post(f"/cases/{concluded.pk}/sign/", {"password": PASSWORD})
        assert response["Location"] == f"/reports/{concluded.reports.get().pk}/"

    @pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " "])
    def test_nothing_else_does(self, password: str, concluded: Case, browser: Client) -> None:
        response = browser.post(f"/cases/{concluded.pk}/sign/", {"password": password})
        assert response.status_code == 422
        assert "password" in response.context["form"].errors
        assert not concluded.reports.exists()

    def test_nor_does_the_password_of_another(
        self, concluded: Case, browser: Client, second_haematologist: User
    ) -> None:
        second_haematologist.set_password("another correct password")
        second_haematologist.save()
        data = {"password": "another correct password", "username": second_haematologist.username}
        assert browser.post(f"/cases/{concluded.pk}/sign/", data).status_code == 422

    def test_guessing_it_here_locks_out_as_at_the_door(
        self, concluded: Case, browser: Client, haematologist: User
    ) -> None:
        codes = [browser.post(f"/cases/{concluded.pk}/sign/", {"password": "wrong"}).status_code for _ in range(5)]
        assert codes == [422, 422, 422, 422, 429]
        assert browser.post(f"/cases/{concluded.pk}/sign/", {"password": PASSWORD}).status_code == 429
        credentials = {"username": haematologist.username, "password": PASSWORD}
        assert Client().post("/accounts/sign-in/", credentials).status_code == 429

    def test_an_amendment_wants_it_too(self, signed: Case, browser: Client) -> None:
        data = {"finding": "Pro", "reason": "Flow came in.", "password": "wrong"}
        assert browser.post(f"/cases/{signed.pk}/amend/", data).status_code == 422
        assert browser.post(f"/cases/{signed.pk}/amend/", data | {"password": PASSWORD}).status_code == 302
        assert signed.reports.last().content["conclusion"]["code"] == "Pro"


class TestAmendment:
    def test_it_adds_a_version_and_keeps_the_one_before(self, signed: Case, second_haematologist: User) -> None:
        before = signed.reports.get()
        report = amend(signed, second_haematologist)
        assert (report.version, report.status, report.previous_hash) == (2, ReportStatus.AMENDED, before.hash)
        assert (report.reason, report.content["reader"]) == ("Flow came in.", second_haematologist.display_name)
        kept = signed.reports.get(version=1)
        assert (kept.content, kept.hash) == (before.content, before.hash)
        assert signed.timeline.last().kind == TimelineKind.AMENDED
        signed.refresh_from_db()
        assert signed.state == CaseState.SIGNED

    def test_the_case_then_says_what_the_newest_version_says(self, signed: Case, second_haematologist: User) -> None:
        amend(signed, second_haematologist)
        assert case_reading(signed, second_haematologist).conclusion_title == "Pro"

    def test_its_form_starts_from_what_holds(self, signed: Case, haematologist: User) -> None:
        amend(signed, haematologist, finding="Pro", comment="Confirmed by flow cytometry.")
        form = SignedIn(haematologist).get(f"/cases/{signed.pk}/amend/").context["form"]
        assert (form["finding"].value(), form["comment"].value()) == ("Pro", "Confirmed by flow cytometry.")

    def test_it_says_anew_whether_the_suggestion_was_followed(self, signed: Case, haematologist: User) -> None:
        overridden = amend(signed, haematologist, finding="Pro", reason="Flow came in.").content
        assert (overridden["decision"], overridden["decision_reason"]) == ("override", "Flow came in.")
        assert amend(signed, haematologist, finding="Early").content["decision"] == "agree"

    @pytest.mark.parametrize(("field", "value"), [("reason", " "), ("finding", "nothing")])
    def test_it_needs_a_reason_and_a_finding(self, field: str, value: str, signed: Case, haematologist: User) -> None:
        with pytest.raises(ServiceError) as caught:
            amend(signed, haematologist, **{field: value})
        assert caught.value.field == field

    def test_only_a_signed_case_is_amended(self, concluded: Case, haematologist: User) -> None:
        with pytest.raises(StateConflict):
            amend(concluded, haematologist)

    def test_the_submitter_does_not_amend(self, signed: Case) -> None:
        with pytest.raises(ServiceError, match="another haematologist"):
            amend(signed, signed.submitted_by)


class TestChain:
    @pytest.fixture
    def chained(self, signed: Case, haematologist: User) -> Case:
        for finding in ("Pro", "Pre"):
            amend(signed, haematologist, finding=finding)
        return signed

    def tamper(self, sql: str, *values: object) -> None:
        """As somebody would who owns the database: past the triggers."""
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(sql, values)
            assert cursor.rowcount == 1
            cursor.execute("SET LOCAL session_replication_role = origin")

    def test_an_untouched_chain_has_no_fault(self, chained: Case, capsys: pytest.CaptureFixture[str]) -> None:
        assert [report_hash_of(report) == report.hash for report in chained.reports.all()] == [True] * 3
        call_command("verify_chain")
        assert capsys.readouterr().out == "3 report versions are what was signed.\n"

    @pytest.mark.parametrize(
        "change",
        [
            "content = jsonb_set(content, '{conclusion,title}', '\"Benign\"')",
            "reason = 'Because.'",
            "status = 'corrected'",
            "signed_at = signed_at + interval '1 microsecond'",
            "signed_by_id = (SELECT submitted_by_id FROM diagnosis_case LIMIT 1)",
        ],
    )
    def test_a_changed_version_is_named(self, change: str, chained: Case, capsys: pytest.CaptureFixture[str]) -> None:
        self.tamper(f"UPDATE diagnosis_report SET {change} WHERE version = 2")  # noqa: S608
        with pytest.raises(CommandError) as caught:
            call_command("verify_chain")
        assert caught.value.returncode == 1
        said = capsys.readouterr().err
        assert f"{chained.accession_number} ({chained.pk}), version 2: is not what was signed." in said

    def test_a_version_whose_hash_was_made_to_fit_breaks_the_next(self, chained: Case) -> None:
        self.tamper("UPDATE diagnosis_report SET reason = 'Because.' WHERE version = 2")
        forged = report_hash_of(chained.reports.get(version=2))
        self.tamper("UPDATE diagnosis_report SET hash = %s WHERE version = 2", forged)
        (fault,) = chain_faults()
        assert fault.endswith("version 3: does not continue the version before it.")

    @pytest.mark.parametrize("version", [1, 2, 3])
    def test_a_missing_version_is_noticed(self, version: int, chained: Case) -> None:
        self.tamper("DELETE FROM diagnosis_report WHERE version = %s", version)
        faults = list(chain_faults())
        assert all(chained.accession_number in fault for fault in faults)
        assert faults[-1].endswith("its timeline tells of 3 versions, there are 2.")

    def test_a_signed_case_without_any_report_is_noticed(self, signed: Case) -> None:
        self.tamper("DELETE FROM diagnosis_report WHERE version = 1")
        assert len(list(chain_faults())) == 1


def test_who_looks_at_a_report_an_image_or_a_case_is_written_down(signed: Case, technician: User) -> None:
    browser = SignedIn(technician)
    image, report = signed.images.all()[0], signed.reports.get()
    pages = {
        (AccessedKind.CASE, signed.pk): f"/cases/{signed.pk}/",
        (AccessedKind.IMAGE, image.pk): f"/cases/{signed.pk}/images/{image.pk}/",
        (AccessedKind.REPORT, report.pk): f"/reports/{report.pk}/",
    }
    for url in pages.values():
        assert browser.get(url).status_code == 200
    seen = AccessEvent.objects.filter(user=technician, case=signed).values_list("what", "object_id")
    assert set(seen) == {(str(what), pk) for what, pk in pages}
