"""Where webhooks may go: to public and loopback addresses, unless private ones are allowed."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from devskin_async.sandbox import SandboxError, WebhookSending, endpoints
from devskin_async.sandbox.targets import RefusedTargetError, host_refusal, open_socket
from tests.sandbox.receiver import Receiver, receiving, small_store

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"]
REFUSED = {
    "10.0.0.1": "a private",
    "172.16.0.1": "a private",
    "192.168.1.1": "a private",
    "100.64.0.1": "a private",
    "169.254.169.254": "a link-local",
    "0.0.0.0": "an unspecified",
    "224.0.0.1": "a multicast",
    "240.0.0.1": "a reserved",
    "255.255.255.255": "a reserved",
    "192.0.2.1": "a private",
    "::": "an unspecified",
    "fc00::1": "a private",
    "fd00:ec2::254": "a private",
    "fe80::1": "a link-local",
    "fe80::1%eth0": "a link-local",
    "fec0::1": "a site-local",
    "ff02::1": "a multicast",
    "2001:db8::1": "a private",
    "::ffff:10.0.0.1": "a private",
    "::ffff:169.254.169.254": "a link-local",
    "::10.0.0.1": "a reserved",
    "::ffff:0:10.0.0.1": "a reserved",
    "64:ff9b::10.0.0.1": "a private",
    "64:ff9b::127.0.0.1": "a private",
    "64:ff9b:1::1": "a reserved",
    "2002:a00:1::1": "a private",
    "2001:0:1::1": "a private",
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.mark.parametrize("address", [*PUBLIC, *LOOPBACK])
def test_a_public_or_loopback_address_is_a_target(address: str) -> None:
    assert host_refusal(address) is None


@pytest.mark.parametrize(("address", "kind"), REFUSED.items())
def test_any_other_address_is_refused_by_its_kind(address: str, kind: str) -> None:
    reason = f"{address} is {kind} address, and private targets are not allowed"
    assert host_refusal(address) == reason
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(RefusedTargetError, match=r"private targets are not allowed$"):
        open_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("host", ["167772161", "0x0a000001", "012.0.0.1", "10.1"])
def test_an_address_written_otherwise_is_never_connected_to(host: str) -> None:
    with pytest.raises(RefusedTargetError, match=f"^{host} is no plain address$"):
        open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 80)))


def test_a_name_is_judged_when_it_is_connected_to() -> None:
    assert host_refusal("internal.example") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/",
        "http://[::ffff:192.168.0.1]:8080/",
    ],
)
async def test_an_endpoint_with_a_private_address_is_refused_at_once(url: str) -> None:
    async with small_store() as box:
        for add in (box.webhooks.add, box.webhooks.accept):
            with pytest.raises(SandboxError, match=r"private targets are not allowed$"):
                add(url)
        assert box.webhooks.list() == ()
    async with small_store(WebhookSending(allow_private=True)) as box:
        assert box.webhooks.add(url).url == url


async def test_one_that_another_process_added_is_given_up_without_a_connection(
    receiver: Receiver,
) -> None:
    # On most systems this address leads to the receiver; it isn't a loopback one all the same.
    url = receiver.url.replace("127.0.0.1", "0.0.0.0")
    async with small_store() as box:
        endpoints.add(box.connection, 1, url)
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    assert (delivery.state, delivery.attempts) == ("given up", 1)
    reason = "0.0.0.0 is an unspecified address, and private targets are not allowed"
    assert (delivery.status, delivery.error) == (None, reason)
    assert receiver.seen == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows connects to no such address")
async def test_a_private_address_is_posted_to_where_that_is_allowed(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "0.0.0.0")
    async with small_store(WebhookSending(allow_private=True)) as box:
        box.webhooks.add(url)
        box.live.insert()
        await box.webhooks.idle()
        assert box.webhooks.deliveries()[0].state == "delivered"
    assert len(receiver.seen) == 1


def resolving(*answers: list[str] | OSError) -> Callable[..., Any]:
    """A resolver that gives these addresses, one answer after the other."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]

    return getaddrinfo


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.7"], ["0.0.0.0"], ["::ffff:10.0.0.7"], ["10.0.0.7", "127.0.0.1"], ["fd00::7"]],
)
async def test_a_name_that_leads_to_a_private_address_is_given_up_with_the_reason(
    addresses: list[str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", resolving(addresses))
    async with small_store() as box:
        box.webhooks.add(receiver.url.replace("127.0.0.1", "shop.example"))
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    assert (delivery.state, delivery.attempts) == ("given up", 1)
    assert delivery.error is not None
    assert delivery.error.startswith(f"{addresses[0]} is a")
    assert receiver.seen == []


async def test_a_name_that_leads_elsewhere_the_second_time_is_judged_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("aiohttp.connector._DNSCacheTable.expired", lambda *_: True)
    monkeypatch.setattr(loop, "getaddrinfo", resolving(["127.0.0.1"], ["0.0.0.0"]))
    receiver.answers(500)
    async with small_store() as box:
        box.webhooks.add(receiver.url.replace("127.0.0.1", "shop.example"))
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    assert (delivery.state, delivery.attempts) == ("given up", 2)
    assert len(receiver.seen) == 1


async def test_a_name_that_is_not_found_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(loop, "getaddrinfo", resolving(unknown))
    async with small_store(WebhookSending(first_wait=0, attempts=2)) as box:
        box.webhooks.add("http://nowhere.example/")
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    told = "the name nowhere.example was not found: Name or service not known"
    assert (delivery.attempts, delivery.error) == (2, told)


async def test_a_host_of_digits_is_not_taken_for_an_address() -> None:
    async with small_store(WebhookSending(first_wait=0, attempts=2)) as box:
        box.webhooks.add("http://167772161/")
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    assert (delivery.state, delivery.status) == ("given up", None)
    assert "167772161" in (delivery.error or "")
