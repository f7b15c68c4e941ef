"""`devskin webhooks`: to try out what receives webhooks, and what sends them."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import App, Group, Parameter

from ..errors import (
    ConfigurationError,
    InvalidSignatureError,
    MalformedEventError,
    TransportError,
)
from ..webhooks import HEADER, parse, sign
from ..webhooks import verify as verify_signature
from ..webhooks.signature import as_keys
from . import events
from .events import EXAMPLE, BodyFile, Draft
from .failures import FAILED, ended_by_signals
from .options import Flag, Whole
from .posting import Answer, Poster, checked_seconds, checked_url
from .render import counted, show, stderr, stdout

if TYPE_CHECKING:
    from yarl import URL

_MOST_COPIES = 1000
_MOST_PORT = 65_535

Json = Annotated[bool, Flag]
Secrets = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]

_HELP = """\
Receive a store's webhooks here, send some to a server, check a signature.

Example: devskin webhooks listen --forward-to http://localhost:8000/hook

The secret is the one in the store's Settings → Webhooks. Better set it in
DEVSKIN_WEBHOOK_SECRET than by --secret: whoever uses this machine can see the
options of its commands.
"""

app: App = App(name="webhooks", help=_HELP, help_epilogue="")


@Parameter(name="*", group=Group("Forwarding", sort_key=1))
@frozen(kw_only=True)
class Forwarding:
    """Where events go from here.

    Args:
        forward_to: Post each verified event to this URL, just as it came.
        timeout: Seconds for it to be accepted there.
    """

    forward_to: str | None = None
    timeout: float = 10.0


@app.command
async def listen(
    *,
    port: Whole = 8788,
    host: str = "127.0.0.1",
    secret: Secrets = (),
    json: Json = False,
    forwarding: Forwarding = Forwarding(),
) -> None:
    """Receive webhooks and print each event once, until Ctrl-C.

    Example: devskin webhooks listen --forward-to http://localhost:8000/hook

    Requests are accepted on every path, and refused without a valid signature.
    A forwarded event keeps its bytes and its signature; its sender is answered
    200 once the other server has accepted it, else 500, to send it again.

    Args:
        port: The port; 0 takes a free one.
        host: The address to listen on; 0.0.0.0 for all of them.
        secret: Better set in DEVSKIN_WEBHOOK_SECRET: ps shows this. Repeat it for more.
        json: Each event as one line of JSON, as it was sent.
        forwarding: Where events go from here.
    """
    from .listening import Listener, serving  # aiohttp's server takes a while to load

    keys = _keys(secret)
    if not 0 <= port <= _MOST_PORT:
        raise ValueError(f"--port must be 0 to {_MOST_PORT}, not {port}")
    if not host:
        raise ValueError("--host must not be empty; 0.0.0.0 stands for all addresses")
    poster = _poster(forwarding)
    with ended_by_signals():
        async with AsyncExitStack() as stack:
            if poster is not None:
                await stack.enter_async_context(poster)
            listener = Listener(keys, poster, as_json=json)
            url = await stack.enter_async_context(serving(listener, host, port))
            _introduce(url, poster)
            with suppress(asyncio.CancelledError):  # Ctrl-C and SIGTERM are how it ends
                await listener.broken
    show(stderr(), listener.summary())


@app.command
def send(
    *,
    to: str,
    secret: str | None = None,
    copies: Whole = 1,
    timeout: float = 10.0,
    draft: Draft = EXAMPLE,
) -> int:
    """Send a signed event to a server, and show what it answers.

    Example: devskin webhooks send --to http://localhost:8000/hook

    The exit code is 0 where the answer is a 2xx, otherwise 1.
    A redirect is not followed.

    Args:
        to: The server's URL.
        secret: Better set in DEVSKIN_WEBHOOK_SECRET: ps shows this.
        copies: How many times to send it at once.
        timeout: Seconds for one request.
        draft: What to send.
    """
    (key,) = _keys(() if secret is None else (secret,))
    url = checked_url("--to", to)
    checked_seconds("--timeout", timeout)
    if not 1 <= copies <= _MOST_COPIES:
        raise ValueError(f"--copies must be 1 to {_MOST_COPIES:,}, not {copies}")
    body = events.write(draft)
    headers = {HEADER: sign(body, key), "Content-Type": "application/json"}
    return asyncio.run(_send(Poster(url, timeout), body, headers, copies))


@app.command
def verify(*, signature: str, secret: Secrets = (), body: BodyFile = None) -> None:
    """Check the signature of a request's body, which is read from stdin.

    Example: devskin webhooks verify --signature sha256=5d41... < body.json

    The body has to be the one that was sent, byte by byte: JSON that was
    formatted anew is another, and so is one to which a line end was added.
    The exit code is 0 where the signature is valid, otherwise 1. Which one
    would be valid is not told: devskin webhooks send makes signatures.

    Args:
        signature: The request's header X-Webhook-Signature.
        secret: Better set in DEVSKIN_WEBHOOK_SECRET: ps shows this. Repeat it for more.
        body: A file to read in place of stdin.
    """
    keys = _keys(secret)
    content = events.read_body(body)
    index = _signed_by(content, signature.strip(), keys)
    which = "" if len(keys) == 1 else f": signed with secret {index + 1} of {len(keys)}"
    try:
        told = events.line(parse(content))
    except MalformedEventError as error:
        told = f"But it is not an event: {error}"
    show(stdout(), f"valid{which}", told)


def _keys(given: Sequence[str]) -> tuple[bytes, ...]:
    """Give the secrets that were given, or else the environment's."""
    secrets = tuple(given) or (os.environ.get("DEVSKIN_WEBHOOK_SECRET", ""),)
    if not all(secret.strip() for secret in secrets):
        raise ConfigurationError(
            "no webhook secret: set DEVSKIN_WEBHOOK_SECRET, or give --secret; the store's"
            " Settings → Webhooks has it"
        )
    return as_keys(map(_typed, secrets))


def _typed(secret: str) -> str | bytes:
    """Give a secret as it was typed: what is no UTF-8 as its bytes."""
    typed = secret.encode(errors="surrogateescape")
    try:
        return typed.decode()
    except UnicodeDecodeError:
        return typed


def _poster(forwarding: Forwarding) -> Poster | None:
    checked_seconds("--timeout", forwarding.timeout)
    if forwarding.forward_to is None:
        return None
    return Poster(checked_url("--forward-to", forwarding.forward_to), forwarding.timeout)


def _introduce(url: URL, poster: Poster | None) -> None:
    """Tell where it listens and what to type next; the secret is not shown."""
    to = shlex.quote(str(url))
    show(
        stderr(),
        f"Listening on {url} (Ctrl-C stops it)",
        *([] if poster is None else [f"Forwarding to {poster.name}"]),
        "",
        "In another terminal, with the same secret in DEVSKIN_WEBHOOK_SECRET:",
        "",
        f"  devskin webhooks send --to {to} --event order.paid",
        f"  devskin sandbox --live 1 --webhook {to}",
        "",
        "Or, for a sandbox that has a file:",
        "",
        f"  devskin sandbox webhooks add {to} --db shop.db",
        "",
    )


async def _send(poster: Poster, body: bytes, headers: dict[str, str], copies: int) -> int:
    answers: list[Answer] = []
    failures: list[TransportError] = []

    async def post() -> None:
        try:
            answer = await poster.post(body, headers)
        except TransportError as error:
            failures.append(error)
        else:
            answers.append(answer)
            show(stdout(), answer.shown())

    with ended_by_signals():
        async with poster:
            await asyncio.gather(*(post() for _ in range(copies)))
    if failures:
        which = "" if copies == 1 else f"{counted(len(failures), 'request')} without an answer: "
        raise TransportError(f"{which}{failures[0]}")
    return 0 if all(answer.good for answer in answers) else FAILED


def _signed_by(body: bytes, signature: str, keys: tuple[bytes, ...]) -> int:
    """Give the index of the secret that a body was signed with.

    Raises:
        InvalidSignatureError: There is none; told apart is a line end that came or went.
    """
    try:
        return verify_signature(body, signature, keys)
    except InvalidSignatureError as error:
        reason = str(error)
    others = {
        "without its final line end": body.removesuffix(b"\n"),
        "without its final CR LF": body.removesuffix(b"\r\n"),
        "with a final line end": body + b"\n",
    }
    for how, other in others.items():
        with suppress(InvalidSignatureError):
            verify_signature(other, signature, keys)
            reason = f"the body was not signed, but {how} it was: an editor or a shell changed it"
            break
    raise InvalidSignatureError(reason)
