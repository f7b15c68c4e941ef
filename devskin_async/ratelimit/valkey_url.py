"""The address of a Valkey server, as it is given for a budget."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from ..errors import ConfigurationError

SCHEMES = ("valkey", "valkeys", "redis", "rediss")

_USAGE = (
    "give valkey://host:port/db as the budget, such as valkey://localhost:6379/0 (also valkeys, "
    "redis and rediss; with a password: valkey://user:password@host:port/db)"
)
_FALSE = ("0", "false", "no")

Option: TypeAlias = str | int | bool


@frozen
class ValkeyURL:
    """Where a Valkey server is, and how to connect.

    Args:
        given: The address as it was given.
        shown: The address without user and password, for people.
        tls: Whether the connection is encrypted.
        options: What valkey-py calls the host, port, db, user, password and TLS options.
    """

    given: str = field(repr=False)
    shown: str
    tls: bool
    options: dict[str, Option] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> ValkeyURL:
        """Read an address.

        Raises:
            ConfigurationError: It can't be used. The text says why, and never contains it, since
                it may hold a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 6379
        except ValueError as error:
            raise _unusable(str(error).partition(":")[0]) from None
        if parts.scheme not in SCHEMES:
            raise _unusable("it must begin with one of " + ", ".join(f"{s}://" for s in SCHEMES))
        if not host:
            raise _unusable("it names no host")
        database = parts.path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise _unusable("what follows the host must be the number of a database")
        tls = parts.scheme in ("valkeys", "rediss")
        options: dict[str, Option] = {"host": host, "port": port, "db": int(database)}
        for name, value in (("username", parts.username), ("password", parts.password)):
            if value:
                options[name] = unquote(value)
        options.update(_tls_options(parts.query) if tls else _no_options(parts.query))
        shown = f"[{host}]" if ":" in host else host
        return cls(url, f"{parts.scheme}://{shown}:{port}/{database}", tls, options)


def _tls_options(query: str) -> dict[str, Option]:
    options: dict[str, Option] = {"ssl_check_hostname": True}
    for name, value in parse_qsl(query):
        if name not in (
            "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"
        ):  # fmt: skip
            raise _unusable(f"{name!r} is not an option")
        options[name] = value
    options["ssl_check_hostname"] = (
        str(options["ssl_check_hostname"]).lower() not in _FALSE
        and options.get("ssl_cert_reqs") != "none"
    )
    return options


def _no_options(query: str) -> dict[str, Option]:
    if query:
        raise _unusable("only valkeys:// and rediss:// take options")
    return {}


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError(f"The budget's address can't be used: {problem}; {_USAGE}")
