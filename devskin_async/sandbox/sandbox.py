"""The sandbox itself: a store behind a server on this machine, from one `async with`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from . import keys
from .answers import Writer
from .database import open_database
from .faults import FaultPlan, Faults, ScriptItem
from .generate import Sizes
from .limiter import make_limiter
from .listening import listen
from .live import LiveStore
from .opening import accept_key, first_store
from .other_program import with_other_program
from .quirks import Quirk, Quirks
from .quota import check_style
from .records import DateTo, LimiterKind, ListOrder, QuotaHeaders, SandboxError
from .sending import WebhookSending
from .server import LOG_LENGTH, Counts, SeenRequest, Settings
from .traffic import Traffic, play
from .view import View, find_zone
from .webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from pathlib import Path
    from types import TracebackType

    from aiohttp import web

BUSY_MILLISECONDS: Final = 1000
"""How long a request may wait for another process's lock; all others wait with it."""


class Sandbox:
    """A store with the API's own rules, served on this machine.

    Use it as `async with Sandbox() as box:`, then point a client at `box.base_url` with
    `box.api_key`. Both are known once it has started. A file given as `db` keeps its stores:
    sizes, seed and today matter only when it has none yet. The key is told once: opening the
    file again with `key=None` makes a new one, and the old ones go on working.

    Attributes:
        counts: How many requests arrived, were refused with 429, and were spoilt on purpose.
        requests: The last requests, in the order in which their answers ended.
    """

    def __init__(
        self,
        *,
        orders: int = 1563,
        products: int = 87,
        customers: int = 342,
        seed: int = 1,
        today: date | None = None,
        db: str | Path | None = None,
        key: str | None = None,
        limiter: LimiterKind = "fixed-window",
        limit: int = 100,
        per: float = 60.0,
        quota_headers: QuotaHeaders = "none",
        faults: Faults | None = None,
        traffic: Traffic | None = None,
        webhooks: WebhookSending | None = None,
        order: ListOrder = "newest",
        date_to: DateTo = "inclusive",
        time_zone: str = "UTC",
        drift: bool = False,
        quirks: Iterable[str] = (),
        latency: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Describe a sandbox; nothing is opened before it starts.

        Args:
            orders: How many orders a new store has, over the two years before today.
            products: How many products.
            customers: How many customers.
            seed: The same seed, sizes and today give the same store, faults and traffic.
            today: The day the store takes for the present; None is the real one.
            db: A file to keep the store in; None keeps it in memory.
            key: The API key to accept; None makes one.
            limiter: The rule requests are counted by, for each key apart.
            limit: Requests in a window.
            per: The window in seconds; fractions are exact.
            quota_headers: Which headers tell of the limit.
            faults: Which answers go wrong; None is none.
            traffic: How many of the first store's orders come, move on and go; None is none.
            webhooks: How events are sent to endpoints; None is as the class has it.
            order: The order of lists: by creation, or by ascending id.
            date_to: Whether the last day belongs to a range of days.
            time_zone: Where the store's days begin and end, by its IANA name.
            drift: Answers carry nulls, leave optional fields out, have new fields and statuses.
            quirks: What else it does as real servers do: members of Quirk, or texts such as
                "page-cap=50" where one takes a value.
            latency: Seconds each answer takes at least, after it was counted.
            host: The address to listen on.
            port: The port to listen on; 0 takes a free one.

        Raises:
            SandboxError: One of them is out of bounds or unknown.
        """
        self._sizes = Sizes(orders, products, customers)
        self._seed = seed
        self._db = db
        self._key = key
        self._quota_headers = quota_headers
        self._drift = drift
        self._latency = latency
        self._host = host
        self._port = port
        self._writer = Writer(switched := Quirks(quirks))
        self._limiter = with_other_program(make_limiter(limiter, limit, per), switched)
        self._plan = FaultPlan(faults or Faults(), seed)
        self._view = View(
            order=order,
            date_to=date_to,
            zone=find_zone(time_zone),
            today=today,
            refunds=drift,
            ahead=self._writer.ahead,
            day_cut=switched.number(Quirk.DAY_CUT) or 0.0,
            day_loss=switched.number(Quirk.DAY_LOSS) or 0.0,
        )
        self._traffic = traffic or Traffic()
        self._sending = webhooks or WebhookSending()
        self._check()
        self._connection: sqlite3.Connection | None = None
        self._live: LiveStore | None = None
        self._webhooks: Webhooks | None = None
        self._playing: asyncio.Task[None] | None = None
        self._runner: web.ServerRunner | None = None
        self.counts: Counts = Counts()
        self.requests: deque[SeenRequest] = deque(maxlen=LOG_LENGTH)

    def _check(self) -> None:
        check_style(self._quota_headers)
        if not 0 <= self._latency < float("inf"):
            raise SandboxError("latency must not be negative")
        if not 0 <= self._port < 65_536:  # noqa: PLR2004
            raise SandboxError(f"there is no port {self._port}")

    @property
    def base_url(self) -> str:
        """Where the API is, without a slash at its end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/api/v1"

    @property
    def port(self) -> int:
        """The port it listens on, or listened on if it is closed."""
        if not self._port:
            raise SandboxError("the sandbox has not started")
        return self._port

    @property
    def api_key(self) -> str:
        """The key it accepts."""
        if self._key is None:
            raise SandboxError("the sandbox has not started")
        return self._key

    @property
    def connection(self) -> sqlite3.Connection:
        """The database it serves, for whoever wants to look at it or change it."""
        if self._connection is None:
            raise SandboxError("the sandbox is not running")
        return self._connection

    @property
    def live(self) -> LiveStore:
        """The first store in use, to place, move on and remove orders; a new one at each start."""
        if self._live is None:
            raise SandboxError("the sandbox is not running")
        return self._live

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks of the first store, to add endpoints and see what was sent."""
        if self._webhooks is None:
            raise SandboxError("the sandbox is not running")
        return self._webhooks

    def fail_next(self, *script: ScriptItem) -> None:
        """Say what happens to the next requests that the limiter lets through.

        Args:
            script: A kind of fault or "ok" for each; what was said before comes first.

        Raises:
            SandboxError: There is no such kind.
        """
        self._plan.extend(script)

    def create_key(
        self, name: str, only: Iterable[str] | None = None, *, store_id: int | None = None
    ) -> str:
        """Make another key.

        Args:
            name: What to call it.
            only: The resources it may read, or None for all.
            store_id: The store it opens; None is the first.

        Returns:
            The key's text.

        Raises:
            SandboxError: It is not running, or has no such store or resource, or the name is taken.
        """
        store = self._first_store(self.connection) if store_id is None else store_id
        return keys.create(self.connection, store, name, only)

    def revoke_key(self, id_or_name: int | str) -> None:
        """Revoke a key; requests with it get 401 from now on.

        Args:
            id_or_name: The key's id or name; `sandbox` is the name of the sandbox's own.

        Raises:
            SandboxError: It is not running, or has no such key.
        """
        keys.revoke(self.connection, id_or_name)

    async def start(self) -> Self:
        """Open or make the store and begin to serve it; does nothing when it serves already.

        Returns:
            The sandbox.

        Raises:
            SandboxError: The database can't be used, the address can't be listened on, or there
                shall be new orders in a store without products or customers.
        """
        if self._runner is not None:
            return self
        self._connection = open_database(self._db)
        try:
            store = self._first_store(self._connection)
            self._key = accept_key(self._connection, store, self._key)
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            await self._listen(self._connection)
            self._take_in_use(self._connection, store)
        except sqlite3.Error as error:
            await self.close()
            raise SandboxError(f"cannot use the database {self._db}: {error}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Stop serving and close the database; does nothing when closed already.

        Its address, key, counts and log stay readable; it can be started again.
        """
        playing, self._playing = self._playing, None
        runner, self._runner = self._runner, None
        webhooks, self._webhooks = self._webhooks, None
        self._live = None
        connection, self._connection = self._connection, None
        if playing is not None:
            playing.cancel()
            await asyncio.wait((playing,))
        if webhooks is not None:
            await webhooks.close()
        if runner is not None:
            await runner.cleanup()
        if connection is not None:
            connection.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _first_store(self, connection: sqlite3.Connection) -> int:
        return first_store(connection, self._sizes, self._seed, self._view.utc_day())

    async def _listen(self, connection: sqlite3.Connection) -> None:
        settings = Settings(
            connection=connection,
            limiter=self._limiter,
            quota=self._quota_headers,
            plan=self._plan,
            view=self._view,
            writer=self._writer,
            drift=self._drift,
            latency=self._latency,
        )
        self._runner = await listen(
            settings, self.counts, self.requests, host=self._host, port=self._port
        )
        self._port = int(self._runner.addresses[0][1])

    def _take_in_use(self, connection: sqlite3.Connection, store: int) -> None:
        """Let the store's orders change from now on, and their changes fire."""
        self._webhooks = webhooks = Webhooks(connection, store, self._sending, self._writer)
        self._live = live = LiveStore(
            connection, store, seed=self._seed, now=self._view.now, outbox=webhooks.record
        )
        live.listeners.add(webhooks.notice)
        if self._traffic.inserts:
            live.check()
        self._playing = asyncio.create_task(play(self._traffic, live, self._seed))
