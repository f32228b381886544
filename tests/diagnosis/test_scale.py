"""Where an image's scale comes from, and where it is said."""

from typing import Any

import pytest
from django.db import Error, IntegrityError, transaction

from accounts.models import Site, User
from accounts.roles import Role
from diagnosis.forms import CaseForm
from diagnosis.models import CameraPreset, Case, ModelVersion, PredictionRun, SmearImage
from diagnosis.services.cases import case_return, case_submit, case_update
from tests.conftest import SignedIn
from tests.diagnosis.test_forms import posted
from tests.factories import CameraPresetFactory, add_image, draft_case, end_run, make_user, predicted_case

pytestmark = pytest.mark.django_db

PRESETS = "/admin/diagnosis/camerapreset/"


@pytest.fixture
def camera(site: Site) -> CameraPreset:
    return CameraPresetFactory(site=site, microns_per_pixel=0.52)


def form(site: Site, **values: Any) -> CaseForm:
    return CaseForm(posted(**values), site=site)


class TestForm:
    def test_a_laboratory_without_cameras_is_not_asked(self, site: Site, other_site: Site) -> None:
        CameraPresetFactory(site=other_site)
        CameraPresetFactory(site=site, active=False)
        assert "camera" not in CaseForm(site=site).fields
        assert form(site).is_valid()

    def test_only_its_own_active_ones_are_offered(self, site: Site, other_site: Site, camera: CameraPreset) -> None:
        foreign, old = CameraPresetFactory(site=other_site), CameraPresetFactory(site=site, active=False)
        assert list(CaseForm(site=site).fields["camera"].queryset) == [camera]
        for wrong in (foreign, old):
            assert list(form(site, camera=str(wrong.pk)).errors) == ["camera"]

    def test_it_may_be_left_open(self, site: Site, camera: CameraPreset) -> None:
        open_form = form(site, camera="")
        assert open_form.is_valid()
        assert open_form.case_values()["camera"] is None

    def test_another_objective_than_the_cameras_is_said(self, site: Site, camera: CameraPreset) -> None:
        contradicted = form(site, camera=str(camera.pk), objective="40")
        assert list(contradicted.errors) == ["camera"]
        assert "100× objective, but 40× is chosen" in contradicted.errors["camera"][0]
        assert form(site, camera=str(camera.pk), objective="100").is_valid()

    def test_a_camera_out_of_use_stays_with_its_case(self, technician: User, camera: CameraPreset) -> None:
        case = draft_case(technician, images=0)
        Case.objects.filter(pk=case.pk).update(camera=camera)
        CameraPreset.objects.update(active=False)
        case.refresh_from_db()
        assert camera in CaseForm(site=case.site, case=case).fields["camera"].queryset


class TestImages:
    @pytest.fixture
    def draft(self, technician: User, camera: CameraPreset) -> Case:
        case = draft_case(technician, images=0)
        Case.objects.filter(pk=case.pk).update(camera=camera)
        case.refresh_from_db()
        return case

    def test_an_upload_has_the_scale_of_the_cases_camera(self, draft: Case, technician: User) -> None:
        assert add_image(draft).microns_per_pixel == 0.52
        assert add_image(draft_case(technician, images=0)).microns_per_pixel is None

    def test_another_camera_gives_the_images_another_scale(self, draft: Case, technician: User, site: Site) -> None:
        image = add_image(draft)
        other = CameraPresetFactory(site=site, microns_per_pixel=0.11)
        for chosen, scale in ((other, 0.11), (None, None)):
            case_update(case=draft, actor=technician, camera=chosen)
            image.refresh_from_db()
            assert image.microns_per_pixel == scale

    def test_what_was_predicted_at_another_scale_is_predicted_again(
        self, technician: User, camera: CameraPreset, model_version: ModelVersion
    ) -> None:
        case = predicted_case(technician, images=2)
        before = set(case.images.values_list("pk", flat=True))
        case_return(case=case, actor=technician, reason="The camera is another one.")
        case_update(case=case, actor=technician, camera=camera)
        assert set(SmearImage.objects.filter(withdrawn_at__isnull=False).values_list("pk", flat=True)) == before
        present = case.images.filter(withdrawn_at__isnull=True)
        assert set(present.values_list("microns_per_pixel", flat=True)) == {0.52}
        case_submit(case=case, actor=technician)
        assert PredictionRun.objects.filter(image__in=present, state="queued").count() == 2
        for run in PredictionRun.objects.filter(state="queued"):
            end_run(run)

    @pytest.mark.parametrize("scale", [0.0, 0.01, 10.0, -1.0])
    def test_the_database_refuses_what_no_microscope_has(self, scale: float, draft: Case) -> None:
        add_image(draft)
        for rows in (SmearImage.objects, CameraPreset.objects):
            with pytest.raises(IntegrityError), transaction.atomic():
                rows.update(microns_per_pixel=scale)

    def test_a_case_has_no_camera_of_another_laboratory(self, draft: Case, other_site: Site) -> None:
        with pytest.raises(Error, match="belong to one site"), transaction.atomic():
            Case.objects.filter(pk=draft.pk).update(camera=CameraPresetFactory(site=other_site))

    def test_the_case_page_says_it(self, draft: Case, technician: User) -> None:
        add_image(draft)
        page = SignedIn(technician).get(f"/cases/{draft.pk}/").content.decode()
        assert page.count("0.52 µm per pixel") == 2, "of the camera, and of the image"


class TestAdmin:
    def test_an_administrator_makes_presets_of_the_own_site(self, administrator: User, other_site: Site) -> None:
        browser = SignedIn(administrator)
        values = {"name": "Axio 2", "objective": "100", "microns_per_pixel": "0.065", "active": "on"}
        assert browser.post(f"{PRESETS}add/", values | {"site": str(other_site.pk)}).status_code == 200
        assert not CameraPreset.objects.exists()
        assert browser.post(f"{PRESETS}add/", values | {"site": str(administrator.site_id)}).status_code == 302
        assert CameraPreset.objects.get().site == administrator.site

    def test_not_seen_and_not_changed_from_another_site(self, camera: CameraPreset, other_site: Site) -> None:
        browser = SignedIn(make_user(Role.ADMINISTRATOR, other_site))
        assert camera.name not in browser.get(PRESETS).content.decode()
        browser.post(f"{PRESETS}{camera.pk}/change/", {"name": "Mine"})
        camera.refresh_from_db()
        assert camera.name != "Mine"

    @pytest.mark.parametrize("scale", ["0.005", "12"])
    def test_an_impossible_scale_is_said(self, scale: str, administrator: User) -> None:
        values = {"site": str(administrator.site_id), "name": "Axio", "objective": "100", "microns_per_pixel": scale}
        assert SignedIn(administrator).post(f"{PRESETS}add/", values).status_code == 200
        assert not CameraPreset.objects.exists()
