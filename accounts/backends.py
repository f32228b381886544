"""Who a session belongs to, asked for once."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Model, OuterRef, Subquery, Value
from django.db.models.functions import Concat

from accounts.models import User
from accounts.roles import Role


class RoleBackend(ModelBackend):
    """Brings a person with all that every page asks about them: site, role and what the role may do, in one query.

    What somebody may do comes from their role's group alone: permissions given to a single account do not count.
    """

    def get_user(self, user_id: Any) -> User | None:
        role = Group.objects.filter(user=OuterRef("pk"), name__in=Role.values).values("name")[:1]
        permissions = Permission.objects.filter(group__user=OuterRef("pk")).order_by()
        names = permissions.annotate(full_name=Concat("content_type__app_label", Value("."), "codename"))
        people = User.objects.select_related("site").annotate(
            role_name=Subquery(role), permission_names=ArraySubquery(names.values("full_name"))
        )
        user = people.filter(pk=user_id).first()
        if user is None or not self.user_can_authenticate(user):
            return None
        user.role = Role(user.role_name) if user.role_name else None
        user.role_permissions = frozenset(user.permission_names)
        return user

    def get_user_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        return set()

    def get_group_permissions(self, user_obj: Any, obj: Model | None = None) -> set[str]:
        known: frozenset[str] | None = getattr(user_obj, "role_permissions", None)
        if known is None or user_obj.is_superuser or obj is not None or not user_obj.is_active:
            return super().get_group_permissions(user_obj, obj)
        return set(known)
