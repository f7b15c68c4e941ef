"""The script of a budget on a real server, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import msgspec

from devskin_async.ratelimit.reports import Reply, Report
from devskin_async.ratelimit.state import BudgetState, loads
from devskin_async.ratelimit.valkey_link import SCRIPT

from .valkey_server import ValkeyProcess

OLD = "run_id:abc\r\nuptime_in_seconds:100000"
"""What a server says that runs for long enough to have forgotten nothing."""


def _replaced(script: str, old: str, new: str) -> str:
    assert script.count(old) == 1
    return script.replace(old, new)


_SCRIPT = SCRIPT
for _old, _new in (
    ("redis.call('TIME')", "cmsgpack.unpack(ARGV[3])"),
    ("time[1] + time[2] / 1000000", "time"),
    ("time[1] * 1000000 + time[2]", "math.floor(time * 1000000) + 2 * ARGV[2]"),  # passes
    ("redis.call('INFO', 'server')", "ARGV[4]"),
):
    _SCRIPT = _replaced(_SCRIPT, _old, _new)

_names = count()
_calls = count(1)


class ScriptStore:
    """A budget on a server, by its script; see `store.Store`."""

    where = "valkey"
    immediate = True
    report_within = 0.0
    steps = 0

    def __init__(
        self, server: ValkeyProcess, clock: Callable[[], float], key: str | None = None
    ) -> None:
        self.key = key or f"{{devskin:test{next(_names)}}}"
        self.info = OLD
        self._server = server
        self._clock = clock
        self._evaluate = server.client.register_script(_SCRIPT)
        self._state = BudgetState(epoch=0)

    def exchange(self, report: Report) -> Reply:
        encode = msgspec.msgpack.encode
        args = [encode(report), next(_calls), encode(self._clock()), self.info]
        reply, state, _ = self._evaluate(keys=[self.key], args=args)
        self._state = loads(state)
        return msgspec.msgpack.decode(reply, type=Reply)

    def view(self) -> tuple[BudgetState, float]:
        return self._state.copy(), self._clock()

    def lose(self) -> None:
        self._server.client.delete(self.key)

    async def aclose(self) -> None:
        pass
