"""People and sites in the Django admin. Nobody can raise an account above the three roles here: superuser status and
single permissions are not offered, and superusers are not shown to those who are not."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import ForeignKey, QuerySet
from django.forms import ModelChoiceField, ModelForm
from django.http import HttpRequest

from accounts.forms import UserAddForm, UserEditForm
from accounts.models import Site, User
from accounts.requests import user_of
from accounts.roles import Role
from accounts.services import user_role_set

admin.site.unregister(Group)
admin.site.site_header = "Leukoscope administration"
admin.site.site_title = "Leukoscope administration"
admin.site.index_title = "People, sites, models and runs"
admin.site.enable_nav_sidebar = False  # the lists are wide


def sites_of(user: User) -> QuerySet[Site]:
    """The sites an administrator looks after: their own, or all when they belong to none."""
    return Site.objects.filter(pk=user.site_id) if user.site_id else Site.objects.all()


@admin.register(Site)
class SiteAdmin(admin.ModelAdmin):
    list_display = [
        "name",
        "code",
        "own_read_first",
        "tat_target_stat",
        "tat_target_urgent",
        "tat_target_routine",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Site]:
        return super().get_queryset(request) & sites_of(user_of(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and user_of(request).site_id is None

    def has_delete_permission(self, request: HttpRequest, obj: Site | None = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    form = UserEditForm
    add_form = UserAddForm
    list_display = ["username", "first_name", "last_name", "role_title", "site", "is_active", "last_login"]
    list_filter = ["groups", ("site", admin.RelatedOnlyFieldListFilter), "is_active"]
    list_select_related = ["site"]
    filter_horizontal = []
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Role", {"fields": ["role", "site", "is_active"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "password1", "password2"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Role", {"fields": ["role", "site"]}),
    ]

    @admin.display(description="role")
    def role_title(self, user: User) -> str:
        names = [group.name for group in user.groups.all()]
        return ", ".join(Role(name).label for name in names if name in Role.values)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        user = user_of(request)
        users = super().get_queryset(request).prefetch_related("groups")
        if not user.is_superuser:
            users = users.filter(is_superuser=False)
        return users.filter(site=user.site_id) if user.site_id else users

    def formfield_for_foreignkey(
        self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField | None:
        if db_field.name == "site":
            kwargs["queryset"] = sites_of(user_of(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any
    ) -> type[ModelForm]:
        form = super().get_form(request, obj, change=change, **kwargs)
        if user_of(request).site_id and "site" in form.base_fields:
            form.base_fields["site"].required = True
        return form

    def save_related(self, request: HttpRequest, form: ModelForm, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user_role_set(user=form.instance, role=Role(form.cleaned_data["role"]))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False
