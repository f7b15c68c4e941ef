"""Which proxy requests go through: the one that is passed, or the environment's."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Mapping
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from attrs import field, frozen
from yarl import URL

from ..errors import ConfigurationError


@frozen
class Proxy:
    """An HTTP proxy, which opens tunnels.

    Args:
        url: Its address, without user and password.
        headers: Sent to it with each `CONNECT`: user and password, if it has any.
    """

    url: URL
    headers: Mapping[str, str] = field(repr=False)


def find_proxy(base_url: URL, given: str | None = None) -> Proxy | None:
    """Find the proxy for an address.

    The variables are those that curl reads for https: `HTTPS_PROXY`, else `ALL_PROXY`, unless
    `NO_PROXY` names the host. Lower case takes precedence.

    Args:
        base_url: The API's address, https or a loopback host's.
        given: A proxy's address, which takes precedence over the environment; an empty one means
            no proxy.

    Returns:
        The proxy; None to connect directly, as always to a loopback host.

    Raises:
        ConfigurationError: The proxy's address is unusable.
    """
    proxy = _parse("proxy", given) if given else None
    host = base_url.host or ""
    if is_loopback(host):
        return None
    if given is not None:
        return proxy
    variables = getproxies_environment()
    kind = next((kind for kind in ("https", "all") if kind in variables), None)
    if kind is None or _is_excluded(host, base_url.port, variables):
        return None
    name = f"{kind}_proxy"
    return _parse(name if os.environ.get(name) else name.upper(), variables[kind])


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def name_proxy(url: URL) -> str:
    """Return a proxy's name for a message."""
    kind = "https proxy" if url.scheme == "https" else "proxy"
    return f"the {kind} {url.host} port {url.port}"


def _parse(name: str, address: str) -> Proxy:
    try:
        url = URL(address if "://" in address else f"http://{address}")
        # After an unescaped `/`, `?` or `#` in a password, the rest is parsed as path or query.
        rest = url.path.strip("/") or url.query_string or url.fragment
        if url.scheme in ("http", "https") and url.port and not rest:
            return Proxy(url.origin(), _login(url))
    except (TypeError, ValueError):
        pass
    # Outside of `except`, and without the address: it may have a password.
    raise ConfigurationError(
        f"{name} must be an address such as http://proxy.example:3128 or "
        "http://USER:PASSWORD@proxy.example:3128; https proxies are supported, SOCKS is not"
    )


def _login(url: URL) -> dict[str, str]:
    if url.user is None and url.password is None:
        return {}
    login = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {login}"}


def _is_excluded(host: str, port: int | None, variables: dict[str, str]) -> bool:
    """Return whether `NO_PROXY` names a host, its domain, or a network of its address."""
    if proxy_bypass_environment(f"{host}:{port}", variables):
        return True
    return any(_is_inside(host, entry.strip()) for entry in variables.get("no", "").split(","))


def _is_inside(host: str, network: str) -> bool:
    try:
        # Brackets, as around an address in a URL: Go takes them, curl and requests do not.
        inside = ipaddress.ip_network(network.strip("[]"), strict=False)
        return ipaddress.ip_address(host) in inside
    except ValueError:
        return False
