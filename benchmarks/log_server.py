"""A store behind a strict sliding log, which keeps what each program sent.

It runs as `python -m benchmarks.log_server --limit N --per SECONDS`, and has the orders of
`page_server`. Each key has a log of its own: a request is counted when it arrives, and one that is
more than the limit in the span before it is refused by a bare 429. The first segment of the path
names the program that sent it, as in `/p3/orders/17`. `/log` gives what was sent with a key, in
order: the time on this machine's monotonic clock, the program, and whether it was refused. It
prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections import defaultdict, deque

from attrs import define, field

from benchmarks.page_server import REFUSAL, Store, http_response

_KEY = re.compile(rb"\r\nX-API-Key: *([^\r]*)", re.IGNORECASE)


@define
class SlidingLog:
    """Accepts a request if fewer than `limit` were accepted in the `per` seconds before it.

    Args:
        limit: How many.
        per: The span in seconds.
        requests: When each came, from which program, and whether it was refused.
    """

    limit: int
    per: float
    requests: list[tuple[float, str, bool]] = field(factory=list)
    _accepted: deque[float] = field(factory=deque)

    def accepts(self, now: float, program: str) -> bool:
        """Count a request, and keep it."""
        while self._accepted and self._accepted[0] <= now - self.per:
            self._accepted.popleft()
        accepted = len(self._accepted) < self.limit
        if accepted:
            self._accepted.append(now)
        self.requests.append((now, program, not accepted))
        return accepted


class Http(asyncio.Protocol):
    """GET, and connections that stay open."""

    def __init__(self, store: Store, logs: defaultdict[bytes, SlidingLog], latency: float) -> None:
        self._store = store
        self._logs = logs
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        for request in requests:
            self._loop.call_later(self._latency, self._send, self._respond(request))

    def _respond(self, request: bytes) -> bytes:
        found = _KEY.search(request)
        log = self._logs[found[1] if found else b""]
        target = request.split(b" ", 2)[1].decode()
        if target == "/log":
            return http_response(json.dumps(log.requests).encode())
        if log.accepts(self._loop.time(), target.split("/", 2)[1]):
            return http_response(self._store.answer(target))
        return http_response(REFUSAL, b"429 Too Many Requests")

    def _send(self, response: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(response)


async def serve(store: Store, limit: int, per: float, latency: float) -> None:
    """Serve until the standard input ends."""
    logs = defaultdict[bytes, SlidingLog](lambda: SlidingLog(limit, per))
    server = await asyncio.get_running_loop().create_server(
        lambda: Http(store, logs, latency), "127.0.0.1", 0, backlog=1024
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Make the orders and serve them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_server")
    parser.add_argument("--orders", type=int, default=1, help="how many orders there are (1)")
    parser.add_argument("--limit", type=int, required=True, help="requests in any span")
    parser.add_argument("--per", type=float, required=True, help="seconds of the span")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of a response (0)")
    parser.add_argument("--core", type=int, help="the only core to run on")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    asyncio.run(serve(Store(asked.orders), asked.limit, asked.per, asked.latency))


if __name__ == "__main__":
    main()
