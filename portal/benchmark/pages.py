"""The same pages over a small archive and a large one, in turns, so that both meet the same machine.

Times are of the whole request through Django's test client, middleware and template included; medians are compared.
"""

import datetime
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Site, User
from accounts.roles import Role
from accounts.services import user_create
from accounts.sessions import SEEN, STARTED
from diagnosis.dashboards.filters import MOST_DAYS
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import Case, ModelVersion
from portal.benchmark.archive import archive_fill

SMALL = 1000
BAR = 1.5
MOST_QUERIES = 12
WARM = 2
READERS = 12
HEALTH = "health"


@dataclass(frozen=True)
class Row:
    """One page; times in milliseconds."""

    name: str
    baseline: float
    ours: float
    ratio: float
    bar: str
    met: bool
    queries: int
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Page:
    """A page, who opens it, and its address in the database in use; `most_queries` is None where they do not count."""

    name: str
    user: User
    address: Callable[[], str]
    most_queries: int | None = MOST_QUERIES
    answers: tuple[int, ...] = (200,)


class Archives:
    """Two databases of one server that differ in their size alone."""

    def __init__(self, cases: int, say: Callable[[str], None]) -> None:
        self.cases, self.say = cases, say
        self.small = str(connection.settings_dict["NAME"])
        self.large = f"{self.small}_large"
        people = self._people()
        self._copy()
        self._fill(self.small, SMALL, people)
        self._fill(self.large, cases, people)

    def _people(self) -> dict[str, Any]:
        """A site, who works there, and the version that looks at what comes in."""
        site = Site.objects.create(name="Benchmark", code="benchmark")
        version = ModelVersion.objects.filter(status="active", input_kind="field").first()
        if version is None:
            raise RuntimeError("There is no released model of fields: see MODELS_DIR in docs/operations.md.")

        def somebody(name: str, role: Role, where: Site | None = site) -> User:
            return user_create(username=name, password=f"{name}-{time.time_ns()}", role=role, site=where)

        self.technician = somebody("technician", Role.TECHNICIAN)
        readers = [somebody(f"reader-{number}", Role.HAEMATOLOGIST) for number in range(READERS)]
        self.reader, self.administrator = readers[0], somebody("administrator", Role.ADMINISTRATOR, None)
        return {
            "site": site.pk,
            "technician": self.technician.pk,
            "readers": [reader.pk for reader in readers],
            "version": version.pk,
        }

    def _copy(self) -> None:
        self.use("postgres")
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{self.large}" TEMPLATE "{self.small}"')

    def _fill(self, name: str, cases: int, people: dict[str, Any]) -> None:
        self.use(name)
        began = time.monotonic()
        archive_fill(cases=cases, people=people)
        filled = time.monotonic()
        days = summaries_refresh()
        self.say(
            f"{cases} cases made in {filled - began:.0f} s, {days} days of them counted in "
            f"{time.monotonic() - filled:.0f} s"
        )

    def use(self, name: str) -> None:
        connection.close()
        connection.settings_dict["NAME"] = name

    def rows(self, rounds: int) -> Iterator[Row]:
        for page in self._pages():
            times: dict[str, list[float]] = {self.small: [], self.large: []}
            queries = 0
            for _ in range(WARM + rounds):
                for database, taken in times.items():
                    self.use(database)
                    seconds, asked = _look(page)
                    taken.append(seconds * 1000)
                    queries = max(queries, asked)
            small, large = (statistics.median(taken[WARM:]) for taken in times.values())
            ratio = large / small
            bar, met = f"ratio ≤ {BAR:g}", ratio <= BAR
            if page.most_queries is not None:
                bar, met = f"{bar}, queries ≤ {page.most_queries}", met and queries <= page.most_queries
            yield Row(page.name, small, large, ratio, bar, met, queries)

    def _pages(self) -> Iterator[Page]:
        def fixed(route: str, **query: str) -> Callable[[], str]:
            asked = "&".join(f"{name}={value}" for name, value in query.items())
            return lambda: reverse(route) + (f"?{asked}" if asked else "")

        def case() -> str:
            middle = Case.objects.filter(state="signed", accession_number__startswith="A-000010").first()
            return reverse("diagnosis:case_detail", args=[middle.pk]) if middle else ""

        def facts() -> str:
            return reverse("dashboards:model_facts", args=[ModelVersion.objects.filter(status="active")[0].pk])

        yield Page("worklist", self.reader, fixed("diagnosis:worklist"))
        yield Page("technician's cases", self.technician, fixed("diagnosis:case_list"))
        yield Page("case page", self.reader, case)
        yield Page("administration", self.administrator, fixed("portal:administration"))
        # It asks each part how it is, and answers 503 because no worker runs here.
        yield Page(HEALTH, self.administrator, fixed("portal:health"), most_queries=None, answers=(200, 503))
        yield Page("search by MRN", self.reader, fixed("diagnosis:search", q="P-0000250"))
        yield Page("search by accession", self.reader, fixed("diagnosis:search", q="A-0000500"))
        yield Page("search by a beginning", self.reader, fixed("diagnosis:search", q="A-0"))
        yield Page("dashboard: model performance", self.reader, fixed("dashboards:models"))
        yield Page("dashboard: model facts", self.reader, facts)
        year = (timezone.localdate() - datetime.timedelta(days=MOST_DAYS - 1)).isoformat()
        for days, query in (("90 days", {}), ("a year", {"since": year})):
            yield Page(f"live performance, {days}", self.reader, fixed("dashboards:live", **query))
            yield Page(f"operations, {days}, reader", self.reader, fixed("dashboards:operations", **query))
            yield Page(f"operations, {days}, technician", self.technician, fixed("dashboards:operations", **query))
            yield Page(f"live, {days}, all sites", self.administrator, fixed("dashboards:live", **query))
            yield Page(f"operations, {days}, all sites", self.administrator, fixed("dashboards:operations", **query))


def _look(page: Page) -> tuple[float, int]:
    """How long the page takes and how many queries, the session and the user among them."""
    client = Client(SERVER_NAME="localhost")
    client.force_login(page.user)
    session = client.session
    session[STARTED] = session[SEEN] = int(time.time())  # of somebody who has signed in before this page
    session.save()
    asked = 0

    def count(execute: Callable, sql: str, params: Any, many: bool, context: dict[str, Any]) -> CursorWrapper:
        nonlocal asked
        asked += 1
        return execute(sql, params, many, context)

    address = page.address()
    began = time.perf_counter()
    with connection.execute_wrapper(count):
        response = client.get(address)
    took = time.perf_counter() - began
    if response.status_code not in page.answers:
        raise RuntimeError(f"{address} answered {response.status_code}.")
    return took, asked


def table(rows: list[Row]) -> list[str]:
    """For a terminal."""
    lines = [f"{'':<34} {'small, ms':>10} {'large, ms':>10} {'ratio':>6} {'queries':>8}  {'':<6} bar"]
    for row in rows:
        figures = f"{row.baseline:>10.1f} {row.ours:>10.1f} {row.ratio:>6.2f} {row.queries:>8}"
        lines.append(f"{row.name:<34} {figures}  {'met' if row.met else 'MISSED':<6} {row.bar}")
    return lines
