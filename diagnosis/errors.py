"""What a service says when it will not do something. The message is for the person at the screen."""


class ServiceError(Exception):
    """Something was asked for that cannot be done as things stand."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class StateConflict(ServiceError):
    """The thing has moved on since the page was drawn."""
