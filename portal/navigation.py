"""The navigation of each role, for the base template."""

from typing import NamedTuple

from django.http import HttpRequest

from accounts.roles import Role


class Entry(NamedTuple):
    title: str
    url_name: str
    icon: str


DASHBOARDS = Entry("Dashboards", "dashboards:index", "bar-chart")

NAVIGATION: dict[Role, tuple[Entry, ...]] = {
    Role.TECHNICIAN: (
        Entry("My cases", "diagnosis:case_list", "list-task"),
        Entry("New case", "diagnosis:case_new", "plus-circle"),
        DASHBOARDS,
    ),
    Role.HAEMATOLOGIST: (Entry("Worklist", "diagnosis:worklist", "list-ol"), DASHBOARDS),
    Role.ADMINISTRATOR: (
        Entry("Administration", "portal:administration", "sliders"),
        DASHBOARDS,
        Entry("Users and sites", "admin:index", "people"),
    ),
}


def navigation(request: HttpRequest) -> dict:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"nav": ()}
    return {"nav": NAVIGATION.get(user.role, ())}
