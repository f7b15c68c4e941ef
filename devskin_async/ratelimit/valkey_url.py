"""The address of a Valkey server, as it is passed as `budget`."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen

from ..errors import ConfigurationError

SCHEMES = ("valkey", "valkeys", "redis", "rediss")

_USAGE = (
    "write it as valkey://host:port/db, such as valkey://localhost:6379/0 (also valkeys, "
    "redis and rediss; with a password: valkey://user:password@host:port/db)"
)
_ESCAPED = "write / ? # in a password as %2F %3F %23"
_TLS_OPTIONS = (
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"
)  # fmt: skip
_CERT_REQS = ("none", "optional", "required")
_FALSE = ("0", "false", "no")

Option: TypeAlias = str | int | bool


@frozen
class ValkeyURL:
    """Where a Valkey server is, and how to connect.

    Args:
        given: The address as it was passed.
        shown: The address without user and password, for messages.
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
        parts, port = _split(url)
        if parts.scheme not in SCHEMES:
            raise _unusable("it must begin with one of " + ", ".join(f"{s}://" for s in SCHEMES))
        if not (host := parts.hostname):
            raise _unusable("it names no host")
        if parts.fragment:
            raise _unusable(f"nothing may follow a #; {_ESCAPED}")
        database = parts.path.strip("/") or "0"
        if not (database.isascii() and database.isdigit()):
            raise _unusable(f"what follows the host must be the number of a database; {_ESCAPED}")
        tls = parts.scheme in ("valkeys", "rediss")
        options: dict[str, Option] = {"host": host, "port": port, "db": int(database)}
        for name, value in (("username", parts.username), ("password", parts.password)):
            if value:
                options[name] = unquote(value)
        options.update(_tls_options(parts.query) if tls else _no_options(parts.query))
        shown = f"[{host}]" if ":" in host else host
        return cls(url, f"{parts.scheme}://{shown}:{port}/{database}", tls, options)


def _split(url: str) -> tuple[SplitResult, int]:
    """Split an address, without Python's own error, which would repeat the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unusable("it is not written as an address") from None
    try:
        return parts, parts.port or 6379
    except ValueError:
        raise _unusable(f"the port is not a number up to 65535; {_ESCAPED}") from None


def _tls_options(query: str) -> dict[str, Option]:
    options: dict[str, Option] = {"ssl_check_hostname": True}
    try:
        options.update(parse_qsl(query, strict_parsing=bool(query)))
    except ValueError:
        raise _unusable(f"what follows the ? must be name=value; {_ESCAPED}") from None
    if not options.keys() <= set(_TLS_OPTIONS):
        raise _unusable(f"its options can be {', '.join(_TLS_OPTIONS)} only; {_ESCAPED}")
    if options.get("ssl_cert_reqs", "none") not in _CERT_REQS:
        raise _unusable(f"ssl_cert_reqs must be one of {', '.join(_CERT_REQS)}")
    options["ssl_check_hostname"] = (
        str(options["ssl_check_hostname"]).lower() not in _FALSE
        and options.get("ssl_cert_reqs") != "none"
    )
    return options


def _no_options(query: str) -> dict[str, Option]:
    if query:
        raise _unusable(f"only valkeys:// and rediss:// take options; {_ESCAPED}")
    return {}


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError(f"The budget's address can't be used: {problem}; {_USAGE}")
