"""The client: one method for each endpoint, composed from the layers below."""

from __future__ import annotations

import os
import re
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import aiohttp
from msgspec.structs import replace
from yarl import URL

from .api import endpoints
from .errors import ConfigurationError
from .ratelimit import MACHINE, PROCESS, Budget, Lane, OnEvent, RateLimit
from .reader import Reader, instance
from .records import Period, Revenue
from .resources import Analytics, Customers, Orders, Products
from .transport import (
    HTTPTransport,
    Proxy,
    Retry,
    Sender,
    Transport,
    find_proxy,
    is_loopback,
)

DEFAULT_BASE_URL = "https://api-marketplace.devskin.com/api/v1"


class Keep(Enum):
    """The value of an option that is not named: it stays as it is."""

    KEEP = "keep"


class DevSkinClient:
    """Reads one store.

    Use it as `async with DevSkinClient(...) as store`, or call `aclose` when done. It belongs to
    the event loop in which it is first used. Every request waits for its turn in the rate limit.

    Args:
        api_key: The store's API key; None takes the environment's `DEVSKIN_API_KEY`.
        base_url: The API's address; None takes `DEVSKIN_BASE_URL`, or else the real API's. Plain
            http is accepted for a loopback host only.
        budget: Which programs share the key's requests: "machine" is all processes of this user
            on this machine, "process" this process alone, and "valkey://host:port/db" all that
            use that Valkey server (also valkeys, redis, rediss). None takes the environment's
            `DEVSKIN_BUDGET`, or else "machine".
        rate_limit: The limit to keep, counting the requests of all that share the budget.
        concurrency: How many requests of one listing, or of one `get_many`, are in flight or
            held at the most.
        timeout: Seconds for one attempt on the wire.
        retry: How a request that failed transiently is sent again.
        session: An aiohttp session of the caller's, used and left open; None makes one. Its
            middlewares are not run: one that sends again would do so outside the budget. It
            keeps its own proxy, which sees its default headers in clear.
        transport: Sends the requests in place of aiohttp, such as `testing.MockTransport`; it is
            closed with the client. None makes one.
        proxy: The address of an HTTP proxy, such as `http://proxy.example:3128`, with user and
            password if it needs them; "" means none. None takes the environment's `HTTPS_PROXY`
            or `ALL_PROXY`, unless its `NO_PROXY` names the host. A loopback host is never reached
            through a proxy, and any other only in a TLS tunnel.
        user_agent: The calling program, such as `nightly/2.1`: added to this library's own
            `User-Agent`. None adds nothing.
        on_event: Called with each `Event`: `Queued`, `Granted`, `Sent`, `Answered` and `Retried`
            are about a request, `Refused`, `Paused` and `Adapted` about the rate limit, `Degraded`
            and `Restored` about a shared budget. It runs in the event loop and must not block;
            what it raises is logged.

    Raises:
        ConfigurationError: The key is missing or unusable, or the address, the
            proxy's address or `budget` is not acceptable.
        ValueError: `concurrency` or `timeout` is not positive, `rate_limit` or `retry` is of
            another type, as are `session`, `transport` or `on_event`, `user_agent` is not
            printable ASCII, or more than one of `session`, `transport` and `proxy` is given.
    """

    reader: Reader  # what its calls are sent with, for the layers above
    if TYPE_CHECKING:
        orders: Orders
        products: Products
        customers: Customers
        analytics: Analytics
    else:  # `create_autospec` knows only what the class itself has
        orders, products, customers, analytics = Orders, Products, Customers, Analytics

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        budget: str | None = None,
        rate_limit: RateLimit = RateLimit(),
        concurrency: int = 10,
        timeout: float = 30.0,
        retry: Retry = Retry(),
        session: aiohttp.ClientSession | None = None,
        transport: Transport | None = None,
        proxy: str | None = None,
        user_agent: str | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        if base_url is None:
            base_url = os.environ.get("DEVSKIN_BASE_URL") or DEFAULT_BASE_URL
        url = _checked_base_url(base_url)
        key = _checked_key(api_key if api_key is not None else os.environ.get("DEVSKIN_API_KEY"))
        if session is not None:
            instance("session", session, aiohttp.ClientSession)
        if transport is not None:
            _check_methods("transport", transport, ("send", "aclose"))
        if on_event is not None and not callable(on_event):
            raise ValueError(f"on_event must be a function, not {on_event!r}")
        if session is not None and transport is not None:
            raise ValueError("pass a session or a transport, not both: a transport has its own")
        found = _checked_proxy(url, proxy, session or transport)
        agent = _checked_user_agent(user_agent)
        if transport is None:
            transport = HTTPTransport(url, key, session=session, proxy=found, user_agent=agent)
        sender = Sender(
            transport,
            base_url=url,
            api_key=key,
            where=_checked_place(
                os.environ.get("DEVSKIN_BUDGET") or MACHINE if budget is None else budget
            ),
            limit=instance("rate_limit", rate_limit, RateLimit),
            on_event=on_event,
            proxy=found,
        )
        self._set_reader(Reader(sender, timeout, retry, concurrency))

    def _set_reader(self, reader: Reader) -> None:
        self.reader = reader
        self.orders = Orders(reader)
        self.products = Products(reader)
        self.customers = Customers(reader)
        self.analytics = Analytics(reader)

    async def revenue(self, period: Period | str = Period.MONTH) -> Revenue:
        """Read the revenue series of a period.

        Args:
            period: `7d`, `30d`, `90d` or `1y`.

        Raises:
            ValueError: `period` is none of these.
        """
        return await self.reader.one(endpoints.revenue(period))

    @property
    def budget(self) -> Budget:
        """The key's budget at this moment; it needs a running event loop."""
        return self.reader.sender.scheduler.budget()

    def with_options(
        self,
        *,
        deadline: float | Keep | None = Keep.KEEP,
        max_wait: float | Keep | None = Keep.KEEP,
        lane: Lane | Keep | None = Keep.KEEP,
        timeout: float | Keep = Keep.KEEP,
        retry: Retry | Keep = Keep.KEEP,
        concurrency: int | Keep = Keep.KEEP,
    ) -> Self:
        """Make a view of this client with other options, over the same session and budget.

        Args:
            deadline: Seconds for a whole call, queue and retries included; for a listing, from
                its start to its last page. None sets no bound.
            max_wait: Seconds that a request may wait for the rate limit, after a refusal too.
                Where a longer wait is predicted, it fails at once. None sets no bound.
            lane: Which lane requests wait in. None is `Lane.INTERACTIVE` for single calls and
                `Lane.BULK` for listings and `get_many`.
            timeout: Seconds for one attempt on the wire.
            retry: How a request that failed transiently is sent again.
            concurrency: How many requests of one listing, or of one `get_many`, are in flight or
                held at the most.

        Returns:
            The view; options that are not passed stay as they are here. Identical calls in flight
            share one request if lane, timeout and retry are the same.

        Raises:
            ValueError: `deadline`, `max_wait` or `timeout` is not a valid number of seconds,
                `concurrency` is not positive, or `lane` or `retry` is of another type.
        """
        options = {
            "deadline": deadline,
            "max_wait": max_wait,
            "lane": lane,
            "timeout": timeout,
            "retry": retry,
            "concurrency": concurrency,
        }
        named: dict[str, Any] = {n: value for n, value in options.items() if value is not Keep.KEEP}
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._set_reader(replace(self.reader, **named))
        return view

    async def aclose(self) -> None:
        """Cancel what is in flight and close the session, unless it is the caller's.

        It may be called again. Closing a view closes the client, and the other way round.
        """
        await self.reader.sender.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # One whose `__init__` failed has no reader, and shows up in tracebacks.
        reader: Reader | None = self.__dict__.get("reader")
        store = reader.sender.base_url if reader else "(not initialized)"
        return f"<{type(self).__name__} {store}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client can't be copied or pickled: its API key would go along")


def _checked_key(key: str | None) -> str:
    if key is not None and not isinstance(key, str):
        raise ConfigurationError("the API key must be a string")
    key = (key or "").strip()
    if not key:
        raise ConfigurationError("no API key: pass api_key or set DEVSKIN_API_KEY")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("the API key must be printable ASCII without spaces")
    return key


def _checked_base_url(text: str) -> str:
    try:
        url = URL(text)
    except (TypeError, ValueError):
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"base_url must be an address such as {DEFAULT_BASE_URL}")
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigurationError("base_url must have no user, password, query or fragment")
    if url.scheme == "http" and not is_loopback(url.host):
        raise ConfigurationError(
            f"base_url must be https: over plain http the API key could be read on its way to "
            f"{url.host}"
        )
    return str(url).rstrip("/")


def _checked_place(budget: str) -> str:
    if budget in (PROCESS, MACHINE):
        return budget
    if found := re.match(r"((?:valkey|redis)s?)(://.+)", str(budget), re.IGNORECASE | re.DOTALL):
        return found[1].lower() + found[2]
    raise ConfigurationError(
        f'budget must be "{MACHINE}", "{PROCESS}" or an address such as valkey://host:6379/0'
    )


def _check_methods(name: str, value: object, methods: tuple[str, ...]) -> None:
    if isinstance(value, type) or not all(callable(getattr(value, each, None)) for each in methods):
        raise ValueError(f"{name} must have the methods {' and '.join(methods)}, not be {value!r}")


def _checked_proxy(
    base_url: str, proxy: str | None, others: aiohttp.ClientSession | Transport | None
) -> Proxy | None:
    if others is None:
        return find_proxy(URL(base_url), proxy)
    if proxy is not None:
        raise ValueError(
            "pass a proxy, or else a session or a transport: a session has its own, as in "
            "aiohttp.ClientSession(proxy=...)"
        )
    return None


def _checked_user_agent(product: object) -> str | None:
    if product is None:
        return None
    if isinstance(product, str) and product.isascii() and product.isprintable() and product.strip():
        return product.strip()
    raise ValueError(f"user_agent must be printable ASCII, such as nightly/2.1, not {product!r}")
