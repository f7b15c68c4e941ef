"""An export that was interrupted: it goes on where it ended, and repeats nothing."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from devskin_async import ConfigurationError, DevSkinClient
from devskin_async.export import export, reading, verify
from devskin_async.export.journal import FOLDER
from devskin_async.sandbox import Sandbox, create_store

from .killing import forking
from .stores import ALL, client_of, exported_ids, ids_in, seen, selling

KILLS = 50


async def cancelled_after(
    requests: int, box: Sandbox, store: DevSkinClient, out: Path, **options: object
) -> None:
    """Export until the sandbox has seen so many requests more, then cancel."""
    sent = box.counts.requests
    exporting = asyncio.create_task(export(store, ALL, out, **options))  # type: ignore[arg-type]  # passed on
    await seen(box, sent + requests)
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting


def asked_of(box: Sandbox, since: int) -> Counter[str]:
    return Counter(seen.path_qs for seen in list(box.requests)[since:])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }


async def test_what_was_read_is_not_asked_for_again(tmp_path: Path) -> None:
    async with selling(orders=3000, products=420, customers=350) as (box, store):
        for _ in range(6):
            await cancelled_after(12, box, store, tmp_path / "broken")
        done = await export(store, ALL, tmp_path / "broken")
        sent = box.counts.requests
        whole = await export(store, ALL, tmp_path / "whole")
        unbroken = box.counts.requests - sent
        # Ten were under way at each of the six moments, and some slices have several pages.
        assert sent - unbroken <= 6 * 10 * 4
        assert asked_of(box, 0)["/api/v1/revenue?period=1y"] <= 4
    assert done.resumed
    assert not whole.resumed
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert verify(tmp_path / "broken").problems == ()


async def test_pages_of_a_pass_are_not_asked_for_again(tmp_path: Path) -> None:
    async with selling(orders=1, products=890, customers=1) as (box, store):
        exporting = asyncio.create_task(export(store, ["products"], tmp_path))
        await seen(box, 12)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        first = box.counts.requests
        done = await export(store, ["products"], tmp_path)
        pages = {
            parse_qs(urlsplit(path).query)["page"][0]: count
            for path, count in asked_of(box, 0).items()
        }
    assert done.certificates["products"].proof == "two-pass"
    assert set(pages) == {str(number) for number in range(1, 10)}
    assert first + done.requests <= 18 + 10
    assert done.certificates["products"].sessions == 2


async def test_an_export_that_only_had_to_be_written_asks_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with selling(orders=300, products=5, customers=5) as (_, store):
        with monkeypatch.context() as patch:
            patch.setattr("devskin_async.export.run.put_in_place", _fail)
            with pytest.raises(OSError, match="pulled"):
                await export(store, ALL, tmp_path)
        done = await export(store, ALL, tmp_path)
    assert done.requests == 0
    assert done.certificates["orders"].requests > 0
    assert verify(tmp_path).problems == ()


def _fail(*_: object) -> None:
    raise OSError("somebody pulled the plug")


async def interrupted(box: Sandbox, store: DevSkinClient, out: Path) -> None:
    await cancelled_after(25, box, store, out)


async def test_what_is_too_old_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        later = reading.now() + 7 * 3600
        monkeypatch.setattr(reading, "time", SimpleNamespace(time=lambda: later))
        assert not (await export(store, ALL, tmp_path)).resumed
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


async def test_what_seems_to_be_of_the_future_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        earlier = reading.now() - 3600
        monkeypatch.setattr(reading, "time", SimpleNamespace(time=lambda: earlier))
        assert not (await export(store, ALL, tmp_path)).resumed


async def test_fresh_begins_anew(tmp_path: Path) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        done = await export(store, ALL, tmp_path, fresh=True)
    assert not done.resumed
    assert done.certificates["orders"].sessions == 1


@pytest.mark.parametrize("options", [{"status": "paid"}, {"date_from": "2026-01-01"}], ids=str)
async def test_what_was_read_for_something_else_is_of_no_use(
    options: dict[str, str], tmp_path: Path
) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path / "out")
        done = await export(store, ["orders"], tmp_path / "out", **options)  # type: ignore[arg-type]  # one of several
    assert not done.resumed


async def test_another_format_can_use_what_was_read(tmp_path: Path) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        done = await export(store, ALL, tmp_path, format="parquet")
    assert done.resumed
    assert verify(tmp_path).problems == ()


async def test_another_key_of_the_same_store_goes_on(tmp_path: Path) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        async with client_of(box, box.create_key("another")) as again:
            assert (await export(again, ALL, tmp_path)).resumed
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


@pytest.mark.parametrize("resource", ["orders", "products"])
async def test_a_key_of_another_store_is_refused(resource: str, tmp_path: Path) -> None:
    async with selling(orders=900, products=900, customers=5) as (box, store):
        exporting = asyncio.create_task(export(store, [resource], tmp_path))  # type: ignore[list-item]  # one of two
        await seen(box, 14)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        other = create_store(box.connection, "another", orders=900, products=900, customers=5)
        async with client_of(box, box.create_key("another", store_id=other)) as again:
            with pytest.raises(ConfigurationError, match="another API key") as caught:
                await export(again, [resource], tmp_path)  # type: ignore[list-item]  # one of two
            assert caught.value.__notes__ == ["pass fresh=True to start over"]
            await export(again, [resource], tmp_path, fresh=True)  # type: ignore[list-item]  # one of two
        wanted = ids_in(box, resource, f"store_id = {other}")
    assert exported_ids(tmp_path / f"{resource}.jsonl") == wanted


async def test_a_damaged_journal_is_told_and_fresh_helps(tmp_path: Path) -> None:
    async with selling(orders=2000, products=5, customers=5) as (box, store):
        await interrupted(box, store, tmp_path)
        for path in (tmp_path / FOLDER).glob("journal*"):
            path.write_bytes(b"no database at all" * 400)
        with pytest.raises(ConfigurationError, match="pass fresh=True"):
            await export(store, ALL, tmp_path)
        await export(store, ALL, tmp_path, fresh=True)
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, signal.SIGKILL)


async def test_killed_at_any_moment_an_export_ends_up_the_same(tmp_path: Path) -> None:
    rng = random.Random(4)
    out = tmp_path / "out"
    async with selling(orders=1500, products=230, customers=150) as (box, _):  # noqa: SIM117
        async with forking() as forks:
            order = {"base_url": box.base_url, "key": box.api_key, "resources": ALL}
            loop = asyncio.get_running_loop()
            began = loop.time()
            await forks.start(out=tmp_path / "whole", **order)
            assert await forks.ended() == 0
            seconds = loop.time() - began
            whole = contents(tmp_path / "whole")
            codes: Counter[int] = Counter()
            for _ in range(KILLS):
                shutil.rmtree(out, ignore_errors=True)
                pid = await forks.start(out=out, **order)
                death = loop.call_later(rng.uniform(0, seconds), kill, pid)
                codes[await forks.ended()] += 1
                death.cancel()
                await forks.start(out=out, **order)
                assert await forks.ended() == 0
                assert contents(out) == whole
                assert verify(out).problems == ()
                assert not (out / FOLDER).exists()
    assert set(codes) <= {0, -signal.SIGKILL}
    assert codes[-signal.SIGKILL] >= KILLS / 5  # on a loaded machine some end before


async def test_what_was_read_once_is_not_enough_for_twice(tmp_path: Path) -> None:
    async with selling(orders=1, products=890, customers=1) as (box, store):
        exporting = asyncio.create_task(export(store, ["products"], tmp_path, verify="once"))
        await seen(box, 6)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        done = await export(store, ["products"], tmp_path)
    assert done.certificates["products"].proof == "two-pass"
    assert not done.resumed
