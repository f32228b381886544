"""The forms of the Django admin for people: a user and their role in one form."""

from typing import Any

from django import forms
from django.contrib.auth.forms import UserChangeForm, UserCreationForm

from accounts.models import User
from accounts.roles import Role


class RoleAndSiteMixin(forms.ModelForm):
    role = forms.ChoiceField(choices=Role.choices, help_text="What this person may do.")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("role") != Role.ADMINISTRATOR and not cleaned.get("site"):
            self.add_error("site", "Choose the laboratory this person works in.")
        return cleaned


class UserAddForm(RoleAndSiteMixin, UserCreationForm):
    class Meta:
        model = User
        fields = ["username", "first_name", "last_name", "email", "site"]


class UserEditForm(RoleAndSiteMixin, UserChangeForm):
    class Meta:
        model = User
        fields = ["username", "password", "first_name", "last_name", "email", "site", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and self.instance.role:
            self.fields["role"].initial = self.instance.role.value
