"""The forms of the clinical pages. What a value must be is said here; what may be done is the services' word."""

import datetime
import re
from typing import Any, cast

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Column, Layout, Row
from django import forms
from django.contrib.auth import authenticate
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Site
from diagnosis.models import CameraPreset, Case, Patient
from diagnosis.selectors.readings import Finding
from diagnosis.services.cases import ACCESSION_TAKEN, accession_taken, mrn_belongs_to, patient_contradicted
from diagnosis.states import CASE_PRIORITIES, ImageKind, Objective, Priority, Sex, Specimen, Stain

IDENTIFIER = re.compile(r"[0-9A-Za-z][0-9A-Za-z ._/\-]*")
OLDEST_AGE_YEARS = 130
DATE_FIELD_FORMAT = "%Y-%m-%d"  # whatever the language: given any other, the browser leaves the field empty


def _identifier(value: str, what: str) -> str:
    value = " ".join(value.split())
    if not IDENTIFIER.fullmatch(value):
        raise forms.ValidationError(f"{what} consists of letters, digits and . - / _ only.")
    return value


class CaseForm(forms.Form):
    """A case and the patient it is of. The patient is found by MRN; name and birth date are asked for a new one."""

    mrn = forms.CharField(
        label="MRN",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter the patient's MRN."},
    )
    family_name = forms.CharField(max_length=80, required=False)
    given_name = forms.CharField(max_length=80, required=False)
    birth_date = forms.DateField(required=False, widget=forms.DateInput({"type": "date"}, DATE_FIELD_FORMAT))
    sex = forms.ChoiceField(choices=Sex, required=False, initial=Sex.UNKNOWN)
    accession_number = forms.CharField(
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter the accession number."},
    )
    specimen = forms.ChoiceField(choices=Specimen)
    stain = forms.ChoiceField(choices=Stain)
    objective = forms.ChoiceField(choices=Objective, initial=Objective.X100)
    camera = forms.ModelChoiceField(
        queryset=CameraPreset.objects.none(),
        required=False,
        empty_label="Not known",
        help_text="Says how large a pixel is.",
    )
    image_kind = forms.ChoiceField(label="Images show", choices=ImageKind, initial=ImageKind.FIELD)
    priority = forms.TypedChoiceField(
        choices=[(p.value, p.label) for p in CASE_PRIORITIES],
        coerce=lambda value: Priority(int(value)),
        initial=Priority.ROUTINE,
        widget=forms.RadioSelect,
    )
    clinical_note = forms.CharField(
        required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 2}), strip=True
    )

    PATIENT_FIELDS = ("family_name", "given_name", "birth_date", "sex")
    CASE_FIELDS = (
        "accession_number",
        "specimen",
        "stain",
        "objective",
        "camera",
        "image_kind",
        "priority",
        "clinical_note",
    )

    def __init__(self, *args: Any, site: Site, case: Case | None = None, **kwargs: Any) -> None:
        self.site = site
        self.case = case
        if case is not None:
            kwargs["initial"] = self._initial_of(case) | kwargs.get("initial", {})
        super().__init__(*args, **kwargs)
        self._offer_cameras()
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.disable_csrf = True
        self.helper.layout = Layout(
            Row(
                Column("mrn"),
                Column("family_name"),
                Column("given_name"),
                Column("birth_date"),
                Column("sex"),
            ),
            Row(Column("accession_number"), Column("priority")),
            Row(Column("specimen"), Column("stain"), Column("objective"), Column("image_kind")),
            "clinical_note",
        )

    def _offer_cameras(self) -> None:
        """Those of the laboratory, and the one the case has; a laboratory without any is not asked."""
        offered = CameraPreset.objects.filter(site=self.site).filter(
            Q(active=True) | Q(pk=self.case.camera_id if self.case else None)
        )
        if offered.exists():
            cast("forms.ModelChoiceField", self.fields["camera"]).queryset = offered
        else:
            del self.fields["camera"]

    def _initial_of(self, case: Case) -> dict[str, Any]:
        patient = {name: getattr(case.patient, name) for name in ("mrn", *self.PATIENT_FIELDS)}
        return patient | {name: getattr(case, name) for name in self.CASE_FIELDS}

    def clean_mrn(self) -> str:
        return _identifier(self.cleaned_data["mrn"], "An MRN")

    def clean_accession_number(self) -> str:
        value = _identifier(self.cleaned_data["accession_number"], "An accession number")
        if accession_taken(site=self.site, accession_number=value, besides=self.case):
            raise forms.ValidationError(ACCESSION_TAKEN)
        return value

    def clean_birth_date(self) -> datetime.date | None:
        born = self.cleaned_data["birth_date"]
        today = timezone.localdate()
        if born and born > today:
            raise forms.ValidationError("The birth date lies in the future.")
        if born and today.year - born.year > OLDEST_AGE_YEARS:
            raise forms.ValidationError(f"The birth date lies more than {OLDEST_AGE_YEARS} years back.")
        return born

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        camera, objective = cleaned.get("camera"), cleaned.get("objective")
        if camera and objective and camera.objective != objective:
            wants, chosen = camera.get_objective_display(), Objective(objective).label
            self.add_error("camera", f"This camera is set up with the {wants} objective, but {chosen} is chosen.")
        self._clean_patient(cleaned)
        return cleaned

    def _clean_patient(self, cleaned: dict[str, Any]) -> None:
        mrn = cleaned.get("mrn")
        known = Patient.objects.filter(site=self.site, mrn=mrn).first() if mrn else None
        if known is not None:
            said = {"family_name": cleaned.get("family_name", ""), "birth_date": cleaned.get("birth_date")}
            for name in patient_contradicted(known, **said):
                self.add_error(name, mrn_belongs_to(known, name))
        elif mrn:
            for name, what in (("family_name", "family name"), ("given_name", "given name")):
                if not cleaned.get(name):
                    self.add_error(name, f"This MRN is new: enter the patient's {what}.")
            if not cleaned.get("birth_date") and "birth_date" not in self.errors:
                self.add_error("birth_date", "This MRN is new: enter the patient's birth date.")

    def case_values(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.CASE_FIELDS if name in self.fields}

    def patient_values(self) -> dict[str, Any]:
        values = {name: self.cleaned_data[name] for name in ("mrn", *self.PATIENT_FIELDS)}
        values["sex"] = values["sex"] or Sex.UNKNOWN
        return values


class ReasonForm(forms.Form):
    """Why: for cancelling, returning, taking over, asking a second reader."""

    reason = forms.CharField(
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Say why: the others on this case will read it."},
    )


class FindingForm(forms.Form):
    """A reading: the finding, and why it differs from a suggestion in view."""

    finding = forms.ChoiceField(error_messages={"required": "Choose a finding."})
    reason = forms.CharField(required=False, max_length=1000)
    comment = forms.CharField(required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, findings: list[Finding], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = cast("forms.ChoiceField", self.fields["finding"])
        choice.choices = [(finding.code, finding.title) for finding in findings]


class SignForm(forms.Form):
    """The password again, by the one who signs."""

    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        error_messages={"required": "Enter your password to sign."},
    )

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_password(self) -> str:
        user = self.request.user
        password = self.cleaned_data["password"]
        # Through the same gate as signing in, so that guessing here is counted and locked out as well.
        if authenticate(self.request, username=user.get_username(), password=password) != user:
            raise forms.ValidationError("The password is not right. Nothing was signed.")
        return password


class AmendForm(FindingForm, SignForm):
    """Another conclusion on a signed case: finding, comment, why, and the password."""

    reason = forms.CharField(
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Say why the report is amended."},
    )
    field_order = ["finding", "comment", "reason", "password"]


class WorklistFilterForm(forms.Form):
    priority = forms.TypedChoiceField(
        required=False,
        choices=[("", "All priorities"), *[(p.value, p.label) for p in CASE_PRIORITIES]],
        coerce=int,
        empty_value=None,
    )
    state = forms.ChoiceField(
        required=False,
        choices=[
            ("", "All states"),
            ("awaiting_review", "Awaiting review"),
            ("in_review", "In review"),
            ("second_read", "Second read"),
        ],
    )
    mine = forms.BooleanField(required=False, label="Mine")
