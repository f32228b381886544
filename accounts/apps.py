from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts.roles import roles_sync

        # The permissions of every app exist only after its migrations ran, so the roles are matched to them here.
        post_migrate.connect(roles_sync, dispatch_uid="accounts.roles_sync")
