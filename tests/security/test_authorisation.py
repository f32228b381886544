"""Who gets what answer from which address: one table, compared with every route that exists.

A cell is the answer to GET/POST. `in` is the way to the sign-in page, `->` any other redirect. Objects in addresses
belong to the first laboratory, so the columns "elsewhere" say what others see of it. A POST carries nothing of use;
that a form then says what is missing (422, or 200 in the Django admin) means that it would be taken.
"""

import fnmatch
import re

import pytest
from django.http import HttpResponse

from tests.security.routes import Route, routes
from tests.security.world import World

pytestmark = pytest.mark.django_db

PEOPLE = (
    "anonymous",
    "technician",
    "technician elsewhere",
    "haematologist",
    "haematologist elsewhere",
    "administrator",
    "administrator elsewhere",
    "administrator of all",
    "superuser",
    "no role",
)

# An administrator, whatever the site, and who has no role have no business with patients: one column for them.
CLINICAL = """
route                        anonymous technician elsewhere haematol. elsewhere  others
diagnosis:case_list          in/in     200/405    200/405   403/403   403/403    403/403
diagnosis:case_new           in/in     200/422    200/422   403/403   403/403    403/403
diagnosis:case_detail        in/in     200/405    404/405   200/405   404/405    403/403
diagnosis:case_edit          in/in     200/422    404/404   403/403   404/404    403/403
diagnosis:case_status        in/in     200/405    404/405   200/405   404/405    403/403
diagnosis:case_submit        in/in     405/->     405/404   403/403   404/404    403/403
diagnosis:case_cancel        in/in     405/->     405/404   403/403   404/404    403/403
diagnosis:image_upload       in/in     405/422    405/404   403/403   404/404    403/403
diagnosis:image_file         in/in     200/405    404/405   200/405   404/405    403/403
diagnosis:image_thumbnail    in/in     200/405    404/405   200/405   404/405    403/403
diagnosis:image_remove       in/in     405/->     405/404   403/403   404/404    403/403
diagnosis:case_claim         in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:take_over          in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:reading_station    in/in     403/403    404/404   200/405   404/405    403/403
diagnosis:own_read           in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:image_reading      in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:image_cells        in/in     403/403    404/404   403/405   404/405    403/403
diagnosis:agree_all          in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:conclude           in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:case_return        in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:second_read        in/in     403/403    404/404   405/->    405/404    403/403
diagnosis:sign               in/in     403/403    404/404   200/422   404/404    403/403
diagnosis:amend              in/in     403/403    404/404   200/422   404/404    403/403
diagnosis:patient_lookup     in/in     200/405    200/405   403/403   403/403    403/403
diagnosis:report_detail      in/in     200/405    404/405   200/405   404/405    403/403
diagnosis:search             in/in     200/405    200/405   200/405   200/405    403/403
diagnosis:worklist           in/in     403/403    403/403   200/405   200/405    403/403
diagnosis:worklist_next      in/in     403/403    403/403   405/->    405/->     403/403
"""

# The first rule that fits a route holds. "site's" administers the laboratory of the object, "elsewhere" another one.
PEOPLE_AND_ADMINISTRATION = """
route                                anonymous others   site's   elsewhere of-all   superuser
portal:live                          200/405   200/405  200/405  200/405   200/405  200/405
portal:health                        503/405   503/405  503/405  503/405   503/405  503/405
portal:administration                in/in     403/405  200/405  200/405   200/405  200/405
accounts:sign_in                     200/200   ->/->    ->/->    ->/->     ->/->    ->/->
accounts:sign_out                    405/in    405/in   405/in   405/in    405/in   405/in
accounts:password_change             in/in     200/200  200/200  200/200   200/200  200/200
accounts:password_change_done        in/in     200/405  200/405  200/405   200/405  200/405
admin/login/                         in/in     403/403  in/in    in/in     in/in    in/in
admin:login                          in/in     403/403  in/in    in/in     in/in    in/in
admin:logout                         ->/->     ->/->    405/in   405/in    405/in   405/in
admin:password_change                ->/->     ->/->    200/200  200/200   200/200  200/200
admin:password_change_done           ->/->     ->/->    200/405  200/405   200/405  200/405
admin:index                          ->/->     ->/->    200/200  200/200   200/200  200/200
admin:app_list                       ->/->     ->/->    200/200  200/200   200/200  200/200
admin:jsi18n                         ->/->     ->/->    200/405  200/405   200/405  200/405
admin:autocomplete                   ->/->     ->/->    403/405  403/405   403/405  403/405
admin:view_on_site                   ->/->     ->/->    404/404  404/404   404/404  404/404
admin:*_delete                       ->/->     ->/->    403/403  403/403   403/403  403/403
admin:auth_user_password_change      ->/->     ->/->    200/200  404/404   200/200  200/200
admin:accounts_user_add              ->/->     ->/->    200/200  200/200   200/200  200/200
admin:accounts_site_add              ->/->     ->/->    403/403  403/403   200/200  200/200
admin:diagnosis_camerapreset_add     ->/->     ->/->    200/200  200/200   200/200  200/200
admin:*_add                          ->/->     ->/->    403/403  403/403   403/403  403/403
admin:*_changelist                   ->/->     ->/->    200/200  200/200   200/200  200/200
admin:diagnosis_modelversion_history ->/->     ->/->    200/200  200/200   200/200  200/200
admin:*_history                      ->/->     ->/->    200/200  ->/->     200/200  200/200
admin:accounts_*_change              ->/->     ->/->    200/200  ->/->     200/200  200/200
admin:diagnosis_camerapreset_change  ->/->     ->/->    200/200  ->/->     200/200  200/200
admin:diagnosis_modelversion_change  ->/->     ->/->    200/403  200/403   200/403  200/403
admin:diagnosis_*_change             ->/->     ->/->    200/403  ->/403    200/403  200/403
admin/*/<path:object_id>/            ->/->     ->/->    ->/->    ->/->     ->/->    ->/->
admin/(?P<url>*                      ->/->     ->/->    404/404  404/404   404/404  404/404
"""

# Figures are of one's own laboratory, so those elsewhere find none that are counted over the first one's cases.
DASHBOARDS = """
route                     anonymous technician elsewhere haematol. elsewhere site's  elsewhere of-all  super.  no-role
dashboards:index          in/in     ->/405     ->/405    ->/405    ->/405    ->/405  ->/405    ->/405  ->/405  ->/405
dashboards:models         in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 200/405
dashboards:models_csv     in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 200/405
dashboards:model_facts    in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 200/405
dashboards:facts_csv      in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 200/405
dashboards:promotion      in/in     403/403    403/403   200/405   200/405   200/405 200/405   200/405 200/405 403/403
dashboards:promotion_csv  in/in     403/403    403/403   404/405   404/405   404/405 404/405   404/405 404/405 403/403
dashboards:live           in/in     403/403    403/403   200/405   200/405   200/405 200/405   200/405 200/405 403/403
dashboards:live_csv       in/in     403/403    403/403   200/405   404/405   200/405 404/405   200/405 200/405 403/403
dashboards:operations     in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 403/403
dashboards:operations_csv in/in     200/405    200/405   200/405   200/405   200/405 200/405   200/405 200/405 403/403
"""

# To each role's own home; who has none is told so.
HOME = ["in/in", "->/405", "->/405", "->/405", "->/405", "->/405", "->/405", "->/405", "->/405", "403/405"]


def table() -> dict[str, dict[str, str]]:
    """Route pattern → person → cell."""
    rules = {"portal:home": dict(zip(PEOPLE, HOME, strict=True))}
    for line in CLINICAL.strip().splitlines()[1:]:
        route, anonymous, *own_and_elsewhere, others = line.split()
        rules[route] = dict(zip(PEOPLE, [anonymous, *own_and_elsewhere, *[others] * 5], strict=True))
    for line in PEOPLE_AND_ADMINISTRATION.strip().splitlines()[1:]:
        route, anonymous, others, own, elsewhere, of_all, superuser = line.split()
        row = [anonymous, *[others] * 4, own, elsewhere, of_all, superuser, others]
        rules[route] = dict(zip(PEOPLE, row, strict=True))
    for line in DASHBOARDS.strip().splitlines()[1:]:
        route, *row = line.split()
        rules[route] = dict(zip(PEOPLE, row, strict=True))
    return rules


TABLE = table()
ROUTES = routes()


def rule_of(route: Route) -> str | None:
    exact = route.name if route.name in TABLE else None
    return exact or next((rule for rule in TABLE if "*" in rule and fnmatch.fnmatchcase(route.name, rule)), None)


def in_words(response: HttpResponse) -> str:
    if response.status_code != 302:
        return str(response.status_code)
    return "in" if response["Location"].startswith("/accounts/sign-in/") else "->"


def test_every_route_has_a_rule() -> None:
    assert [route.name for route in ROUTES if rule_of(route) is None] == []


def test_every_rule_has_a_route() -> None:
    assert set(TABLE) - {rule_of(route) for route in ROUTES} == set()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_route_answers_as_the_table_says(route: Route, world: World) -> None:
    rule = rule_of(route)
    assert rule is not None
    url = route.url(world.objects(route.name))
    answers = {}
    for person in PEOPLE:
        get, post = world.request(person, "GET", url), world.request(person, "POST", url, {"nothing": "of use"})
        answers[person] = f"{in_words(get)}/{in_words(post)}"
    assert answers == TABLE[rule]


@pytest.mark.parametrize("person", ["technician", "haematologist", "no role"])
def test_who_does_not_administrate_ends_at_403_in_the_admin(person: str, world: World) -> None:
    refused = world.request(person, "GET", "/admin/accounts/user/")
    assert refused["Location"].startswith("/admin/login/")
    assert world.request(person, "GET", refused["Location"]).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_no_clinical_route_knows_other_methods(method: str, world: World) -> None:
    for route in ROUTES:
        if route.name.startswith("diagnosis:"):
            url = route.url(world.objects(route.name))
            answers = {world.request(person, method, url).status_code for person in ("technician", "haematologist")}
            assert answers <= {405, 403}, route.name


def test_only_images_and_the_machines_pages_answer_head(world: World) -> None:
    safe = set()
    for route in ROUTES:
        if route.name.startswith(("diagnosis:", "portal:")):
            url = route.url(world.objects(route.name))
            if world.request("technician", "HEAD", url).status_code in (200, 503):
                safe.add(route.name)
    assert safe == {"portal:health", "portal:live", "diagnosis:image_file", "diagnosis:image_thumbnail"}


@pytest.mark.parametrize("name", ["case_detail", "image_file", "image_thumbnail", "report_detail"])
def test_what_is_elsewhere_looks_like_what_is_not_there(name: str, world: World) -> None:
    route = next(route for route in ROUTES if route.name == f"diagnosis:{name}")
    there = route.url(world.objects(route.name))
    nowhere = route.url(dict.fromkeys(world.objects(route.name), "00000000-0000-4000-8000-000000000000"))
    answers = [world.request("haematologist elsewhere", "GET", url) for url in (there, nowhere)]
    assert [answer.status_code for answer in answers] == [404, 404]
    token = re.compile(rb"[0-9A-Za-z]{64}")
    assert token.sub(b"", answers[0].content) == token.sub(b"", answers[1].content)


def test_an_image_is_found_under_its_own_case_only(world: World) -> None:
    image = world.draft.images.get()
    for tail in ("", "thumbnail/"):
        url = f"/cases/{world.signed.pk}/images/{image.pk}/{tail}"
        assert world.request("technician", "GET", url).status_code == 404


def test_lists_and_search_hold_nothing_from_elsewhere(world: World) -> None:
    number = world.in_review.accession_number
    pages = ["/cases/", f"/search/?q={number}", f"/patients/lookup/?mrn={world.in_review.patient.mrn}"]
    shown = world.request("technician elsewhere", "GET", pages[1]).content.decode()
    assert f"/cases/{world.in_review.pk}/" not in shown
    assert (
        world.in_review.patient.family_name
        not in world.request("technician elsewhere", "GET", pages[2]).content.decode()
    )
    assert number not in world.request("technician elsewhere", "GET", pages[0]).content.decode()
    assert number not in world.request("haematologist elsewhere", "GET", "/worklist/").content.decode()
    assert number in world.request("haematologist", "GET", "/worklist/").content.decode()
