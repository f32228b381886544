"""Ports: a free one for what we start ourselves, and a clear answer about the one that was asked for."""

import socket

import psutil

from portal.local import CannotStart


def in_url(host: str) -> str:
    """IPv6 addresses go in brackets there."""
    return f"[{host}]" if ":" in host else host


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_port(host: str, port: int) -> None:
    """Says who has the port, before a minute of starting ends in a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise CannotStart(f"Port {port} needs more rights than you have: choose one above 1023.") from error
        except socket.gaierror as error:
            raise CannotStart(f"{host} is not an address of this machine.") from error
        except OSError as error:
            raise CannotStart(_sentence(host, port)) from error


def _sentence(host: str, port: int) -> str:
    owner = _listener(port)
    if owner is None and not _somebody_answers(host, port):
        return f"Cannot listen on {host} port {port}: is {host} an address of this machine?"
    by = f" by {owner}" if owner else ""
    return f"Port {port} is taken{by}: stop that, or choose another with --port {port + 1}."


def _somebody_answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _listener(port: int) -> str | None:
    """Its name and number, where the system lets us see it."""
    try:
        for connection in psutil.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return None


def names_of_this_machine(host: str) -> list[str]:
    """What people may type to reach a server that listens on `host`: its addresses and names."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if host in ("0.0.0.0", "::"):
        addresses = (entry for entries in psutil.net_if_addrs().values() for entry in entries)
        names += [entry.address for entry in addresses if entry.family == socket.AF_INET]
        names += [socket.gethostname(), socket.getfqdn()]
    elif host:
        names.append(in_url(host))
    return list(dict.fromkeys(names))
