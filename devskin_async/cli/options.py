"""The options that every reading command has, and the store that they open."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

from attrs import evolve, frozen
from cyclopts import Group, Parameter, Token

from ..api import MAX_INTEGER
from ..client import DevSkinClient
from ..errors import ConfigurationError
from ..ratelimit import PROCESS, RateLimit
from ..transport import Retry
from .failures import ended_by_signals, needing_extra
from .render import stderr
from .waits import Waits

STORE = Group("Which store", sort_key=10)
RATE = Group(
    "Rate limit",
    help="All processes of this user on this machine share a key's requests: never more are sent "
    "than the key may send. Other machines, other users and most containers share them by a "
    "Valkey server that all of them name. Bulk work leaves 10 requests a minute free while another "
    "process makes interactive calls; --rate-limit 60 always leaves it 40.",
    sort_key=11,
)

_MONTHS = 12

Flag: Parameter = Parameter(negative=(), show_default=False)


def _whole(_: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError(f'"{text}" is not a whole number')
    if len(text) > len(str(MAX_INTEGER)):
        raise ValueError(f"{text[:9]}… is too large a number")
    return int(text)


def _id(hint: object, tokens: Sequence[Token]) -> int:
    number = _whole(hint, tokens)
    if not 0 < number <= MAX_INTEGER:
        raise ValueError(f'"{number}" is not an id; ids are positive whole numbers')
    return number


def _requests(hint: object, tokens: Sequence[Token]) -> int:
    number = _whole(hint, tokens)
    if number < 1:
        raise ValueError(f'"{number}" is not a number of requests; 1 is the least')
    return number


def _slots(hint: object, tokens: Sequence[Token]) -> int:
    number = _whole(hint, tokens)
    if number < 0:
        raise ValueError(f'"{number}" is not a number of requests to leave free; 0 is the least')
    return number


def _seconds(_: object, tokens: Sequence[Token]) -> float:
    text = tokens[0].value
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f'"{text}" is not a positive number of seconds')
    return seconds


def _day(_: object, tokens: Sequence[Token]) -> dt.date:
    """Read a day, and say of each mistake what it is."""
    text = tokens[0].value.strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text} is not a date; {_nearest(text)}") from None
    if found := re.match(r"(\d{4}-\d{2}-\d{2})[T ]?\d", text, re.ASCII):
        raise ValueError(f'expected a date without a time, such as {found[1]}, not "{text}"')
    if re.fullmatch(r"\d+([-/.]\d+){2}|\d{8}", text, re.ASCII):
        raise ValueError(f'"{text}" is not written as YYYY-MM-DD, for example 2026-01-31')
    raise ValueError(f'"{text}" is not a date; expected one in UTC, such as 2026-01-31')


def _nearest(text: str) -> str:
    """Say of a day that does not exist where its month or its year begins or ends."""
    year, month, day = map(int, text.split("-"))
    if year < dt.MINYEAR:
        return "a year is needed such as 2026"
    if not 1 <= month <= _MONTHS:
        return f"months are 01 to 12, for example {year:04}-12-31"
    _, last = calendar.monthrange(year, month)
    if not day:
        return f"that month begins on {year:04}-{month:02}-01"
    return f"that month ends on {year:04}-{month:02}-{last}"


def _local(_: object, tokens: Sequence[Token]) -> Path:
    """Read a path on this machine; what means another place must not become a folder here."""
    text = tokens[0].value
    if not text.strip():
        raise ValueError('the path is empty; give "." for the current folder')
    if text == "-":
        raise ValueError("files are written to a folder, not to stdout; for one called -, give ./-")
    if found := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ValueError(f"{found[0]} is not supported; give a path on this machine")
    path = Path(text)
    # `Path` makes `-` of `./-`, which the library takes for stdout.
    return path.absolute() if path == Path("-") else path


# cyclopts itself rounds 5.7 to 6, and takes 0x10 and 1_0.
Whole: TypeAlias = Annotated[int, Parameter(converter=_whole)]
Id: TypeAlias = Annotated[int, Parameter(converter=_id)]
Requests: TypeAlias = Annotated[int, Parameter(converter=_requests)]
Slots: TypeAlias = Annotated[int, Parameter(converter=_slots)]
Seconds: TypeAlias = Annotated[float, Parameter(converter=_seconds)]
Day: TypeAlias = Annotated[dt.date, Parameter(converter=_day)]
LocalPath: TypeAlias = Annotated[Path, Parameter(converter=_local, allow_leading_hyphen=True)]


def check_span(date_from: dt.date | None, date_to: dt.date | None) -> None:
    """Check that a range of days has any.

    Raises:
        ValueError: It ends before it begins.
    """
    if date_from and date_to and date_from > date_to:
        raise ValueError(f"--date-from {date_from} is after --date-to {date_to}")


@Parameter(name="*", group=STORE)
@frozen(kw_only=True)
class Connection:
    """Which store to read, and how.

    Args:
        sandbox: Read a made-up store, started for this one command; it needs no key.
        api_key: The store's API key; better set in DEVSKIN_API_KEY, where no one else sees it.
        base_url: The API's address; by default DEVSKIN_BASE_URL, or else the real API.
        proxy: A proxy's address; by default HTTPS_PROXY, unless NO_PROXY names the host.
        timeout: Seconds for one attempt on the wire.
        budget: machine, process or valkey://host:port; by default DEVSKIN_BUDGET or machine.
        rate_limit: Requests a minute of all processes; by default DEVSKIN_RATE_LIMIT, or 100.
        reserve: Requests a minute that bulk work leaves free; by default as said above.
    """

    sandbox: Annotated[bool, Flag] = False
    api_key: str | None = None
    base_url: str | None = None
    proxy: str | None = None
    timeout: Seconds = 30.0
    budget: Annotated[str | None, Parameter(group=RATE)] = None
    rate_limit: Annotated[Requests | None, Parameter(group=RATE)] = None
    reserve: Annotated[Slots | None, Parameter(group=RATE)] = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key, by an option or in the environment."""
        key = os.environ.get("DEVSKIN_API_KEY", "") if self.api_key is None else self.api_key
        return bool(key.strip())

    @property
    def limit(self) -> RateLimit:
        """The limit to keep, with a reserve that depends on the other processes by default.

        Raises:
            ValueError: The environment has none that could be kept, or all of it is reserved.
        """
        requests = self.rate_limit or _rate_limit_of_environment() or RateLimit().requests
        if self.reserve is not None and self.reserve >= requests:
            raise ValueError(
                f"--reserve {self.reserve} leaves bulk work none of the {requests} requests a "
                f"minute; give less than {requests}"
            )
        return RateLimit(requests, burst=requests, reserve=self.reserve)


DEFAULTS = Connection()


def _rate_limit_of_environment() -> int | None:
    text = os.environ.get("DEVSKIN_RATE_LIMIT", "").strip()
    try:
        return _requests(None, [Token(value=text)]) if text else None
    except ValueError as error:
        raise ValueError(
            f"DEVSKIN_RATE_LIMIT: {error}; set it to the requests a minute, such as 60"
        ) from None


# Somebody waits for a table; an export may as well sit a longer trouble out.
IMPATIENT = Retry(attempts=4)
PATIENT = Retry()


@asynccontextmanager
async def open_store(
    connection: Connection, retry: Retry = IMPATIENT, waits: Waits | None = None
) -> AsyncIterator[DevSkinClient]:
    """Open the store that the options name, the sandbox's included.

    Args:
        connection: The options.
        retry: How often what failed is tried again.
        waits: Tells what requests wait for; None makes one.

    Yields:
        A client that is closed afterwards.

    Raises:
        ConfigurationError: There is no key, or the sandbox is not installed.
        ValueError: An option is wrong, or two contradict each other.
    """
    waits = waits or Waits(stderr())
    async with AsyncExitStack() as stack:
        stack.enter_context(ended_by_signals())
        if connection.sandbox:
            if connection.api_key is not None or connection.base_url is not None:
                raise ValueError("--sandbox brings its own address and key: leave yours out")
            with needing_extra("sandbox"):
                from ..sandbox import Sandbox
            box = await stack.enter_async_context(Sandbox())
            connection = evolve(
                connection,
                api_key=box.api_key,
                base_url=box.base_url,
                # Nobody else can use that store.
                budget=PROCESS if connection.budget is None else connection.budget,
            )
        client = await stack.enter_async_context(_client(connection, retry, waits))
        with _naming_what_was_given(connection), waits.warning():
            client.budget  # noqa: B018  # is opened here, where its address may be of no use
        await stack.enter_async_context(waits.telling(client))
        yield client


def _client(connection: Connection, retry: Retry, waits: Waits) -> DevSkinClient:
    """Make a client; where that refuses a value, name it as it was given."""
    given = connection.api_key
    if not connection.has_key:
        if given is not None:
            raise ValueError("--api-key must not be empty")
        raise ConfigurationError(
            "no API key: set DEVSKIN_API_KEY, or try it without one: --sandbox"
        )
    with _naming_what_was_given(connection):
        return DevSkinClient(
            given,
            base_url=connection.base_url,
            proxy=connection.proxy,
            budget=connection.budget,
            timeout=connection.timeout,
            retry=retry,
            rate_limit=connection.limit,
            on_event=waits.heard,
        )


@contextmanager
def _naming_what_was_given(connection: Connection) -> Iterator[None]:
    """Name in an error the option or the variable that the wrong value came from."""
    try:
        yield
    except ConfigurationError as error:
        raise _named_as_given(error, connection) from None


def _named_as_given(error: ConfigurationError, connection: Connection) -> Exception:
    text = str(error)
    for subject, option, variable, given in (
        ("the API key", "--api-key", "DEVSKIN_API_KEY", connection.api_key),
        ("base_url", "--base-url", "DEVSKIN_BASE_URL", connection.base_url),
        ("The budget's address", "--budget", "DEVSKIN_BUDGET", connection.budget),
        ("budget", "--budget", "DEVSKIN_BUDGET", connection.budget),
        ("proxy", "--proxy", "", connection.proxy),
    ):
        if text.startswith(f"{subject} "):
            return ValueError((variable if given is None else option) + text.removeprefix(subject))
    # Of the proxy's variables, the one that was read is named already.
    return ValueError(text) if re.match("(https|all)_proxy ", text, re.IGNORECASE) else error
