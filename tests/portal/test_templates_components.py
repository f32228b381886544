"""The small parts that every page is made of."""

import datetime

import pytest
from django.core.paginator import Paginator
from django.db.models import TextChoices
from django.template.loader import render_to_string
from django.test import RequestFactory
from django.utils import timezone

from diagnosis.reasons import FLAGS
from diagnosis.states import CASE_PRIORITIES, CaseState, Priority, ReportStatus, RunState
from tests.portal.page_html import Element, parse

STATES = [*CaseState, *RunState, *ReportStatus]
QUIET = {CaseState.DRAFT, CaseState.CANCELLED, RunState.CANCELLED}


def part(name: str, **context: object) -> Element:
    address = context.pop("address", "/")
    return parse(render_to_string(f"components/{name}.html", context, RequestFactory().get(str(address))))


def icon(element: Element) -> str:
    (name,) = {c for c in element.one("i").classes if c.startswith("bi-")}
    return name


class TestStatusChip:
    @pytest.mark.parametrize("state", STATES, ids=lambda state: f"{type(state).__name__}-{state}")
    def test_it_says_every_state_by_word_and_icon(self, state: TextChoices) -> None:
        chip = part("status_chip", state=state.value, label=state.label).one("span", class_="chip")
        assert chip.text == state.label
        assert icon(chip) != "bi-circle"
        assert chip.one("i").attributes["aria-hidden"] == "true"

    @pytest.mark.parametrize("state", [s for s in STATES if s not in QUIET], ids=str)
    def test_it_has_a_colour_unless_nothing_is_to_be_done(self, state: TextChoices) -> None:
        assert len(part("status_chip", state=state.value).one("span", class_="chip").classes) == 2

    @pytest.mark.parametrize("states", [CaseState, RunState, ReportStatus])
    def test_no_two_states_of_one_thing_share_an_icon(self, states: type[TextChoices]) -> None:
        icons = [icon(part("status_chip", state=state.value)) for state in states]
        if states is ReportStatus:  # an amendment and a correction are both another version
            assert len(set(icons)) == len(icons) - 1
        else:
            assert len(set(icons)) == len(icons)

    @pytest.mark.parametrize("state", STATES, ids=str)
    def test_it_knows_a_word_of_its_own(self, state: TextChoices) -> None:
        assert part("status_chip", state=state.value).text == state.label

    def test_uncertain_and_refused_look_different(self) -> None:
        uncertain, refused = (part("status_chip", state=state) for state in ("uncertain", "refused"))
        assert uncertain.one("span").classes != refused.one("span").classes
        assert icon(uncertain) != icon(refused)

    @pytest.mark.parametrize("flag", FLAGS)
    def test_a_flag_looks_like_neither(self, flag: str) -> None:
        chip = part("status_chip", state=flag)
        assert chip.text
        assert "_" not in chip.text
        for other in ("uncertain", "refused", *(set(FLAGS) - {flag})):
            assert icon(chip) != icon(part("status_chip", state=other))
        for other in ("uncertain", "refused"):
            assert chip.one("span").classes != part("status_chip", state=other).one("span").classes

    def test_a_label_is_text(self) -> None:
        assert part("status_chip", state="draft", label="<b>x</b>").text == "<b>x</b>"


class TestPriority:
    @pytest.mark.parametrize("priority", list(Priority))
    def test_it_says_the_word(self, priority: Priority) -> None:
        badge = part("priority_badge", priority=priority.value).one(class_="priority")
        assert badge.text == priority.label
        assert badge.find("i")

    def test_no_two_look_the_same(self) -> None:
        looks = [
            frozenset(part("priority_badge", priority=p.value).one(class_="priority").classes) for p in CASE_PRIORITIES
        ]
        assert len(set(looks)) == len(looks)


class TestTimes:
    def test_a_time_is_relative_with_the_absolute_at_hand(self) -> None:
        at = timezone.now() - datetime.timedelta(minutes=12)
        shown = part("time", at=at).one("time")
        assert "12" in shown.text
        assert datetime.datetime.fromisoformat(shown.attributes["datetime"]) == at
        assert shown.attributes["title"] == at.strftime("%-d %b %Y, %H:%M:%S")

    def test_no_time_shows_nothing(self) -> None:
        assert part("time", at=None).text == ""

    def test_a_clock_carries_its_target_in_seconds(self) -> None:
        clock = part("tat_clock", since=timezone.now(), target=datetime.timedelta(days=2)).one(class_="tat")
        assert clock.attributes["data-tat-target"] == "172800"

    def test_a_clock_that_has_stopped_says_when(self) -> None:
        since = timezone.now() - datetime.timedelta(hours=2)
        until = since + datetime.timedelta(hours=1)
        clock = part("tat_clock", since=since, until=until).one(class_="tat")
        assert datetime.datetime.fromisoformat(clock.attributes["data-tat-until"]) == until
        assert clock.text == since.strftime("%-d %b, %H:%M")


class TestProbabilityBar:
    @pytest.mark.parametrize(
        ("percent", "width", "said"), [(0, "0", "0 %"), (81.6, "81.6", "82 %"), (100, "100", "100 %")]
    )
    def test_its_length_is_the_share_of_a_fixed_axis(self, percent: float, width: str, said: str) -> None:
        bar = part("probability_bar", percent=percent, colour="#0072b2", label="Early").one("svg")
        assert bar.attributes["viewbox"] == "0 0 100 10"
        assert bar.one("rect").attributes["width"] == width
        assert bar.attributes["aria-label"] == f"Early {said}"


class TestPagination:
    def test_one_page_needs_none(self) -> None:
        assert part("pagination", page_obj=Paginator(range(5), 10).page(1)).find("nav") == []

    def test_it_leads_both_ways_and_keeps_the_filter(self) -> None:
        pages = Paginator(range(30), 10)
        links = part("pagination", page_obj=pages.page(2), address="/worklist/?state=in_review&mine=on&page=2").find(
            "a"
        )
        assert [(a.attributes["rel"], a.attributes["href"]) for a in links] == [
            ("prev", "?state=in_review&mine=on&page=1"),
            ("next", "?state=in_review&mine=on&page=3"),
        ]

    @pytest.mark.parametrize(("page", "left"), [(1, "next"), (3, "prev")])
    def test_the_ends_lead_one_way(self, page: int, left: str) -> None:
        links = part("pagination", page_obj=Paginator(range(30), 10).page(page)).find("a")
        assert [a.attributes["rel"] for a in links] == [left]


class TestConfirmDialog:
    def test_it_posts_with_a_reason_and_can_be_left(self) -> None:
        dialog = part(
            "confirm_dialog",
            id="d",
            title="Cancel",
            url="/x/",
            action="Cancel case",
            reason_label="Why",
            csrf_token="t",
        ).one("dialog", id="d")
        form = dialog.one("form")
        assert (form.attributes["method"], form.attributes["action"]) == ("post", "/x/")
        assert "required" in form.one("textarea", name="reason").attributes
        assert form.one("input", name="csrfmiddlewaretoken").attributes["value"] == "t"
        assert dialog.one("button", command="close").attributes["commandfor"] == "d"

    def test_without_a_reason_there_is_no_field(self) -> None:
        assert part("confirm_dialog", id="d", title="x", url="/x/", action="x").find("textarea") == []
