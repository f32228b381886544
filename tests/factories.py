"""Makers of what the tests need. Rows come from factories; states come from the services, as in real life."""

import hashlib
import io
import itertools

import factory
import numpy as np
from django.utils import timezone
from PIL import Image

from accounts.models import Site, User
from accounts.roles import Role
from accounts.services import user_create
from diagnosis.models import CameraPreset, Case, ModelVersion, Patient, PredictionRun, SmearImage
from diagnosis.services.cases import case_advance, case_claim, case_submit
from diagnosis.services.images import image_add
from diagnosis.services.readings import case_conclude, image_read, own_read_enter
from diagnosis.services.reports import case_sign
from diagnosis.states import ImageKind, ModelStatus, RunState
from worker.pooling import case_pool

PASSWORD = "correct horse battery staple"
CLASSES = ("Benign", "Early", "Pre", "Pro")
_numbers = itertools.count(1)


class SiteFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Site

    name = factory.Sequence(lambda n: f"Laboratory {n}")
    code = factory.Sequence(lambda n: f"lab-{n}")


class PatientFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Patient

    site = factory.SubFactory(SiteFactory)
    mrn = factory.Sequence(lambda n: f"MRN-{n:05}")
    family_name = factory.Sequence(lambda n: f"Ruiz{n}")
    given_name = "Ana"
    birth_date = "1990-05-17"
    sex = "female"


class CaseFactory(factory.django.DjangoModelFactory):
    """A draft of a technician at the case's site."""

    class Meta:
        model = Case

    submitted_by = factory.LazyFunction(lambda: make_user(Role.TECHNICIAN, SiteFactory()))
    site = factory.SelfAttribute("submitted_by.site")
    patient = factory.SubFactory(PatientFactory, site=factory.SelfAttribute("..site"))
    accession_number = factory.Sequence(lambda n: f"A-{n:05}")


class CameraPresetFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = CameraPreset

    site = factory.SubFactory(SiteFactory)
    name = factory.Sequence(lambda n: f"Axio {n}")
    objective = "100"
    microns_per_pixel = 0.08


CELL_CLASSES = [
    {"code": code, "title": title, "colour": colour, "malignant": code in ("blast", "promyelocyte")}
    for code, title, colour in (
        ("blast", "Blast", "#D55E00"),
        ("promyelocyte", "Promyelocyte", "#E69F00"),
        ("lymphocyte", "Lymphocyte", "#0072B2"),
        ("basophil", "Basophil", "#332288"),
        ("erythroblast", "Erythroblast", "#882255"),
        ("smudge_cell", "Smudge cell", "#666666"),
    )
]


def cells(*labels: str) -> list[dict]:
    """Cells as a worker keeps them, one beside the other."""
    return [
        {"box": [2.0 + 12 * place, 4.0, 10.0, 10.0], "label": label, "probability": 0.93}
        for place, label in enumerate(labels)
    ]


class ModelVersionFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = ModelVersion

    task = "b-all-stage"
    version = factory.Sequence(lambda n: f"0.0.{n}")
    title = "Stage of B-ALL"
    input_kind = ImageKind.FIELD
    weights_sha256 = "0" * 64
    status = ModelStatus.ACTIVE
    manifest = factory.LazyFunction(
        lambda: {
            "classes": [
                {"code": code, "title": code, "description": "", "malignant": code != "Benign", "colour": "#4b3f9e"}
                for code in CLASSES
            ],
            "abstention_threshold": 0.5,
        }
    )


def make_user(role: Role, site: Site | None) -> User:
    return user_create(
        username=f"{role.value}-{next(_numbers)}", password=PASSWORD, role=role, site=site, last_name=role.label
    )


def smear_pixels(seed: int = 0, side: int = 160) -> np.ndarray:
    """Purple discs on a pale ground: what the quality checks take for a smear. uint8 RGB (side, side, 3)."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal((232, 220, 226), 4, (side, side, 3))
    rows, columns = np.mgrid[:side, :side]
    for x, y in rng.uniform(15, side - 15, (8, 2)):
        disc = (rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(7, 12) ** 2
        pixels[disc] = rng.normal((105, 60, 150), 9, (int(disc.sum()), 3))
    return pixels.clip(0, 255).astype(np.uint8)


def smear_jpeg(seed: int = 0, side: int = 160) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(smear_pixels(seed, side)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def add_image(case: Case, seed: int | None = None) -> SmearImage:
    number = next(_numbers)
    data = smear_jpeg(number if seed is None else seed)
    return image_add(case=case, actor=case.submitted_by, upload=io.BytesIO(data), file_name=f"field_{number}.jpg")


def draft_case(technician: User, images: int = 2) -> Case:
    case = CaseFactory(submitted_by=technician)
    for _ in range(images):
        add_image(case)
    return case


def submitted_case(technician: User, images: int = 2, **kwargs: object) -> Case:
    case = draft_case(technician, images)
    Case.objects.filter(pk=case.pk).update(**kwargs)
    case.refresh_from_db()
    case_submit(case=case, actor=technician)
    case.refresh_from_db()
    return case


def end_run(
    run: PredictionRun,
    label: str = "Early",
    confidence: float = 0.9,
    *,
    abstained: bool = False,
    state: str = RunState.SUCCEEDED,
    **more: object,
) -> None:
    """End a run as a worker would, without one."""
    now = timezone.now()
    PredictionRun.objects.filter(pk=run.pk, state=RunState.QUEUED).update(
        state=RunState.RUNNING, lease_token=hashed_uuid(str(run.pk)), lease_expires_at=now, started_at=now, attempts=1
    )
    rest = (1 - confidence) / (len(CLASSES) - 1)
    result = {
        "label": label,
        "confidence": confidence,
        "abstained": abstained,
        "probabilities": {code: confidence if code == label else rest for code in CLASSES},
        **more,
    }
    PredictionRun.objects.filter(pk=run.pk).update(
        state=state,
        lease_token=None,
        lease_expires_at=None,
        finished_at=now,
        device="cpu",
        backend="eager fp32",
        error="It broke." if state == RunState.FAILED else "",
        **result if state == RunState.SUCCEEDED else {},
    )


def hashed_uuid(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def predicted_case(technician: User, images: int = 2, label: str = "Early", **kwargs: object) -> Case:
    """A case that awaits review with every image predicted as `label`."""
    case = submitted_case(technician, images, **kwargs)
    for run in PredictionRun.objects.filter(image__case=case, state=RunState.QUEUED):
        end_run(run, label)
    case_advance(case=case, pool=case_pool)
    case.refresh_from_db()
    return case


def case_in_review(technician: User, reader: User, images: int = 2, label: str = "Early") -> Case:
    case = predicted_case(technician, images, label)
    case_claim(case=case, actor=reader)
    return case


def signed_case(technician: User, reader: User, images: int = 2, finding: str = "Early") -> Case:
    case = case_in_review(technician, reader, images, finding)
    if case.site.own_read_first:
        own_read_enter(case=case, actor=reader, finding=finding)
    for image in case.images.filter(withdrawn_at__isnull=True):
        image_read(case=case, image=image, actor=reader, finding=finding)
    case_conclude(case=case, actor=reader, finding=finding)
    case_sign(case=case, actor=reader)
    case.refresh_from_db()
    return case
