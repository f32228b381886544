"""One laboratory with cases in the states the routes need, another one beside it, and a person of every role."""

from http.cookies import SimpleCookie

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.dashboards.summaries import summaries_refresh
from diagnosis.models import Case, PredictionRun
from diagnosis.services.predictions import model_evaluation_store
from diagnosis.services.timeline import access_record
from diagnosis.states import AccessedKind
from tests.factories import (
    CameraPresetFactory,
    ModelVersionFactory,
    SiteFactory,
    case_in_review,
    draft_case,
    make_user,
    signed_case,
)

# The case that each route is tried on, where it is not the one in review.
DRAFT_ROUTES = ("case_edit", "case_submit", "case_cancel", "image_upload", "image_remove")
SIGNED_ROUTES = ("amend", "report_detail")
# A figure that each dashboard has when there is something to count.
FIGURES = {
    "models_csv": "headline",
    "facts_csv": "headline",
    "live_csv": "concordance",
    "operations_csv": "queue",
    "promotion_csv": "checks",
}


class World:
    def __init__(self) -> None:
        self.site: Site = SiteFactory()
        elsewhere: Site = SiteFactory()
        self.model_version = ModelVersionFactory()
        report = {"protocols": [{"name": "held out", "overall": {"accuracy": {"value": 1.0}}}]}
        model_evaluation_store(model_version=self.model_version, report=report, curves=None)
        self.people: dict[str, User | None] = {
            "anonymous": None,
            "technician": make_user(Role.TECHNICIAN, self.site),
            "technician elsewhere": make_user(Role.TECHNICIAN, elsewhere),
            "haematologist": make_user(Role.HAEMATOLOGIST, self.site),
            "haematologist elsewhere": make_user(Role.HAEMATOLOGIST, elsewhere),
            "administrator": make_user(Role.ADMINISTRATOR, self.site),
            "administrator elsewhere": make_user(Role.ADMINISTRATOR, elsewhere),
            "administrator of all": make_user(Role.ADMINISTRATOR, None),
            "no role": User.objects.create_user("no-role", site=self.site),
            "superuser": User.objects.create_superuser("superuser"),
        }
        technician, reader = self.people["technician"], self.people["haematologist"]
        assert technician
        assert reader
        self.in_review = case_in_review(technician, reader, images=1)
        self.draft = draft_case(technician, images=1)
        self.camera = CameraPresetFactory(site=self.site)
        self.signed = signed_case(technician, reader, images=1)
        access_record(user=reader, case=self.signed, what=AccessedKind.CASE, object_id=self.signed.pk)
        summaries_refresh()
        self.client = Client()
        self._sessions = {name: _session_of(user) for name, user in self.people.items() if user}

    def objects(self, route_name: str) -> dict[str, object]:
        """What fills the places in the address of this route: always things of the first laboratory."""
        name = route_name.split(":")[-1]
        case = self.draft if name in DRAFT_ROUTES else self.signed if name in SIGNED_ROUTES else self.in_review
        technician = self.people["technician"]
        assert technician
        return {
            "<uuid:case_id>": case.pk,
            "<uuid:image_id>": case.images.get().pk,
            "<uuid:report_id>": self.signed.reports.get().pk,
            "<uuid:version_id>": self.model_version.pk,
            "<slug:figure_key>": FIGURES.get(name, ""),
            "<id>": technician.pk,
            "<path:content_type_id>": 1,
            "<path:object_id>": self._admin_object(route_name, case),
            "(?P<app_label>accounts|diagnosis)": "accounts",
            "(?P<url>.*)": "no/such/page/",
        }

    def _admin_object(self, route_name: str, case: Case) -> object:
        of_model = {
            "site": self.site.pk,
            "user": getattr(self.people["technician"], "pk", None),
            "camerapreset": self.camera.pk,
            "modelversion": self.model_version.pk,
            "predictionrun": PredictionRun.objects.get(image__case=case).pk if "predictionrun" in route_name else None,
            "timelineevent": self.signed.timeline.values_list("pk", flat=True)[0],
            "accessevent": self.signed.access_events.values_list("pk", flat=True)[0],
        }
        return next((pk for model, pk in of_model.items() if model in route_name), 1)

    def cookies(self, person: str) -> SimpleCookie:
        return SimpleCookie({"sessionid": self._sessions[person]} if self.people[person] else {})

    def request(self, person: str, method: str, url: str, data: dict | None = None, **headers: str) -> HttpResponse:
        """Ask as this person, and leave everything as it was before."""
        self.client.cookies = self.cookies(person)
        with transaction.atomic():
            send = getattr(self.client, method.lower())
            response = send(url, data, **headers) if data else send(url, **headers)
            transaction.set_rollback(True)
        return response


def _session_of(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "accounts.backends.RoleBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key
    return session.session_key
