"""A laboratory in an empty database, whose cases hold the same few pictures again and again."""

import io

from django.core.files.storage import storages
from django.db import connection

from accounts.models import Site, User
from diagnosis.models import Case, Patient, PredictionRun, SmearImage
from diagnosis.services.cases import case_submit
from diagnosis.services.images import image_add
from diagnosis.states import Priority, RunState

IMAGES_PER_CASE = 24


class Laboratory:
    """One site with one technician and one patient."""

    def __init__(self, input_kind: str, pictures: list[bytes]) -> None:
        self.input_kind = input_kind
        self.site = Site.objects.create(name="Benchmark", code="benchmark")
        self.technician = User.objects.create(username="benchmark", site=self.site)
        self.patient = Patient.objects.create(site=self.site, mrn="B-1", family_name="Benchmark")
        self.cases = 0
        self.uploaded = self._upload(pictures)

    def queue(self, count: int, priority: Priority = Priority.ROUTINE) -> None:
        """Submitted cases whose images are those that were uploaded, once more."""
        left = count
        while left:
            here = min(left, IMAGES_PER_CASE, len(self.uploaded))
            case = self._case(priority)
            start = self.cases * IMAGES_PER_CASE
            chosen = [self.uploaded[(start + offset) % len(self.uploaded)] for offset in range(here)]
            SmearImage.objects.bulk_create(copy_of(image, case, at) for at, image in enumerate(chosen, 1))
            case_submit(case=case, actor=self.technician)
            left -= here

    def clear(self) -> None:
        """Leave nothing queued for what is measured next."""
        PredictionRun.objects.filter(state=RunState.QUEUED).update(
            state=RunState.CANCELLED, finished_at="2000-01-01T00:00Z"
        )
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE diagnosis_predictionrun")

    def read(self, image: SmearImage) -> bytes:
        with storages["smears"].open(image.sha256) as stored:
            data: bytes = stored.read()
            return data

    def _upload(self, pictures: list[bytes]) -> list[SmearImage]:
        case = self._case()
        images = []
        for number, data in enumerate(pictures):
            if number and number % IMAGES_PER_CASE == 0:
                case = self._case()
            upload = io.BytesIO(data)
            images.append(image_add(case=case, actor=self.technician, upload=upload, file_name=f"{number}.jpg"))
        return images

    def _case(self, priority: Priority = Priority.ROUTINE) -> Case:
        self.cases += 1
        return Case.objects.create(
            site=self.site,
            patient=self.patient,
            accession_number=f"B-{self.cases}",
            submitted_by=self.technician,
            priority=priority,
            image_kind=self.input_kind,
        )


def copy_of(image: SmearImage, case: Case, position: int) -> SmearImage:
    fields = ("file_name", "sha256", "content_type", "size", "width", "height", "thumbnail_sha256", "thumbnail_size")
    values = {name: getattr(image, name) for name in fields}
    return SmearImage(case=case, position=position, uploaded_by=case.submitted_by, quality=image.quality, **values)
