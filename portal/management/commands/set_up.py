"""What a checkout or an image needs once before it may serve, and after every change of version."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("migrate", {"interactive": False, "verbosity": 0}),
    ("register_models", {}),
    ("first_run", {}),
)


class Command(BaseCommand):
    help = "Migrate, register the released models, and on an empty database make the first accounts."

    def handle(self, *args: Any, **options: Any) -> None:
        """In one process: starting Django three times takes longer than the work."""
        for name, arguments in STEPS:
            call_command(name, **arguments, stdout=self.stdout, stderr=self.stderr)
