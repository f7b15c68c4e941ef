"""The signature of a webhook request: HMAC-SHA256 of the raw body, in hexadecimal."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, cast

from ..errors import ConfigurationError, InvalidSignatureError

HEADER: Final = "X-Webhook-Signature"

Secret: TypeAlias = str | bytes
HeaderValue: TypeAlias = str | bytes | Sequence[str | bytes] | None
Headers: TypeAlias = Mapping[str, HeaderValue] | Iterable[tuple[str | bytes, HeaderValue]] | None

_PREFIX = "sha256="
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_SIGNATURE = re.compile(_PREFIX + "([0-9a-fA-F]{64})", re.ASCII)


def sign(body: bytes, secret: Secret) -> str:
    """Sign a body, as the API does.

    Args:
        body: The raw body.
        secret: The endpoint's secret; text stands for its UTF-8.

    Returns:
        What belongs in the header `X-Webhook-Signature`, such as `sha256=5d…`.

    Raises:
        ConfigurationError: The secret is empty, or white space surrounds it.
    """
    (key,) = as_keys(secret)
    return _PREFIX + hmac.digest(key, body, "sha256").hex()


def verify(body: bytes, signature: str | bytes | None, secrets: Secret | Iterable[Secret]) -> int:
    """Check that a body was signed with one of the secrets.

    Digests are compared in constant time, and all secrets are tried.

    Args:
        body: The raw body, just as it came: JSON that was parsed and written again is another.
        signature: The header `X-Webhook-Signature`; None where there is none. The digest's letters
            may be of either case.
        secrets: The endpoint's secret, or several: while one is replaced, both are valid.

    Returns:
        The index of the secret that it was signed with.

    Raises:
        InvalidSignatureError: It was signed with none of them, or the header is no signature.
        ConfigurationError: There is no secret, or one can't be right.
    """
    return verify_keys(body, signature, as_keys(secrets))


def as_keys(secrets: Secret | Iterable[Secret] | None) -> tuple[bytes, ...]:
    """Give secrets as the keys they stand for.

    Raises:
        ConfigurationError: There is none, or one can't be right: it is empty, so that anybody
            could sign with it, or white space surrounds it.
    """
    several = (secrets,) if isinstance(secrets, str | bytes) else secrets or ()
    try:
        keys = tuple(map(_as_key, several))
    except (TypeError, AttributeError):  # the error's own text could have the secret
        keys = None
    if keys is None:
        raise ConfigurationError("a webhook secret must be text or bytes, or several of them")
    if not all(keys) or not keys:
        raise ConfigurationError(
            "a webhook secret is needed, and it can't be empty: copy it from the store's"
            " Settings → Webhooks"
        )
    return keys


def _as_key(secret: Secret) -> bytes:
    bare = secret.strip()
    if isinstance(bare, str):
        bare = bare.strip(_ZERO_WIDTH)
    if secret and bare != secret:
        raise ConfigurationError(
            "the webhook secret begins or ends with white space, such as a pasted newline;"
            " remove it, or no signature will match"
        )
    try:
        return secret if isinstance(secret, bytes) else secret.encode()
    except UnicodeEncodeError:  # its text has the secret
        pass
    raise ConfigurationError("a webhook secret can't be encoded as UTF-8; pass it as bytes")


def verify_keys(body: bytes, signature: str | bytes | None, keys: tuple[bytes, ...]) -> int:
    """Do what `verify` does, with the keys of `as_keys`."""
    if not isinstance(body, bytes):
        raise TypeError(f"the body must be the request's raw bytes, not {type(body).__name__}")
    if signature is None:
        raise InvalidSignatureError(f"the request has no header {HEADER}")
    if not isinstance(signature, str | bytes):
        raise InvalidSignatureError(f"the header {HEADER} is not text")
    # Latin-1 has a character for each byte, so that no header can fail to be read.
    text = signature.decode("latin-1") if isinstance(signature, bytes) else signature
    match = _SIGNATURE.fullmatch(text)
    if match is None:
        raise InvalidSignatureError(
            f"the header {HEADER} must be 'sha256=' and 64 hexadecimal digits"
        )
    given = bytes.fromhex(match[1])
    fits = [hmac.compare_digest(hmac.digest(key, body, "sha256"), given) for key in keys]
    if True not in fits:
        which = "this secret" if len(keys) == 1 else "any of these secrets"
        raise InvalidSignatureError(f"the body was not signed with {which}")
    return fits.index(True)


def signature_in(headers: Headers) -> str | bytes | None:
    """Find the signature among a request's headers.

    Args:
        headers: A mapping (also one that has a name several times), or pairs, text or bytes; the
            case of names does not matter, and values may be lists.

    Returns:
        The signature, or None where there is none.

    Raises:
        InvalidSignatureError: There are several.
    """
    found = [value for name, value in pairs_of(headers) if _is_header(name)]
    if len(found) > 1:
        raise InvalidSignatureError(f"the request has {len(found)} headers {HEADER}")
    return found[0] if found else None


def pairs_of(headers: Headers) -> Iterator[tuple[str | bytes, str | bytes]]:
    """Give headers as pairs, those that come several times too; what is no header is left out.

    A header's values may be a list, as AWS Lambda has them.
    """
    # Not every framework's headers are a `Mapping` that have its methods.
    items: Callable[[], Iterable[object]] | None = getattr(headers, "items", None)
    try:
        pairs = tuple(cast(Iterable[object], headers) if items is None else items())
    except TypeError:  # None, or another thing that has no headers
        pairs = ()
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:  # noqa: PLR2004 - a pair
            continue
        name, values = pair
        if isinstance(name, str | bytes):
            several = values if isinstance(values, list | tuple) else (values,)
            yield from ((name, value) for value in several if value is not None)


def _is_header(name: str | bytes) -> bool:
    if len(name) != len(HEADER):
        return False
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return text.lower() == _LOWER


_LOWER = HEADER.lower()
