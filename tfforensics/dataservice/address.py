"""Where a dispatcher listens: grpc://HOST:PORT."""

from __future__ import annotations

import ipaddress
import re

from tfforensics.command import UsageError

_FORM = re.compile(r"grpc://([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})/?", re.ASCII)


def authority(address: str, name: str) -> str:
    """HOST:PORT of an address.

    Args:
        address: grpc://HOST:PORT; an IPv6 host in brackets.
        name: what the user calls it, for the error.

    Raises:
        UsageError: of another form.
    """
    found = _FORM.fullmatch(address)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise UsageError(f"{name}: expected grpc://HOST:PORT, got {address!r}")
    return f"{found[1]}:{int(found[2])}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is this machine's own and nobody else's."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
