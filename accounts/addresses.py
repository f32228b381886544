"""Where a request came from, for counting failed sign-ins."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The address that the outermost of our own PROXY_COUNT proxies saw. What stands further left in X-Forwarded-For
    was written by the client and is not believed."""
    nearest: str = request.META.get("REMOTE_ADDR", "")
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    if not 0 < settings.PROXY_COUNT <= len(forwarded):
        return nearest
    try:
        return str(ipaddress.ip_address(forwarded[-settings.PROXY_COUNT].strip()))
    except ValueError:
        return nearest
