"""The Django admin of models, runs and the audit trail. Clinical records are looked at, never changed."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import ForeignKey, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.admin import sites_of
from accounts.requests import user_of
from diagnosis.errors import ServiceError
from diagnosis.models import AccessEvent, CameraPreset, ModelActivation, ModelVersion, PredictionRun, TimelineEvent
from diagnosis.services.predictions import model_version_activate, run_retry
from diagnosis.states import CaseState


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows may be looked at; an administrator of one site sees that site's only."""

    site_path = ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows = super().get_queryset(request)
        site_id = user_of(request).site_id
        return rows.filter(**{self.site_path: site_id}) if self.site_path and site_id else rows


@admin.register(CameraPreset)
class CameraPresetAdmin(admin.ModelAdmin):
    """An administrator of one site looks after that site's cameras. One that is gone is made inactive, never deleted:
    images have their scale from it."""

    list_display = ["name", "site", "objective", "microns_per_pixel", "active"]
    list_filter = ["active", ("site", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["site"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CameraPreset]:
        return super().get_queryset(request).filter(site__in=sites_of(user_of(request)))

    def formfield_for_foreignkey(
        self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField | None:
        if db_field.name == "site":
            kwargs["queryset"] = sites_of(user_of(request))
            kwargs["initial"] = user_of(request).site_id
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: CameraPreset | None = None) -> list[str]:
        """A camera does not move to another laboratory: cases there have their scale from it."""
        return ["site"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: CameraPreset | None = None) -> bool:
        return False


class ActivationInline(admin.TabularInline):
    model = ModelActivation
    fields = ["at", "actor", "waiver"]
    readonly_fields = ["at", "actor", "waiver"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class WaiverForm(forms.Form):
    waiver = forms.CharField(
        label="Why may it serve nevertheless?",
        help_text="Kept for good with your name and the time.",
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
        max_length=2000,
        error_messages={"required": "Say why this experimental model may serve nevertheless."},
    )


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ["task", "version", "title", "status", "experimental", "registered_at"]
    list_filter = ["task", "status"]
    actions = ["activate"]
    inlines = [ActivationInline]

    @admin.display(boolean=True)
    def experimental(self, version: ModelVersion) -> bool:
        return version.experimental

    @admin.action(description="Activate (the active version of the task is retired)", permissions=["activate"])
    def activate(self, request: HttpRequest, queryset: QuerySet[ModelVersion]) -> HttpResponse | None:
        if queryset.count() != 1:
            messages.error(request, "Choose one version to activate.")
            return None
        version, waiver = queryset.get(), ""
        if version.experimental:
            form = WaiverForm(request.POST if "waiver" in request.POST else None)
            if not form.is_valid():
                return self.ask_for_waiver(request, version, form)
            waiver = form.cleaned_data["waiver"]
        model_version_activate(model_version=version, actor=user_of(request), waiver=waiver)
        messages.success(request, f"{version} is active.")
        return None

    def ask_for_waiver(self, request: HttpRequest, version: ModelVersion, form: WaiverForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Activate {version}",
            "version": version,
            "form": form,
            "opts": self.opts,
            "back": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
        }
        return TemplateResponse(request, "admin/diagnosis/modelversion/waiver.html", context)

    def has_activate_permission(self, request: HttpRequest) -> bool:
        """Models serve every site, so only who looks after every site may change them."""
        user = user_of(request)
        return user.has_perm("diagnosis.change_modelversion") and user.site_id is None


@admin.register(PredictionRun)
class PredictionRunAdmin(ReadOnlyAdmin):
    site_path = "image__case__site"
    list_display = [
        "case",
        "position",
        "model_version",
        "state",
        "priority",
        "attempts",
        "queued_at",
        "finished_at",
        "error",
    ]
    list_filter = ["state", "priority", "model_version"]
    list_select_related = ["image__case", "model_version"]
    search_fields = ["image__case__accession_number"]
    # What a model saw in an image is the readers' business; an administrator needs how the run went.
    exclude = ["label", "confidence", "probabilities", "cells"]
    actions = ["retry"]
    show_full_result_count = False

    @admin.display(ordering="image__case__accession_number")
    def case(self, run: PredictionRun) -> str:
        return run.image.case.accession_number

    @admin.display(description="image")
    def position(self, run: PredictionRun) -> int:
        return run.image.position

    @admin.action(description="Queue the failed runs again", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[PredictionRun]) -> None:
        queued = 0
        for run in queryset.select_related("image__case"):
            try:
                run_retry(run=run, actor=user_of(request))
                queued += 1
            except ServiceError as error:
                messages.error(request, f"{run}: {error.message}")
        if queued:
            messages.success(request, f"{queued} queued again.")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("diagnosis.retry_predictionrun")


@admin.register(TimelineEvent)
class TimelineEventAdmin(ReadOnlyAdmin):
    site_path = "case__site"
    list_display = ["at", "case", "kind", "actor", "move", "reason"]
    list_filter = ["kind"]
    ordering = ["-id"]
    list_select_related = ["case", "actor"]
    search_fields = ["case__accession_number", "actor__username"]
    show_full_result_count = False

    @admin.display(description="from and to")
    def move(self, event: TimelineEvent) -> str:
        states = [event.from_state, event.to_state]
        return " → ".join(CaseState(state).label for state in states if state)


@admin.register(AccessEvent)
class AccessEventAdmin(ReadOnlyAdmin):
    site_path = "case__site"
    list_display = ["at", "user", "case", "what", "object_id"]
    list_filter = ["what"]
    list_select_related = ["case", "user"]
    search_fields = ["case__accession_number", "user__username"]
    show_full_result_count = False
