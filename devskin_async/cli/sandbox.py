"""`devskin sandbox`: a local store to try things on, its API keys and its webhooks."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import frozen
from cyclopts import App, Group, Parameter
from rich.text import Text

from . import endpoints, keys
from .failures import ended_by_signals, needing_extra
from .options import Flag, Whole
from .render import Column, show, stderr, stdout, table

if TYPE_CHECKING:
    from ..sandbox import DeliveryState, Endpoint, Quirk, Sandbox

# The sandbox's own words, which its package can't be asked for: its libraries are an extra.
LimiterKind = Literal[
    "fixed-window",
    "first-request",
    "sliding-log",
    "sliding-counter",
    "token-bucket",
    "small-bucket",
    "none",
]
QuotaHeaders = Literal[
    "none",
    "retry-after",
    "retry-after-date",
    "x-ratelimit",
    "x-ratelimit-delta",
    "ratelimit",
    "ratelimit-structured",
]
FaultKind = Literal[
    "500",
    "502-html",
    "reset",
    "truncated",
    "slow",
    "408",
    "425",
    "429",
    "503",
    "520",
    "521",
    "522",
    "523",
    "524",
    "525",
    "526",
    "527",
    "528",
    "529",
    "530",
    "closed",
    "garbage",
    "bad-length",
    "bad-chunk",
    "bad-gzip",
]
ListOrder = Literal["newest", "oldest", "id"]
DateTo = Literal["inclusive", "exclusive"]

app: App = App(name="sandbox", help_epilogue="")

_QUIRK_COLUMNS: Sequence[Column[Quirk]] = (
    Column("Quirk", lambda quirk: Text(quirk.usage)),
    Column("What the sandbox then does", lambda quirk: Text(quirk.explanation), shrinks=True),
)

app.command(keys.app)
app.command(endpoints.app)


@Parameter(name="*", group=Group("Its data", sort_key=1))
@frozen(kw_only=True)
class Data:
    """What the store holds.

    Args:
        orders: How many orders, over two years.
        products: How many products.
        customers: How many customers.
        seed: Another number makes another store; the same one makes the same.
        db: A file to keep the store in, which is otherwise gone at the end.
        key: The API key to accept; otherwise one is made.
        live: New orders a second while it runs, and three times as many steps towards completed.
        removals: Orders removed a second while it runs.
    """

    orders: Whole = 1563
    products: Whole = 87
    customers: Whole = 342
    seed: Whole = 1
    db: Path | None = None
    key: str | None = None
    live: float = 0.0
    removals: float = 0.0


@Parameter(name="*", group=Group("Its rate limit", sort_key=2))
@frozen(kw_only=True)
class Limit:
    """How it limits a key's requests.

    Args:
        limiter: By which rule requests are counted.
        limit: Requests in a window.
        per: The window in seconds.
        quota_headers: Which headers tell of the limit.
    """

    limiter: LimiterKind = "fixed-window"
    limit: Whole = 100
    per: float = 60.0
    quota_headers: QuotaHeaders = "none"


@Parameter(name="*", group=Group("Its bad days", sort_key=3))
@frozen(kw_only=True)
class Trouble:
    """What goes wrong.

    Args:
        fail: Share of requests that fail, 0 to 1.
        fail_kind: How they fail, by default any of the first five; may be given more than once.
        latency: Seconds that an answer takes at least.
    """

    fail: float = 0.0
    fail_kind: Annotated[tuple[FaultKind, ...], Parameter(negative=(), show_default=False)] = ()
    latency: float = 0.0


@Parameter(name="*", group=Group("What the reference leaves open", sort_key=4))
@frozen(kw_only=True)
class Wire:
    """How it reads the reference where that is silent.

    Args:
        list_order: The order of lists.
        date_to: Whether the last day belongs to a range of days.
        time_zone: Where the store's days begin and end.
        drift: Send nulls, leave optional fields out, add new fields and statuses.
        quirk: What devskin sandbox quirks lists, such as page-cap=50; repeat it for more.
    """

    list_order: ListOrder = "newest"
    date_to: DateTo = "inclusive"
    time_zone: str = "UTC"
    drift: Annotated[bool, Flag] = False
    quirk: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()


@Parameter(name="*", group=Group("Its webhooks", sort_key=5))
@frozen(kw_only=True)
class Hooks:
    """Where its events go.

    Args:
        webhook: A URL to post every order's events to, signed; repeat it for more.
        webhook_secret: What to sign them by; otherwise each URL gets a secret of its own.
        allow_private: Post to private addresses too; this machine's own is always allowed.
    """

    webhook: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    webhook_secret: Annotated[str | None, Parameter(env_var="DEVSKIN_WEBHOOK_SECRET")] = None
    allow_private: Annotated[bool, Flag] = False


@app.default
async def run(
    *,
    port: Whole = 8787,
    data: Data = Data(),
    limit: Limit = Limit(),
    trouble: Trouble = Trouble(),
    wire: Wire = Wire(),
    hooks: Hooks = Hooks(),
) -> None:
    """Run a local store with the API's own rules, until Ctrl-C.

    Example: devskin sandbox --fail 0.05 --limiter sliding-log

    With webhooks: devskin sandbox --live 1 --webhook http://localhost:8000/hook

    As some servers are: devskin sandbox --quirk page-cap=50 --quirk float-noise

    Args:
        port: The port on 127.0.0.1; 0 takes a free one.
        data: What the store holds.
        limit: How it limits requests.
        trouble: What goes wrong.
        wire: How it reads the reference where that is silent.
        hooks: Where its events go.
    """
    sandbox = _describe(port=port, data=data, limit=limit, trouble=trouble, wire=wire, hooks=hooks)
    with ended_by_signals():
        async with sandbox:
            secret = hooks.webhook_secret or None
            accepted = [sandbox.webhooks.accept(url, secret) for url in hooks.webhook]
            _introduce(sandbox, accepted)
            if accepted and not data.live:
                show(stderr(), "Nothing fires yet: --live 1 lets orders come and move on.")
            with suppress(asyncio.CancelledError):  # Ctrl-C and SIGTERM are how it ends
                await asyncio.Event().wait()
            hooks_told = _summary(sandbox.webhooks.counts()) if accepted else ""
    counts = sandbox.counts
    told = f"Stopped after {counts.requests:,} requests, {counts.refused:,} refused"
    show(stderr(), f"{told}{hooks_told}.")


@app.command(name="quirks")
def list_quirks() -> None:
    """List what --quirk can switch on, as real servers have it.

    Example: devskin sandbox quirks
    """
    with needing_extra("sandbox"):
        from ..sandbox import Quirk
    show(stdout(), table(_QUIRK_COLUMNS, list(Quirk)))


def _summary(sent: Mapping[DeliveryState, int]) -> str:
    return "; webhooks: " + ", ".join(f"{count:,} {state}" for state, count in sent.items())


def _describe(
    *, port: int, data: Data, limit: Limit, trouble: Trouble, wire: Wire, hooks: Hooks
) -> Sandbox:
    with needing_extra("sandbox"):
        from ..sandbox import SandboxError
    try:
        return _made(port=port, data=data, limit=limit, trouble=trouble, wire=wire, hooks=hooks)
    except SandboxError as error:
        raise ValueError(str(error)) from None  # whatever it is, it was typed


def _made(
    *, port: int, data: Data, limit: Limit, trouble: Trouble, wire: Wire, hooks: Hooks
) -> Sandbox:
    from ..sandbox import Faults, Sandbox, Traffic, WebhookSending

    faults = Faults(fail=trouble.fail)
    if trouble.fail_kind:
        faults = Faults(fail=trouble.fail, kinds=trouble.fail_kind)
    return Sandbox(
        orders=data.orders,
        products=data.products,
        customers=data.customers,
        seed=data.seed,
        db=data.db,
        key=data.key,
        limiter=limit.limiter,
        limit=limit.limit,
        per=limit.per,
        quota_headers=limit.quota_headers,
        faults=faults,
        # Three steps lead an order to its end: at fewer, open orders would pile up.
        traffic=Traffic(inserts=data.live, changes=3 * data.live, removals=data.removals),
        webhooks=WebhookSending(allow_private=hooks.allow_private),
        order=wire.list_order,
        date_to=wire.date_to,
        time_zone=wire.time_zone,
        drift=wire.drift,
        quirks=wire.quirk,
        latency=trouble.latency,
        port=port,
    )


def _introduce(sandbox: Sandbox, accepted: Sequence[Endpoint]) -> None:
    """Tell where the store is and what to type next; its key and secrets are shown on purpose."""
    url, key = sandbox.base_url, sandbox.api_key
    header, address = shlex.quote(f"X-API-Key: {key}"), shlex.quote(f"{url}/orders?limit=2")
    show(
        stdout(),
        f"Sandbox store at {url} (Ctrl-C stops it)",
        f"API key: {key}",
        *map(_hook_line, accepted),
        "",
        "In another terminal:",
        "",
        f"  export DEVSKIN_BASE_URL={shlex.quote(url)} DEVSKIN_API_KEY={shlex.quote(key)}",
        "  devskin orders",
        "",
        f"  curl -H {header} {address}",
        "",
    )


def _hook_line(endpoint: Endpoint) -> str:
    if endpoint.secret is None:
        return f"Webhooks to {endpoint.url}, which the file has as endpoint {endpoint.id}"
    return f"Webhooks to {endpoint.url}, signed by the secret {endpoint.secret}"
