"""Where webhooks may go: not to addresses that only this machine's own network can reach."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final, TypeAlias

AddrInfo: TypeAlias = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]
]
"""An address as getaddrinfo has it: family, kind, protocol, canonical name, address."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: behind it is the IPv4 address in the last 32 bits."""


class RefusedTargetError(Exception):
    """A connection that may not be made; no OSError, after which the next address is tried."""


def refusal(address: str) -> str | None:
    """Say why no webhook may go to an address.

    Args:
        address: An IPv4 or IPv6 address.

    Returns:
        The reason, or None if one may: the address is public, or a loopback one.

    Raises:
        ValueError: It is no address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback or (kind := _kind(ip)) is None:
        return None
    article = "an" if kind[0] in "aeiou" else "a"
    return f"{address} is {article} {kind} address, and private targets are not allowed"


def host_refusal(host: str) -> str | None:
    """Say why no webhook may go to a URL's host, as far as the host alone can tell.

    Args:
        host: A name or an address.

    Returns:
        The reason, or None if it is a name, or an address that one may go to.
    """
    try:
        return refusal(host)
    except ValueError:
        return None


def open_socket(info: AddrInfo) -> socket.socket:
    """Make the socket of a connection, judging the very address that it goes to.

    Every connection comes by here, whatever its name resolved to before: as the connector's
    `socket_factory`, where literal addresses pass too, for which no resolver is asked.

    Args:
        info: Where to, as getaddrinfo has it.

    Returns:
        A socket, not yet connected.

    Raises:
        RefusedTargetError: No webhook may go there.
    """
    family, kind, protocol, _, address = info
    try:
        reason = refusal(str(address[0]))
    except ValueError:
        # Such as 167772161, which the system would take for 10.0.0.1.
        reason = f"{address[0]} is no plain address"
    if reason is not None:
        raise RefusedTargetError(reason)
    return socket.socket(family, kind, protocol)


def _kind(ip: IPv4Address | IPv6Address) -> str | None:
    """Name what keeps an address from being public, or an IPv4 address that it carries."""
    if isinstance(ip, IPv6Address):
        carried = IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else ip.sixtofour
        if carried is not None:
            return _kind(carried)
    kinds = {
        "unspecified": ip.is_unspecified,
        "multicast": ip.is_multicast,
        "link-local": ip.is_link_local,
        "private": not ip.is_global and not ip.is_reserved,
        "site-local": isinstance(ip, IPv6Address) and ip.is_site_local,
        "reserved": ip.is_reserved or not ip.is_global,
    }
    return next((kind for kind, true in kinds.items() if true), None)
