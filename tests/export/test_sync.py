"""An export that is brought up to date: what it costs, what it brings over, what it refuses."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import random
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from devskin_async import ConfigurationError, DevSkinClient
from devskin_async.export import (
    Exported,
    Format,
    Progress,
    Resource,
    SliceProof,
    export,
    sync,
    verify,
)
from devskin_async.export.sync import FORMATS
from devskin_async.sandbox import Sandbox, Traffic
from devskin_async.sandbox.generate import create_store

from .serving import (
    DAY,
    NOON,
    TODAY,
    Clock,
    cancelling,
    check_cover,
    client,
    created,
    in_store,
    in_table,
    millis,
    names,
    order,
    orders_of,
    place,
    read_table,
    remove,
    set_status,
    shelved,
    shop,
    stopped_clock,
)

each_format = pytest.mark.parametrize("file_format", FORMATS)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


def recent(box: Sandbox, days: int = 29) -> list[int]:
    """The orders of the last days, the oldest first."""
    return created(box, NOON - days * DAY, NOON)


def told(done: Exported) -> tuple[SliceProof, ...]:
    return orders_of(done.certificates).slices


@each_format
async def test_the_first_sync_is_an_export_of_everything(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=450) as (box, store):
        done = await sync(store, tmp_path, format=file_format)
        assert in_table(tmp_path, file_format) == in_store(box)
    certificate = orders_of(done.certificates)
    assert (certificate.since, certificate.rows, done.unproven) == (None, 450, ())
    check_cover(certificate.slices)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("orders", "lookback"), [(0, 30), (60, 30), (450, 30), (1563, 30), (1563, 365), (5000, 30)]
)
async def test_a_sync_with_nothing_new_costs_the_pages_of_its_lookback(
    orders: int, lookback: int, seed: int, tmp_path: Path
) -> None:
    async with shop(orders=orders, seed=seed) as (box, store):
        await sync(store, tmp_path)
        before = box.counts.requests
        done = await sync(store, tmp_path, lookback=lookback * DAY)
        first = dt.datetime.combine(TODAY - lookback * DAY, dt.time(), dt.UTC)
        pages = max(1, math.ceil(len(created(box, first, NOON)) / 100))
        assert box.counts.requests - before == done.requests == pages
        assert in_table(tmp_path, "parquet") == in_store(box)


def fill(box: Sandbox, per_day: int, days: int = 30) -> None:
    """Give a store that many orders on each of the last days."""
    last = max(in_store(box))
    found = box.connection.execute("SELECT * FROM orders WHERE id = ?", (last,))
    head = [column[0] for column in found.description]
    like = dict(zip(head, found.fetchone(), strict=True))
    step = DAY / per_day
    rows = [
        {
            **like,
            "id": last + number,
            "order_number": f"ORD-{last + number:09}",
            "created_at": millis(NOON - number * step),
            "updated_at": millis(NOON - number * step),
        }
        for number in range(1, per_day * days + 1)
    ]
    marks = ", ".join(f":{name}" for name in head)
    box.connection.execute("BEGIN")
    box.connection.executemany(f"INSERT INTO orders VALUES ({marks})", rows)
    box.connection.execute("COMMIT")


@pytest.mark.parametrize(("order", "per_day"), [("newest", 250), ("oldest", 50)])
async def test_a_sync_of_a_busy_store_costs_hardly_more_than_its_pages(
    order: str, per_day: int, tmp_path: Path
) -> None:
    async with shop(orders=20, order=order) as (box, store):
        fill(box, per_day)
        await sync(store, tmp_path)
        done = await sync(store, tmp_path)
        assert in_table(tmp_path, "parquet") == in_store(box)
    pages = math.ceil(orders_of(done.certificates).distinct_ids / 100)
    assert done.requests <= pages * 1.25 + 3


@each_format
async def test_new_changed_and_removed_orders_are_brought_over(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=1000) as (box, store):
        await sync(store, tmp_path, format=file_format)
        new = [place(box, NOON - hours * dt.timedelta(hours=1)) for hours in (0, 5, 30)]
        changed, gone, *_ = recent(box)
        set_status(box, changed, "refunded")
        remove(box, gone)
        done = await sync(store, tmp_path, format=file_format)
        table = in_table(tmp_path, file_format)
        assert table == in_store(box)
    assert set(new) <= set(table)
    assert table[changed] == "refunded"
    assert gone not in table
    assert orders_of(done.certificates).rows == len(table)


async def test_an_order_that_moved_on_between_two_syncs_comes_once(tmp_path: Path) -> None:
    async with shop(orders=300) as (box, store):
        order = place(box, NOON - DAY)
        for status in ("pending", "paid", "shipped"):
            set_status(box, order, status)
            await sync(store, tmp_path)
            # Each order comes once, or else this fails.
            assert in_table(tmp_path, "parquet")[order] == status


async def test_a_change_before_the_lookback_is_seen_only_by_a_longer_one(tmp_path: Path) -> None:
    async with shop(orders=1000) as (box, store):
        await sync(store, tmp_path)
        changed, removed, *_ = created(box, NOON - 60 * DAY, NOON - 50 * DAY)
        old = in_store(box)[changed]
        set_status(box, changed, "refunded")
        remove(box, removed)
        await sync(store, tmp_path)
        table = in_table(tmp_path, "parquet")
        assert (table[changed], removed in table) == (old, True)
        await sync(store, tmp_path, lookback=65 * DAY)
        assert in_table(tmp_path, "parquet") == in_store(box)


async def test_without_a_lookback_only_what_is_new_is_sure_to_come(
    tmp_path: Path, clock: Clock
) -> None:
    async with shop(orders=450) as (box, store):
        await sync(store, tmp_path)
        clock.at += 3 * DAY
        new = place(box, clock.at - dt.timedelta(hours=70))
        done = await sync(store, tmp_path, lookback=dt.timedelta(0))
        assert new in in_table(tmp_path, "parquet")
    assert orders_of(done.certificates).since == TODAY


async def test_a_negative_lookback_is_refused_before_anything_is_sent(
    box: Sandbox, store: DevSkinClient, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="lookback must not be negative"):
        await sync(store, tmp_path, lookback=-DAY)
    assert box.counts.requests == 0


async def test_a_lookback_beyond_the_calendar_is_all_there_is(tmp_path: Path) -> None:
    async with shop(orders=50) as (box, store):
        await sync(store, tmp_path)
        for order in [*in_store(box)][:5]:
            set_status(box, order, "refunded")
        await sync(store, tmp_path, lookback=dt.timedelta.max)
        assert in_table(tmp_path, "parquet") == in_store(box)


async def test_an_order_removed_on_the_second_day_of_the_lookback_is_removed(
    tmp_path: Path, clock: Clock
) -> None:
    async with shop(orders=450) as (box, store):
        order = place(box, NOON - DAY + dt.timedelta(hours=3))
        await sync(store, tmp_path)
        clock.at += DAY
        remove(box, order)
        await sync(store, tmp_path, lookback=2 * DAY)
        assert in_table(tmp_path, "parquet") == in_store(box)


@pytest.mark.parametrize(
    ("zone", "date_to", "order"),
    [
        ("UTC", "inclusive", "newest"),
        ("Pacific/Kiritimati", "inclusive", "oldest"),
        ("Pacific/Kiritimati", "exclusive", "newest"),
        ("Pacific/Niue", "inclusive", "newest"),
        ("Pacific/Niue", "exclusive", "oldest"),
    ],
)
async def test_a_month_of_syncs_follows_a_store_wherever_its_days_begin(
    zone: str, date_to: str, order: str, tmp_path: Path, clock: Clock
) -> None:
    rng = random.Random(f"{zone} {date_to} {order}")
    lookback = 6 * DAY
    async with shop(orders=400, time_zone=zone, date_to=date_to, order=order) as (box, store):
        await sync(store, tmp_path)
        for _ in range(6):
            last = clock.at
            clock.at += rng.uniform(0.1, 5) * DAY
            for _ in range(rng.randrange(30)):
                place(box, rng.uniform(0, 1) * (clock.at - last) + last)
            # The lookback counts from the last sync; where its days begin, a day is not sure.
            young = created(box, last - lookback + 2 * DAY, clock.at)
            for number, each in enumerate(rng.sample(young, len(young) // 4)):
                if number % 3:
                    set_status(box, each, rng.choice(["paid", "shipped", "cancelled"]))
                else:
                    remove(box, each)
            done = await sync(store, tmp_path, lookback=lookback)
            assert in_table(tmp_path, "parquet") == in_store(box)
            assert done.unproven == ()


async def test_a_small_store_that_grows_loses_nothing_where_date_to_is_exclusive(
    tmp_path: Path,
) -> None:
    async with shop(orders=50, date_to="exclusive") as (box, store):
        await sync(store, tmp_path)
        fill(box, 250, days=4)
        done = await sync(store, tmp_path)
        assert done.unproven == ()
        assert in_table(tmp_path, "parquet") == in_store(box)


@each_format
async def test_other_resources_are_read_whole_and_other_tables_stay(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=150) as (box, store):
        await sync(store, tmp_path, ["orders", "customers"], format=file_format)
        customers = read_table(tmp_path, file_format, "customers")
        box.connection.execute("UPDATE customers SET name = 'Somebody else'")
        box.connection.execute("UPDATE products SET name = 'A thing'")
        set_status(box, min(in_store(box)), "refunded")
        done = await sync(store, tmp_path, ["products"])
    assert {row["name"] for row in read_table(tmp_path, file_format, "products")} == {"A thing"}
    assert read_table(tmp_path, file_format, "customers") == customers
    assert "refunded" not in in_table(tmp_path, file_format).values()
    assert set(done.manifest.resources) == {"orders", "customers", "products"}
    assert set(done.certificates) == {"products"}
    assert verify(tmp_path).problems == ()


@each_format
async def test_orders_after_a_sync_of_other_resources_still_know_when_they_were_read(
    file_format: Format, tmp_path: Path, clock: Clock
) -> None:
    async with shop(orders=150) as (box, store):
        await sync(store, tmp_path, format=file_format)
        clock.at += 40 * DAY
        place(box, clock.at - 39 * DAY)
        await sync(store, tmp_path, ["customers"])
        done = await sync(store, tmp_path, lookback=DAY)
        assert in_table(tmp_path, file_format) == in_store(box)
    assert orders_of(done.certificates).since == TODAY - DAY


@each_format
async def test_without_a_format_it_takes_what_stands_there(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=50) as (_, store):
        await sync(store, tmp_path, format=file_format)
        before = names(tmp_path)
        done = await sync(store, tmp_path)
    assert (done.manifest.format, names(tmp_path)) == (file_format, before)


async def test_without_a_format_and_an_export_it_writes_parquet(tmp_path: Path) -> None:
    async with shop(orders=50) as (_, store):
        await sync(store, tmp_path)
    assert names(tmp_path) == {"orders.parquet", "manifest.json"}


async def test_fresh_without_a_format_takes_what_stands_there(tmp_path: Path) -> None:
    async with shop(orders=50) as (_, store):
        await sync(store, tmp_path, format="sqlite")
        done = await sync(store, tmp_path, fresh=True)
    assert done.manifest.format == "sqlite"


@pytest.mark.parametrize(
    ("before", "asked"), [("duckdb", "parquet"), ("jsonl", None), ("csv", "sqlite")]
)
async def test_an_export_in_another_format_is_refused(
    before: Format, asked: Format | None, tmp_path: Path
) -> None:
    async with shop(orders=50) as (box, store):
        await export(store, ["orders"], tmp_path, format=before)
        stood, requests = names(tmp_path), box.counts.requests
        with pytest.raises(ConfigurationError, match=rf"as {before}, .*--fresh"):
            await sync(store, tmp_path, format=asked)
        assert (names(tmp_path), box.counts.requests) == (stood, requests)


async def test_a_format_that_can_not_be_synced_is_refused(tmp_path: Path) -> None:
    async with shop(orders=50) as (_, store):
        with pytest.raises(ValueError, match="format must be one of parquet, duckdb, sqlite"):
            await sync(store, tmp_path, format="jsonl")


async def test_an_export_of_another_api_is_refused(tmp_path: Path) -> None:
    async with shop(orders=50) as (_, store), shop(orders=50, seed=2) as (_, other):
        await sync(store, tmp_path)
        before = (tmp_path / "orders.parquet").read_bytes()
        with pytest.raises(ConfigurationError, match=r"an export of http.*--fresh"):
            await sync(other, tmp_path)
        assert (tmp_path / "orders.parquet").read_bytes() == before


async def test_an_export_of_another_keys_store_is_refused(tmp_path: Path) -> None:
    async with shop(orders=450) as (box, store):
        other = create_store(
            box.connection, "other", orders=450, products=5, customers=5, seed=2, today=TODAY
        )
        await sync(store, tmp_path)
        async with client(box, box.create_key("other", store_id=other)) as second:
            with pytest.raises(ConfigurationError, match="--fresh"):
                await sync(second, tmp_path)


async def test_another_key_of_the_same_store_goes_on(tmp_path: Path) -> None:
    async with shop(orders=450) as (box, store):
        await sync(store, tmp_path)
        async with client(box, box.create_key("new")) as second:
            await sync(second, tmp_path)
        assert in_table(tmp_path, "parquet") == in_store(box)


@pytest.mark.parametrize("what", ["status", "date_from", "date_to"])
async def test_an_export_of_some_orders_is_refused_or_made_whole(what: str, tmp_path: Path) -> None:
    async with shop(orders=450) as (box, store):
        day = TODAY - 200 * DAY
        if what == "status":
            await export(store, ["orders"], tmp_path, format="parquet", status="paid")
        elif what == "date_from":
            await export(store, ["orders"], tmp_path, format="parquet", date_from=day)
        else:
            await export(store, ["orders"], tmp_path, format="parquet", date_to=day)
        try:
            await sync(store, tmp_path)
        except ConfigurationError:
            return
        assert in_table(tmp_path, "parquet") == in_store(box)


@each_format
async def test_an_export_with_details_is_refused_and_stays(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=20) as (_, store):
        await export(store, ["orders"], tmp_path, format=file_format, details=True)
        with pytest.raises(ConfigurationError, match=r"with order details.*--fresh"):
            await sync(store, tmp_path)
    assert verify(tmp_path).problems == ()
    assert len(read_table(tmp_path, file_format, "order_items")) > 0


@each_format
async def test_fresh_writes_everything_anew(file_format: Format, tmp_path: Path) -> None:
    async with shop(orders=300) as (box, store):
        await sync(store, tmp_path, format=file_format)
        remove(box, min(in_store(box)))
        done = await sync(store, tmp_path, format=file_format, fresh=True)
        assert in_table(tmp_path, file_format) == in_store(box)
    assert orders_of(done.certificates).since is None


async def test_fresh_writes_over_another_format_and_another_api(tmp_path: Path) -> None:
    async with shop(orders=50) as (_, store), shop(orders=60, seed=2) as (box, other):
        await sync(store, tmp_path, format="sqlite")
        done = await sync(other, tmp_path, format="parquet", fresh=True)
        assert in_table(tmp_path, "parquet") == in_store(box)
    assert done.manifest.base_url == box.base_url


@each_format
async def test_a_cancelled_sync_leaves_the_file_and_the_next_one_goes_on(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=1500) as (box, store):
        await sync(store, tmp_path, format=file_format)
        stood = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        fill(box, 20, days=60)
        for after in (1, 3):
            task = asyncio.create_task(_cancelled(store, tmp_path, after))
            with pytest.raises(asyncio.CancelledError):
                await task
            for name, data in stood.items():
                assert (tmp_path / name).read_bytes() == data
            assert verify(tmp_path).unfinished
        await sync(store, tmp_path, lookback=100 * DAY)
        assert in_table(tmp_path, file_format) == in_store(box)
    assert names(tmp_path) == set(stood)


async def _cancelled(store: DevSkinClient, out: Path, after: int) -> None:
    await sync(store, out, lookback=100 * DAY, on_progress=cancelling(after))


async def test_what_was_read_whole_is_not_asked_for_again(tmp_path: Path) -> None:
    both: tuple[Resource, ...] = ("orders", "products")
    async with shop(orders=300, products=250) as (box, store):
        await sync(store, tmp_path, both)
        task = asyncio.create_task(_stopped_in_products(store, tmp_path, both))
        with pytest.raises(asyncio.CancelledError):
            await task
        before = len(box.requests)
        done = await sync(store, tmp_path, both)
    assert done.resumed
    assert not any("/orders" in each.path_qs for each in [*box.requests][before:])


async def _stopped_in_products(store: DevSkinClient, out: Path, both: tuple[Resource, ...]) -> None:
    task = asyncio.current_task()
    assert task is not None

    def tell(progress: Progress) -> None:
        # Orders are read before the products' second page.
        if progress.resource == "products" and progress.rows > 100:
            task.cancel()

    await sync(store, out, both, on_progress=tell)


_KILLED = """
import asyncio, os, pathlib, signal, sys
from devskin_async import DevSkinClient
from devskin_async.export import sync

told = 0

def tell(progress):
    global told
    told += 1
    if told == 2:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    url, key, out = sys.argv[1:]
    async with DevSkinClient(key, base_url=url) as store:
        await sync(store, pathlib.Path(out), on_progress=tell)

asyncio.run(main())
"""


async def test_a_killed_sync_leaves_the_file_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with shop(orders=1500) as (box, store):
        await sync(store, tmp_path)
        stood = (tmp_path / "orders.parquet").read_bytes()
        new = place(box, NOON)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _KILLED, box.base_url, box.api_key, str(tmp_path)
        )
        assert await process.wait() == -signal.SIGKILL
        assert (tmp_path / "orders.parquet").read_bytes() == stood
        await sync(store, tmp_path)
        assert in_table(tmp_path, "parquet")[new] == "pending"
        assert in_table(tmp_path, "parquet") == in_store(box)


@each_format
async def test_where_the_file_was_deleted_everything_is_exported(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=300) as (box, store):
        done = await sync(store, tmp_path, format=file_format)
        (tmp_path / done.manifest.files[0].name).unlink()
        done = await sync(store, tmp_path)
        assert in_table(tmp_path, file_format) == in_store(box)
    assert orders_of(done.certificates).since is None


@each_format
async def test_a_damaged_file_is_refused_and_stays(file_format: Format, tmp_path: Path) -> None:
    async with shop(orders=300) as (_, store):
        done = await sync(store, tmp_path, format=file_format)
        path = tmp_path / done.manifest.files[0].name
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ConfigurationError, match=r"can't be merged into.*--fresh"):
            await sync(store, tmp_path)
    assert path.stat().st_size == 1000


@each_format
async def test_the_certificate_tells_what_was_read_anew_and_the_files_are_as_it_says(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=1000) as (box, store):
        await sync(store, tmp_path, format=file_format)
        place(box, NOON)
        done = await sync(store, tmp_path)
    certificate = orders_of(done.certificates)
    assert certificate.since == TODAY - 30 * DAY
    assert certificate.rows == len(in_table(tmp_path, file_format)) == 1001
    assert (done.unproven, certificate.duplicates) == ((), 0)
    checked = verify(tmp_path)
    assert (checked.problems, checked.unfinished, checked.manifest) == ((), False, done.manifest)


async def test_after_a_sync_the_slices_cover_all_days(tmp_path: Path) -> None:
    async with shop(orders=450) as (_, store):
        check_cover(told(await sync(store, tmp_path)))
        for days in (30, 90, 20):
            check_cover(told(await sync(store, tmp_path, lookback=days * DAY)))


async def test_an_export_of_several_slices_is_not_told_to_be_one_answer(tmp_path: Path) -> None:
    async with shop(orders=450) as (_, store):
        await sync(store, tmp_path)
        certificate = orders_of((await sync(store, tmp_path)).certificates)
    assert len(certificate.slices) > 1
    assert certificate.proof == "sliced"


async def test_days_that_were_not_proven_stay_so_until_they_are_read_again(tmp_path: Path) -> None:
    async with shop(orders=450) as (_, store):
        await sync(store, tmp_path)
        path = tmp_path / "manifest.json"
        manifest = json.loads(path.read_bytes())
        orders = manifest["resources"]["orders"]
        orders["proof"] = orders["slices"][0]["proof"] = "unproven"
        path.write_text(json.dumps(manifest))
        done = await sync(store, tmp_path)
    assert done.unproven == (f"orders from the beginning to {orders['slices'][0]['last']}",)


async def test_nothing_that_was_there_throughout_is_lost_without_a_sign_amid_traffic(
    tmp_path: Path,
) -> None:
    traffic = Traffic(inserts=100, changes=300, removals=100)
    async with shop(orders=2000, traffic=traffic) as (box, store):
        await sync(store, tmp_path)
        for _ in range(3):
            before = in_store(box)
            done = await sync(store, tmp_path, lookback=60 * DAY)
            after = in_store(box)
            table = in_table(tmp_path, "parquet")
            stayed = before.keys() & after.keys()
            assert stayed <= table.keys() or done.unproven
            young = set(created(box, NOON - 59 * DAY, NOON + DAY)) & stayed & table.keys()
            unmoved = [order for order in young if before[order] == after[order]]
            assert unmoved
            assert [table[order] for order in unmoved] == [after[order] for order in unmoved]


async def test_an_unproven_sync_removes_nothing(tmp_path: Path) -> None:
    rows = {number: order(number, day="2026-03-09") for number in range(1, 200)}
    async with shelved(orders=rows.values()) as (shelf, store):
        await sync(store, tmp_path)
        shelf.lists = {"orders": [row for number, row in rows.items() if number != 150]}
        shelf.hidden = [rows[150]]
        done = await sync(store, tmp_path)
    assert done.unproven
    assert in_table(tmp_path, "parquet").keys() == rows.keys()


@each_format
async def test_the_same_store_gives_the_same_table_by_sync_and_by_export(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=700) as (box, store):
        await sync(store, tmp_path / "synced", format=file_format)
        for order in recent(box)[::3]:
            set_status(box, order, "completed")
        place(box, NOON)
        await sync(store, tmp_path / "synced")
        await export(store, ["orders"], tmp_path / "new", format=file_format)
    synced, new = (
        sorted(read_table(tmp_path / name, file_format), key=lambda row: int(row["id"]))
        for name in ("synced", "new")
    )
    assert synced == new


async def test_an_export_that_failed_before_its_manifest_leaves_the_table_as_it_was(
    tmp_path: Path,
) -> None:
    (tmp_path / "a file").touch()
    out = tmp_path / "out"
    async with shop(orders=450) as (box, store):
        await sync(store, out)
        with pytest.raises(NotADirectoryError):
            await export(
                store, ["orders"], out, format="parquet", status="paid", rejects=tmp_path / "a file"
            )
        await sync(store, out)
        assert in_table(out, "parquet") == in_store(box)


async def test_a_sync_that_ended_before_its_manifest_knows_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("somebody pulled the plug")

    async with shop(orders=450) as (box, store):
        await sync(store, tmp_path)
        place(box, NOON)
        with monkeypatch.context() as patch:
            patch.setattr("devskin_async.export.run.write_manifest", fail)
            with pytest.raises(OSError, match="pulled"):
                await sync(store, tmp_path)
        await sync(store, tmp_path)
        assert in_table(tmp_path, "parquet") == in_store(box)
    assert verify(tmp_path).problems == ()


async def test_a_table_that_lost_rows_since_is_refused(tmp_path: Path) -> None:
    async with shop(orders=450) as (_, store):
        await sync(store, tmp_path, format="sqlite")
        with closing(sqlite3.connect(tmp_path / "export.sqlite")) as database:
            database.execute("DELETE FROM orders WHERE id < 100")
            database.commit()
        with pytest.raises(ConfigurationError, match=r"was changed since manifest\.json.*--fresh"):
            await sync(store, tmp_path)


async def test_a_database_that_somebody_has_open_is_not_replaced(tmp_path: Path) -> None:
    async with shop(orders=50) as (box, store):
        await sync(store, tmp_path, format="sqlite")
        with closing(sqlite3.connect(tmp_path / "export.sqlite")) as reader:
            reader.execute("PRAGMA journal_mode = WAL")
            reader.execute("CREATE TABLE mine (id)")
            place(box, NOON)
            with pytest.raises(
                ConfigurationError, match=r"another program has export\.sqlite open"
            ):
                await sync(store, tmp_path)
        await sync(store, tmp_path)
        assert in_table(tmp_path, "sqlite") == in_store(box)


async def test_another_export_that_ends_meanwhile_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(orders=450) as (_, store):
        await sync(store, tmp_path)

        async def meanwhile(*_: object) -> None:
            await export(store, ["orders"], tmp_path, format="parquet", status="paid")

        # The package's name `sync` is the function; its module is among the loaded ones.
        module = sys.modules["devskin_async.export.sync"]
        monkeypatch.setattr(module, "check_same_store", meanwhile)
        with pytest.raises(ConfigurationError, match="has ended meanwhile: start again"):
            await sync(store, tmp_path)


async def test_a_clock_that_was_ahead_loses_no_orders(tmp_path: Path, clock: Clock) -> None:
    async with shop(orders=450) as (box, store):
        clock.at += 45 * DAY
        await sync(store, tmp_path)
        clock.at -= 45 * DAY
        place(box, NOON)
        await sync(store, tmp_path)
        assert in_table(tmp_path, "parquet") == in_store(box)
