"""The options of a client or a view, and the requests that are sent with them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from numbers import Real
from typing import TypeVar

from msgspec import Struct

from .api import MAX_LIMIT, Request, positive
from .listings import Listing, Rows
from .paging import Ordered, Pages
from .ratelimit import Flow, Lane, RequestFlow
from .records import Page
from .transport import Deadline, RequestOptions, Retry, Sender

T = TypeVar("T")


def instance(name: str, value: T, cls: type[T]) -> T:
    """Check an argument that must be of a class; `ValueError` if it is not."""
    if isinstance(value, cls):
        return value
    raise ValueError(f"{name} must be a {cls.__name__}(...), not {value!r}")


def _positive_seconds(name: str, value: float) -> float:
    if seconds := _seconds(name, value):
        return seconds
    raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


def _seconds(name: str, value: float) -> float:
    is_number = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    try:
        seconds = float(value) if is_number else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


class Reader(Struct):
    """Reads records and lists with the options of a client, or of a view of it.

    Args:
        sender: Sends the requests.
        timeout: Seconds for one attempt on the wire.
        retry: How a request that failed transiently is sent again.
        concurrency: How many of one listing are in flight or held at the most.
        deadline: Seconds for a whole call or listing; None sets no bound.
        max_wait: Seconds that a request may wait for the rate limit; None sets no bound.
        lane: The lane of every request; None is interactive for single calls, bulk for others.

    Raises:
        ValueError: An option is out of its bounds, or of another type.
    """

    sender: Sender
    timeout: float
    retry: Retry
    concurrency: int
    deadline: float | None = None
    max_wait: float | None = None
    lane: Lane | None = None

    def __post_init__(self) -> None:
        self.timeout = _positive_seconds("timeout", self.timeout)
        instance("retry", self.retry, Retry)
        self.concurrency = positive("concurrency", self.concurrency)
        if self.deadline is not None:
            self.deadline = _positive_seconds("deadline", self.deadline)
        if self.max_wait is not None:
            self.max_wait = _seconds("max_wait", self.max_wait)
        if self.lane is not None:
            instance("lane", self.lane, Lane)

    def one(self, request: Request[T]) -> Awaitable[T]:
        """Send one request and return what its response holds."""
        return self.sender.send(request, self._options(Lane.INTERACTIVE))

    def listing(
        self,
        record: type[T],
        page_request: Callable[[int, int], Request[Page[T]]],
        limit: int | None = None,
    ) -> Listing[T]:
        """Read the pages of a list.

        Args:
            record: The class of a row.
            page_request: Makes the request for the page of a number, from 1, with so many rows.
            limit: How many rows to read at the most; None reads all.

        Raises:
            ValueError: `limit` is not a positive integer, or `page_request` refuses its arguments.
        """
        limit = limit if limit is None else positive("limit", limit)
        # Made before anything is awaited, so that wrong arguments are refused at once.
        first = page_request(1, 1)
        filters = tuple(f"{name}={value}" for name, value in first.query[2:])
        bound = () if limit is None else (f"limit={limit}",)

        def start(wanted: int | None, first_page: int) -> Pages[T]:
            options = self.flow_options()
            # The numbers of later pages count pages of 100 rows.
            page_limit = min(wanted or MAX_LIMIT, MAX_LIMIT) if first_page == 1 else MAX_LIMIT
            return Pages(
                lambda number: self.sender.send(page_request(number, page_limit), options),
                self.concurrency,
                first_page=first_page,
                wanted=wanted,
                request=str(first),
            )

        return Listing(start, ", ".join((first.path[1:], *filters, *bound)), limit, record)

    def many(self, record: type[T], requests: Iterable[Request[T]], what: str) -> Rows[T]:
        """Read many records, one request each, in the order of the requests."""
        wanted = tuple(requests)

        def start() -> Ordered[Request[T], T]:
            options = self.flow_options()
            return Ordered(
                lambda request: self.sender.send(request, options), wanted, self.concurrency
            )

        return Rows(start, what, record)

    def flow_options(self) -> RequestOptions:
        """Start a flow of many requests, such as one reading of a listing."""
        return self._options(Lane.BULK, Flow())

    def _options(self, lane: Lane, flow: RequestFlow | None = None) -> RequestOptions:
        return RequestOptions(
            lane=self.lane or lane,
            flow=flow,
            deadline=None if self.deadline is None else Deadline.after(self.deadline),
            max_wait=self.max_wait,
            timeout=self.timeout,
            retry=self.retry,
        )
