"""Every write about people."""

from django.contrib.auth.models import Group
from django.db import transaction

from accounts.models import Site, User
from accounts.roles import Role


@transaction.atomic
def user_create(
    *,
    username: str,
    password: str,
    role: Role,
    site: Site | None,
    first_name: str = "",
    last_name: str = "",
    email: str = "",
) -> User:
    user = User(username=username, first_name=first_name, last_name=last_name, email=email, site=site)
    user.set_password(password)
    user.is_staff = role == Role.ADMINISTRATOR
    user.full_clean(exclude=["password"])
    user.save()
    user_role_set(user=user, role=role)
    return user


@transaction.atomic
def user_role_set(*, user: User, role: Role) -> None:
    """Give exactly this role. Only administrators reach the Django admin."""
    others = Group.objects.filter(name__in=set(Role.values) - {role.value})
    user.groups.remove(*others)
    user.groups.add(Group.objects.get(name=role.value))
    is_staff = role == Role.ADMINISTRATOR
    if user.is_staff != is_staff:
        user.is_staff = is_staff
        user.save(update_fields=["is_staff"])
    user.__dict__.pop("role", None)
    user.role_permissions = None
