"""A store of many orders that costs next to nothing to serve.

It runs as `python -m benchmarks.page_server ORDERS`.
All rows stand encoded in one block, the newest first, so that a page is a slice of it. It knows
what an export of orders asks for: `/orders` with page, limit, date_from and date_to (inclusive),
and `/revenue`; and one order, `/orders/{id}`. No key is checked. With `--limit` it has the rule of
a fixed window, and refuses by a bare 429; `/counts` tells how many requests there were and how many
it refused. With `--latency` an answer comes so many seconds after its request. It prints its port
and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import random
import sys
from array import array
from bisect import bisect_left
from itertools import accumulate
from urllib.parse import parse_qs, urlsplit

from devskin_async.sandbox.generate import (
    HOUR_WEIGHTS,
    SETTLED_STATUSES,
    SPAN_DAYS,
    WEEKDAY_WEIGHTS,
)

COUNTED = ("paid", "shipped", "completed")
ORDER = (
    b'{"success":true,"data":{"order":{"id":%d,"order_number":"ORD-2026-001234","status":"paid",'
    b'"total":199.90,"subtotal":189.90,"shipping_cost":10.00,"discount":0,'
    b'"customer_name":"John Doe","customer_email":"john@example.com","items":[{"product_id":42,'
    b'"name":"Premium Widget","quantity":2,"price":94.95}],"shipping_address":'
    b'{"street":"123 Main St","city":"Sao Paulo","state":"SP","zip":"01310-100"},'
    b'"created_at":"2026-02-10T14:30:00.000Z","updated_at":"2026-02-10T15:00:00.000Z"}}}'
)
REFUSAL = b'{"success":false,"error":"Too many requests"}'
FIRST_NAMES = ("Ana", "João", "Márcia", "Pedro", "Luíza", "Antônio", "Beatriz", "Caio")
LAST_NAMES = ("Silva", "Souza", "Araújo", "Gonçalves", "Lima", "Conceição", "Rocha", "Prado")


class Store:
    """The orders, and where each page of them begins.

    Orders lie in the two years before today as the sandbox's do: more each month, and more at
    weekends.

    Args:
        orders: How many there are.
        seed: The same seed, number and day give the same orders.
    """

    def __init__(self, orders: int, seed: int = 1) -> None:
        rng = random.Random(seed)
        self._today = dt.datetime.now(dt.UTC).date().toordinal()
        first = self._today - SPAN_DAYS
        span = range(first, self._today)
        weights = [
            WEEKDAY_WEIGHTS[(day - 1) % 7] * (0.4 + 1.6 * (day - first) / SPAN_DAYS) for day in span
        ]
        days = sorted(rng.choices(span, weights, k=orders), reverse=True)
        hours = rng.choices(range(24), HOUR_WEIGHTS, k=orders)
        statuses = rng.choices(list(SETTLED_STATUSES), list(SETTLED_STATUSES.values()), k=orders)
        # By age, the newest first: within a day by the hour, then by minutes that fall.
        times = sorted(
            (
                (day * 24 + hour) * 3600 + rng.randrange(3600)
                for day, hour in zip(days, hours, strict=True)
            ),
            reverse=True,
        )
        self._ages = array("l", [-(time // 86_400) for time in times])
        self._revenue: dict[int, list[int]] = {}
        rows = [
            self._row(orders - index, time, status, rng)
            for index, (time, status) in enumerate(zip(times, statuses, strict=True))
        ]
        self._block = b",".join(rows)
        self._starts = array("l", accumulate((len(row) + 1 for row in rows), initial=0))

    def _row(self, number: int, time: int, status: str, rng: random.Random) -> bytes:
        day, second = divmod(time, 86_400)
        cents = rng.randrange(1_990, 250_000)
        if status in COUNTED:
            counted = self._revenue.setdefault(day, [0, 0])
            counted[0] += cents
            counted[1] += 1
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        at = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        date = dt.date.fromordinal(day)
        return (
            f'{{"id":{number},"order_number":"ORD-{date.year}-{number:06}","status":"{status}",'
            f'"total":{cents // 100}.{cents % 100:02},"customer_name":"{first} {last}",'
            f'"customer_email":"customer.{number % 50_000}@example.com",'
            f'"created_at":"{date}T{at}.000Z"}}'
        ).encode()

    def answer(self, target: str) -> bytes:
        """Answer a request with the envelope.

        Args:
            target: The path and the query.
        """
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path.endswith("/orders"):
            return self._orders(query)
        if "/orders/" in url.path:
            return ORDER % int(url.path.rpartition("/")[2])
        if url.path.endswith("/revenue"):
            return self._year()
        raise ValueError(f"there is no {target}")

    def _orders(self, query: dict[str, str]) -> bytes:
        page, limit = int(query.get("page", 1)), int(query.get("limit", 20))
        first, last = query.get("date_from"), query.get("date_to")
        # Ages are negative ordinals, so that they rise from the newest to the oldest.
        begin = 0 if last is None else bisect_left(self._ages, -_ordinal(last))
        end = len(self._ages) if first is None else bisect_left(self._ages, 1 - _ordinal(first))
        total = max(0, end - begin)
        begin = min(begin + (page - 1) * limit, begin + total)
        end = min(begin + limit, end)
        items = self._block[self._starts[begin] : self._starts[end] - 1] if begin < end else b""
        return b'{"success":true,"data":{"items":[%b],"total":%d,"page":%d,"limit":%d}}' % (
            items,
            total,
            page,
            limit,
        )

    def _year(self) -> bytes:
        days = [(day, *self._revenue[day]) for day in sorted(self._revenue, reverse=True)]
        days = [each for each in days if each[0] > self._today - 365]
        daily = ",".join(
            f'{{"date":"{dt.date.fromordinal(day)}","total":{total / 100:.2f},"count":{count}}}'
            for day, total, count in days
        )
        total = sum(total for _, total, _ in days) / 100
        return (
            f'{{"success":true,"data":{{"period":"1y","total":{total:.2f},"daily":[{daily}]}}}}'
        ).encode()


class FixedWindow:
    """Accepts the first `limit` requests of each `per` seconds of the clock, and counts.

    Args:
        limit: How many; None accepts all.
        per: The seconds of a window.
    """

    def __init__(self, limit: int | None, per: float) -> None:
        self._limit = limit
        self._per = per
        self._window = self._taken = 0
        self.requests = self.refused = 0

    def accepts(self, now: float) -> bool:
        """Count a request."""
        self.requests += 1
        if self._limit is None:
            return True
        window = int(now // self._per)
        if window != self._window:
            self._window, self._taken = window, 0
        if self._taken < self._limit:
            self._taken += 1
            return True
        self.refused += 1
        return False


class Http(asyncio.Protocol):
    """Just as much of HTTP as a client of one's own needs: GET, and connections that stay open."""

    def __init__(self, store: Store, rule: FixedWindow, latency: float) -> None:
        self._store = store
        self._rule = rule
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        for request in requests:
            answer = self._answer(request.split(b" ", 2)[1].decode())
            if self._latency:
                self._loop.call_later(self._latency, self._send, answer)
            else:
                self._transport.write(answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    def _answer(self, target: str) -> bytes:
        rule = self._rule
        if target == "/counts":
            return http_response(b'{"requests":%d,"refused":%d}' % (rule.requests, rule.refused))
        # A request is counted half way between its sending and its answer.
        if rule.accepts(self._loop.time() + self._latency / 2):
            return http_response(self._store.answer(target))
        return http_response(REFUSAL, b"429 Too Many Requests")


def http_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


def _ordinal(day: str) -> int:
    return dt.date.fromisoformat(day).toordinal()


async def serve(orders: int, rule: FixedWindow, latency: float) -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    store = await asyncio.to_thread(Store, orders)
    server = await loop.create_server(
        lambda: Http(store, rule, latency), "127.0.0.1", 0, backlog=1024
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Make the orders and serve them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_server")
    parser.add_argument("orders", type=int)
    parser.add_argument("--limit", type=int, help="requests a window; without it all are accepted")
    parser.add_argument("--per", type=float, default=60.0, help="seconds of a window (60)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of an answer (0)")
    parser.add_argument("--core", type=int, help="the only core to run on")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    asyncio.run(serve(asked.orders, FixedWindow(asked.limit, asked.per), asked.latency))


if __name__ == "__main__":
    main()
