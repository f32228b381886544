"""Every route of the URL conf, so that a test about routes cannot miss one."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True)
class Route:
    name: str  # with its namespace, or the pattern where it has no name
    pattern: str

    def url(self, objects: dict[str, object]) -> str:
        """The address of this route with the given objects filled in."""
        path = self.pattern
        for key, value in objects.items():
            path = path.replace(key, str(value))
        return "/" + path.replace("^", "").replace("$", "")


def routes() -> list[Route]:
    return list(_walk(get_resolver(), "", ""))


def _walk(resolver: URLResolver, namespace: str, prefix: str) -> Iterator[Route]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield Route(f"{namespace}{entry.name}" if entry.name else pattern, pattern)
        else:
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, inner, pattern)
