"""A budget on a real Valkey server, which is killed, stopped, emptied and started again."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from attrs import define, field
from valkey.exceptions import ConnectionError as NotConnectedError

from devskin_async.errors import ConfigurationError
from devskin_async.ratelimit.reports import HeldSlot, HeldSlots, Limit, Reply, Report
from devskin_async.ratelimit.store import StoreUnavailableError
from devskin_async.ratelimit.valkey import ValkeyStore
from devskin_async.ratelimit.valkey_link import ValkeyLink, translated
from devskin_async.ratelimit.valkey_url import ValkeyURL

from ..support import PATIENCE
from .valkey_server import ValkeyProcess, free_port

PER, LEASE = 0.4, 0.3
TEN = Limit(10, PER, 100, 0)


@define
class Participant:
    """Takes slots, and remembers what it holds, as a scheduler does."""

    store: ValkeyStore
    name: str = "host:1:a.1"
    limit: Limit = TEN
    lease: float = LEASE
    epoch: int = 0
    number: int = 1
    held: list[HeldSlot] = field(factory=list)

    async def exchange(self, interactive: int = 0, **news: tuple[object, ...]) -> Reply:
        reply = await self._report(interactive, news)
        if self.epoch not in (0, reply.epoch):
            self.epoch = 0
            reply = await self._report(interactive, news)
        self.epoch = reply.epoch
        for lane in reply.granted:
            self.held.append(HeldSlot(self.name, self.number, lane, self.lease))
            self.number += 1
        return reply

    async def take(self, wanted: int) -> int:
        return len((await self.exchange(wanted)).granted)

    async def take_soon(self, wanted: int) -> int:
        """Ask when the replies say, until something is granted."""
        reply = await self.exchange(wanted)
        while not reply.granted:
            await asyncio.sleep(min(reply.wait, 0.1))
            reply = await self.exchange(wanted)
        return len(reply.granted)

    async def _report(self, interactive: int, news: dict[str, tuple[object, ...]]) -> Reply:
        held = None if self.epoch or not self.held else HeldSlots(tuple(self.held), ())
        report = Report(
            participant=self.name,
            limit=self.limit,
            lease=self.lease,
            epoch=self.epoch,
            next_number=self.number,
            wants=(interactive, 0),
            held=held,
            **news,  # type: ignore[arg-type]
        )
        return await self.store.exchange(report)


@asynccontextmanager
async def opened(url: str, name: str = "budget") -> AsyncIterator[ValkeyStore]:
    store = ValkeyStore(url, name, report_within=0.0)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store(valkey: ValkeyProcess) -> AsyncIterator[ValkeyStore]:
    async with opened(valkey.url) as store:
        yield store


async def test_two_participants_share_the_slots(valkey: ValkeyProcess, store: ValkeyStore) -> None:
    async with opened(valkey.url) as other:
        one, two = Participant(store), Participant(other, "host:2:b.1")
        assert await one.take(6) == 6
        assert await two.take(6) == 4
        assert await two.take_soon(6) > 0


async def test_a_slot_is_free_per_seconds_after_the_response(store: ValkeyStore) -> None:
    one = Participant(store)
    assert await one.take(10) == 10
    reply = await one.exchange(1, answered=tuple((number, 0.0) for number in range(1, 11)))
    assert reply.granted == ()
    assert 0.9 * PER < reply.wait < 1.1 * PER


async def test_a_participant_with_a_lower_limit_counts_the_slots_of_all(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    async with opened(valkey.url) as other:
        one, two = Participant(store), Participant(other, "b.1", Limit(4, PER, 4, 0))
        assert await one.take(3) == 3
        assert await two.take(9) == 1
        assert await one.take(9) == 6


async def test_the_view_is_the_budget_as_last_seen(store: ValkeyStore) -> None:
    one = Participant(store)
    reply = await one.exchange(3)
    state, present = store.view()
    assert len(state.in_flight) == 3
    assert state.epoch == reply.epoch
    assert 0 <= present - reply.now < 60
    state.in_flight.clear()
    assert len(store.view()[0].in_flight) == 3


async def test_the_key_expires_by_itself(valkey: ValkeyProcess, store: ValkeyStore) -> None:
    await Participant(store).take(1)
    (key,) = valkey.client.keys()
    assert key == b"{devskin:budget}:1"
    assert 3600 < valkey.client.ttl(key) < 3700


async def test_budgets_of_one_loop_share_a_connection(valkey: ValkeyProcess) -> None:
    async with opened(valkey.url, "one") as one, opened(valkey.url, "two") as two:
        before = valkey.client.info("stats")["total_connections_received"]
        await asyncio.gather(*(Participant(each).take(1) for each in (one, two, one, two)))
        assert valkey.client.info("stats")["total_connections_received"] == before + 1


async def test_a_call_does_not_wait_for_the_reply_to_another(valkey: ValkeyProcess) -> None:
    slow = Limit(10, 600, 10, 0)
    async with (
        cutting_proxy(valkey.port) as proxy,
        opened(proxy.url, "one") as one,
        opened(proxy.url, "two") as two,
    ):
        proxy.withholds = True
        calls = []
        async with asyncio.timeout(PATIENCE):
            for each in (one, two):
                proxy.withheld.clear()
                calls.append(asyncio.ensure_future(Participant(each, limit=slow).exchange()))
                await proxy.withheld.wait()
        proxy.withholds = False
        await one.check()
        await asyncio.gather(*calls)
        assert proxy.connections == 1


def test_each_loop_has_its_own_connection(valkey: ValkeyProcess) -> None:
    async def take() -> int:
        async with opened(valkey.url) as store:
            return await Participant(store, f"{time.monotonic_ns()}.1").take(1)

    assert [asyncio.run(take()) for _ in range(3)] == [1, 1, 1]


async def test_another_thread_may_open_a_connection_while_closed_loops_are_forgotten(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    url = ValkeyURL.parse(valkey.url)

    class AskedLoop(asyncio.SelectorEventLoop):
        is_asked = False

        def is_closed(self) -> bool:
            if not self.is_asked:
                self.is_asked = True
                with ThreadPoolExecutor() as pool:
                    pool.submit(asyncio.run, open_one()).result()
            return super().is_closed()

    async def open_one() -> None:
        ValkeyLink.of(url)

    loop = AskedLoop()
    loop.close()
    loop.is_asked = False
    ValkeyLink._all[0, loop, url.given] = ValkeyLink((0, loop, url.given), url)
    await store.check()
    assert (0, loop, url.given) not in ValkeyLink._all


async def test_a_flushed_script_is_loaded_again(valkey: ValkeyProcess, store: ValkeyStore) -> None:
    one = Participant(store)
    await one.take(1)
    valkey.client.script_flush()
    assert await one.take(1) == 1


async def test_a_closed_connection_is_opened_again(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    one = Participant(store)
    await one.take(1)
    valkey.client.client_kill_filter(_type="normal", skipme=True)
    assert await one.take(1) == 1
    assert len(store.view()[0].in_flight) == 2


async def test_a_flushed_budget_grants_nothing_until_what_it_forgot_is_free(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    async with opened(valkey.url) as other:
        one, two = Participant(store), Participant(other, "b.1")
        assert (await one.take(4), await two.take(4)) == (4, 4)
        valkey.client.flushall()
        started = time.monotonic()
        assert await one.take(6) == 0
        assert len(store.view()[0].in_flight) == 4
        assert await two.take(6) == 0
        assert len(other.view()[0].in_flight) == 8
        await one.take_soon(6)
        assert time.monotonic() - started >= LEASE + PER


async def test_a_budget_that_is_lost_is_noticed_once_without_a_report(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    await Participant(store).take(1)
    await store.check()
    valkey.client.flushall()
    with pytest.raises(StoreUnavailableError, match="has lost the budget"):
        await store.check()
    await store.check()


async def test_a_server_that_starts_empty_grants_nothing_until_what_it_forgot_is_free(
    own_valkey: ValkeyProcess,
) -> None:
    async with opened(own_valkey.url) as store:
        one = Participant(store)
        await one.take_soon(4)
        own_valkey.kill()
        own_valkey.start()
        started = time.monotonic()
        assert await one.take(6) == 0
        assert len(store.view()[0].in_flight) == 4
        await one.take_soon(6)
        assert time.monotonic() - started >= LEASE + PER - 1  # its age is known in seconds


async def test_a_server_that_is_away_is_named_without_the_password(
    own_valkey: ValkeyProcess,
) -> None:
    url = own_valkey.url.replace("//", "//:sesame@")
    own_valkey.kill()
    async with opened(url) as store:
        assert "sesame" not in repr(store)
        with pytest.raises(StoreUnavailableError) as error:
            await Participant(store).take(1)
        assert f"valkey://127.0.0.1:{own_valkey.port}/0" in str(error.value)
        assert "sesame" not in str(error.value)
        own_valkey.start()


async def test_a_killed_server_is_used_again_when_it_is_back(own_valkey: ValkeyProcess) -> None:
    async with opened(own_valkey.url) as store:
        one = Participant(store)
        await one.take_soon(1)
        own_valkey.kill()
        with pytest.raises(StoreUnavailableError):
            await one.take(1)
        own_valkey.start()
        assert await one.take_soon(1) == 1


async def test_a_frozen_server_is_waited_for_no_longer_than_a_second(
    own_valkey: ValkeyProcess,
) -> None:
    async with opened(own_valkey.url) as store:
        one = Participant(store, limit=Limit(10, 600, 10, 0))
        await one.exchange(1)
        own_valkey.freeze()
        with pytest.raises(StoreUnavailableError, match="did not respond within 1 s"):
            await one.take(1)
        with pytest.raises(StoreUnavailableError, match="did not respond within 1 s"):
            await store.check()
        own_valkey.thaw()
        await store.check()


async def test_a_call_that_comes_late_is_not_carried_out(own_valkey: ValkeyProcess) -> None:
    # The frozen server finds the calls of two connections when it goes on, in any order.
    async with opened(own_valkey.url) as store:
        one = Participant(store)
        await one.take_soon(1)
        own_valkey.freeze()
        with pytest.raises(StoreUnavailableError):
            await one.exchange(5)
        own_valkey.thaw()
        await one.exchange(3)
        await asyncio.sleep(0)
        assert own_valkey.client.ping()
        await store.check()
        mine = len([slot for slot in store.view()[0].in_flight if slot.number < one.number])
        assert mine == len(one.held) == 4


async def test_a_lost_reply_loses_no_slots(valkey: ValkeyProcess) -> None:
    async with cutting_proxy(valkey.port) as proxy, opened(proxy.url) as store:
        one = Participant(store)
        assert await one.take(2) == 2
        proxy.cuts = 1  # the call is carried out, and its reply is lost
        assert await one.take(8) == 8
        assert len(store.view()[0].in_flight) == 10
        assert proxy.connections == 2


async def test_a_caller_that_is_cancelled_loses_no_slots(valkey: ValkeyProcess) -> None:
    async with cutting_proxy(valkey.port) as proxy, opened(proxy.url) as store:
        one = Participant(store)
        assert await one.take(2) == 2
        proxy.withholds = True
        task = asyncio.ensure_future(one.take(8))
        await proxy.withheld.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        proxy.withholds = False
        assert await one.take(8) == 8
        assert len(store.view()[0].in_flight) == 10


@pytest.mark.parametrize(
    ("password", "text"),
    [("", "refuses the user or the password, or requires them"), (":wrong@", "refuses the user")],
)
async def test_a_wrong_password_says_what_to_do(
    own_valkey: ValkeyProcess, password: str, text: str
) -> None:
    own_valkey.client.config_set("requirepass", "sesame")
    async with opened(own_valkey.url.replace("//", f"//{password}")) as store:
        with pytest.raises(ConfigurationError, match=text) as error:
            await Participant(store).take(1)
        assert "wrong" not in str(error.value)
    async with opened(own_valkey.url.replace("//", "//:sesame@")) as store:
        await Participant(store).take_soon(1)


async def test_the_error_of_a_forbidden_user_says_what_to_allow(own_valkey: ValkeyProcess) -> None:
    own_valkey.client.execute_command(
        "ACL", "SETUSER", "shop", "on", ">sesame", "~*", "+@all", "-info"
    )
    async with opened(own_valkey.url.replace("//", "//shop:sesame@")) as store:
        with pytest.raises(ConfigurationError, match="allow EVALSHA, EVAL, TIME, INFO"):
            await Participant(store).take(1)


@pytest.mark.parametrize("value", [b"\xc1", b"", b"text", b"\xdc\x00"])
async def test_a_key_of_something_else_is_an_error_that_says_to_delete_it(
    valkey: ValkeyProcess, store: ValkeyStore, value: bytes
) -> None:
    valkey.client.set("{devskin:budget}:1", value)
    with pytest.raises(ConfigurationError, match=r"under the key \{devskin:budget\}:1: delete"):
        await Participant(store).take(1)


async def test_a_key_of_another_type_is_an_error_that_says_to_delete_it(
    valkey: ValkeyProcess, store: ValkeyStore
) -> None:
    valkey.client.lpush("{devskin:budget}:1", "text")
    with pytest.raises(ConfigurationError, match=r"under the key \{devskin:budget\}:1: delete"):
        await Participant(store).take(1)
    with pytest.raises(ConfigurationError, match=r"under the key \{devskin:budget\}:1: delete"):
        await store.check()


async def test_a_node_of_a_cluster_is_an_error_that_says_what_to_do() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(b"-MOVED 3999 10.0.0.7:6379\r\n")
        writer.close()

    port = free_port()
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server, opened(f"valkey://127.0.0.1:{port}") as store:
        with pytest.raises(ConfigurationError, match="is a node of a cluster"):
            await Participant(store).take(1)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://host/0", "must begin with one of"),
        ("valkey:///0", "names no host"),
        ("valkey://host:sesame/0", "the port is not a number"),
        ("valkey://:sesame", "the port is not a number"),
        ("valkey://u:sesame#@host/0", "write / [?] # in a password as %2F %3F %23"),
        ("valkey://u:sesame/@host/0", "write / [?] # in a password as %2F %3F %23"),
        ("valkey://u:sesame?@host/0", "write / [?] # in a password as %2F %3F %23"),
        ("valkey://u:sesame[@host/0", "not written as an address"),
        ("valkey://u:1234#sesame@host/0", "nothing may follow a #"),
        ("valkey://:sesame@host/first", "number of a database"),
        ("valkey://host/0?ssl_ca_certs=x", "only valkeys:// and rediss://"),
        ("valkeys://host/0?sesame=1", "its options can be ssl_ca_certs"),
        ("valkeys://u:1234?sesame@host/0", "must be name=value"),
        ("valkeys://host/0?ssl_cert_reqs=sesame", "must be one of none, optional, required"),
    ],
)
def test_the_error_of_an_unusable_address_does_not_show_its_password(
    url: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as error:
        ValkeyStore(url, "budget", report_within=0)
    assert "valkey://localhost:6379/0" in str(error.value)
    assert "sesame" not in str(error.value)


def test_an_error_without_a_message_is_shown_by_its_name() -> None:
    error = translated(NotConnectedError(), "valkey://host:6379/0", "budget")
    assert str(error) == "valkey://host:6379/0: ConnectionError"


def test_without_valkey_py_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)
    told = r'needs valkey-py: python -m pip install "\.\[valkey\]" in a checkout'
    with pytest.raises(ConfigurationError, match=told):
        ValkeyStore("valkey://localhost", "budget", report_within=0)


@define
class Proxy:
    """Hands everything on, and can cut a connection instead of handing a reply back, or wait."""

    port: int
    cuts: int = 0
    withholds: bool = False
    withheld: asyncio.Event = field(factory=asyncio.Event)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"


@asynccontextmanager
async def cutting_proxy(server_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(free_port())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        withheld = b""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        try:
            while request := await reader.read(2**16):
                to_server.write(request)
                reply = await from_server.read(2**16)
                if proxy.cuts and reply.startswith(b"*"):
                    proxy.cuts -= 1
                    return
                withheld += reply
                if proxy.withholds:
                    proxy.withheld.set()
                    continue
                writer.write(withheld)
                withheld = b""
        except ConnectionError:
            pass
        finally:
            to_server.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", proxy.port, family=socket.AF_INET)
    async with server:
        yield proxy
