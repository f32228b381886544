"""The dashboards in a real browser under the real policy: every figure is drawn, in both themes, and on paper."""

import json
from collections.abc import Callable

import pytest

from tests.diagnosis.dashboards.reports import curves, report

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FILL = """
import json
from accounts.models import Site, User
from diagnosis.models import ModelVersion
from diagnosis.services.predictions import model_evaluation_store
from tests.diagnosis.dashboards.archive import Archive
from tests.factories import ModelVersionFactory
version = ModelVersionFactory(task="dashboards", status="candidate", title="For the dashboards")
report, curves = json.load(open({path!r}))
model_evaluation_store(model_version=version, report=report, curves=curves)
north = Site.objects.get(code="north")
readers = list(User.objects.filter(username__in=["hana", "hugo"]))
Archive(north, User.objects.get(username="tess"), readers, version).fill(60)
print(version.pk)
"""


@pytest.fixture(scope="module")
def version(portal: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version with an evaluation and 60 signed cases in the portal's own database."""
    path = tmp_path_factory.mktemp("report") / "report.json"
    path.write_text(json.dumps([report(), curves()]))
    return portal.shell(FILL.format(path=str(path))).splitlines()[-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "least"), [("models", 10), ("live", 5), ("operations", 4)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_drawn(
    name: str, least: int, theme: str, version: str, portal: object, seat: Callable
) -> None:
    """What the browser reports against the policy or as a script error fails this test when its seat is left."""
    taken = seat(color_scheme=theme)
    page = taken.sign_in("hana")
    page.goto(f"{portal.address}/dashboards/{name}/?task=dashboards")  # type: ignore[attr-defined]
    planned = page.locator("[data-plot]").count()
    assert planned >= least
    page.wait_for_function("n => document.querySelectorAll('[data-plot][data-drawn]').length === n", arg=planned)
    assert page.locator("[data-plot] svg.main-svg").count() >= planned
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    taken.picture(f"dashboards-{name}-{theme}")


def test_figures_fit_the_paper(version: str, portal: object, seat: Callable) -> None:
    page = seat(color_scheme="dark").sign_in("hana")
    page.goto(f"{portal.address}/dashboards/models/{version}/")  # type: ignore[attr-defined]
    page.wait_for_function("document.querySelectorAll('[data-plot]:not([data-drawn])').length === 0")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = page.eval_on_selector_all("[data-plot] svg.main-svg", "all => all.map(svg => svg.width.baseVal.value)")
    assert set(widths) == {680}
    inks = page.eval_on_selector_all("[data-plot] .xtick text", "all => all.map(t => getComputedStyle(t).fill)")
    assert set(inks) == {"rgb(0, 0, 0)"}
    assert page.pdf(format="A4")


def test_a_filter_applies_and_stays_in_the_address(version: str, portal: object, seat: Callable) -> None:
    page = seat().sign_in("hana")
    page.goto(f"{portal.address}/dashboards/operations/")  # type: ignore[attr-defined]
    page.get_by_label("From").fill("2026-01-05")
    page.get_by_label("to", exact=True).fill("2026-02-01")
    page.get_by_label("to", exact=True).dispatch_event("change")
    page.wait_for_url("**since=2026-01-05**")
    assert page.get_by_label("From").input_value() == "2026-01-05"


def test_the_numbers_open_beneath_the_figure(version: str, portal: object, seat: Callable) -> None:
    page = seat().sign_in("tess")
    page.goto(f"{portal.address}/dashboards/models/?task=dashboards")  # type: ignore[attr-defined]
    figure = page.locator("#confusion")
    assert not figure.locator("table").is_visible()
    figure.get_by_text("Numbers").click()
    assert figure.locator("table").is_visible()
    with page.expect_download() as download:
        figure.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.startswith("leukoscope-confusion")
