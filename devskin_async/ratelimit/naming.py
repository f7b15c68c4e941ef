"""The name of a key's budget, the same wherever it is kept."""

from __future__ import annotations

import hashlib
import ipaddress

_PERSON = b"devskin budget"
_LOOPBACK = "localhost"
_DEFAULT_PORTS = ("", "80", "443")


def budget_name(authority: str, api_key: str) -> str:
    """Return the name of a key's budget, from which the key can't be derived.

    It is not a digest that anybody else would store of the key.

    Args:
        authority: The API's host, and its port if it is not the default one. All names and
            addresses of this machine's loopback are one host; so are names that differ only in
            case or in a trailing dot.
        api_key: The key.

    Returns:
        32 hexadecimal digits.
    """
    named = f"{_normalized(authority)}\0{api_key}".encode()
    return hashlib.blake2b(named, digest_size=16, person=_PERSON).hexdigest()


def _normalized(authority: str) -> str:
    host, port = _split(authority)
    host = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        host = _LOOPBACK if address.is_loopback else str(address)
    return host if port in _DEFAULT_PORTS else f"{host}:{port}"


def _split(authority: str) -> tuple[str, str]:
    """Return the host and the port, which is empty if there is none."""
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        return host, port.removeprefix(":")
    if authority.count(":") > 1:  # an IPv6 address by itself
        return authority, ""
    host, _, port = authority.partition(":")
    return host, port
