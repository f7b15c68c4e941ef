"""An export as a whole: what it reads, what it proves, and what it leaves behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import resource as limits
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from devskin_async import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    DevSkinClient,
    Granted,
    Retry,
)
from devskin_async.export import Format, Progress, Resource, export, read_manifest, verify
from devskin_async.export.journal import FOLDER
from devskin_async.sandbox import Faults, Sandbox, Traffic

from .stores import ALL, client_of, exported_ids, ids_in, lines, seen, selling

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet", "duckdb", "sqlite")
WIRES: tuple[dict[str, Any], ...] = (
    {},
    {"order": "oldest"},
    {"order": "id"},
    {"date_to": "exclusive"},
    {"time_zone": "Pacific/Kiritimati"},
    {"time_zone": "Pacific/Niue", "date_to": "exclusive"},
    {"time_zone": "America/Sao_Paulo", "order": "oldest", "date_to": "exclusive"},
    {"drift": True},
    {"drift": True, "time_zone": "Asia/Tokyo", "order": "id"},
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_export_leaves_its_files_and_a_manifest_and_nothing_else(
    file_format: Format, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "on demand"
    async with selling(orders=120, products=7, customers=5) as (_, store):
        done = await export(store, ALL, out, format=file_format)
    files = {file.name for file in done.manifest.files}
    single = {"duckdb", "sqlite"}
    expected = {f"{resource}.{file_format}" for resource in ALL}
    assert files == ({f"export.{file_format}"} if file_format in single else expected)
    assert names(out) == files | {"manifest.json"}
    assert verify(out).problems == ()
    assert done.unproven == ()


@pytest.mark.parametrize("orders", [0, 1, 99, 100, 101, 730, 3000])
@pytest.mark.parametrize("wire", WIRES, ids=str)
async def test_every_order_comes_once_however_the_wire_is_read(
    orders: int, wire: dict[str, object], tmp_path: Path
) -> None:
    async with selling(orders=orders, products=5, customers=5, **wire) as (box, store):
        done = await export(store, ["orders"], tmp_path)
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")
    certificate = done.certificates["orders"]
    assert certificate.proof == ("atomic" if orders <= 100 else "sliced")
    assert certificate.distinct_ids == certificate.rows == orders
    assert (certificate.total_before, certificate.total_after) == (orders, orders)
    assert (certificate.duplicates, certificate.repairs) == (0, 0)


async def test_the_slices_of_the_certificate_cover_all_days_without_gap_or_overlap(
    tmp_path: Path,
) -> None:
    async with selling(orders=3000, products=5, customers=5) as (_, store):
        done = await export(store, ["orders"], tmp_path)
    slices = done.certificates["orders"].slices
    assert slices[0].first is None
    assert slices[-1].last is None
    for before, after in pairwise(slices):
        assert before.last is not None
        assert after.first == before.last + dt.timedelta(days=1)
    assert sum(each.total for each in slices) == 3000


@pytest.mark.parametrize(("orders", "most"), [(1563, 1.6), (5000, 1.4), (20_000, 1.25)])
async def test_orders_take_few_requests(orders: int, most: float, tmp_path: Path) -> None:
    async with selling(orders=orders, products=5, customers=5) as (box, store):
        done = await export(store, ["orders"], tmp_path)
    assert done.requests == done.certificates["orders"].requests == box.counts.requests
    assert done.requests <= orders / 100 * most


@pytest.mark.parametrize(("orders", "requests"), [(99, 1), (100, 2)])
async def test_a_store_of_one_page_takes_one_request_or_two_where_it_is_full(
    orders: int, requests: int, tmp_path: Path
) -> None:
    async with selling(orders=orders, products=5, customers=5) as (box, store):
        await export(store, ["orders"], tmp_path)
        assert box.counts.requests == requests


async def test_a_busy_day_of_many_pages_is_read_in_passes(tmp_path: Path) -> None:
    async with selling(orders=2500, products=5, customers=5) as (box, store):
        box.connection.execute("UPDATE orders SET created_at = 1700000000000 + id WHERE id % 2 = 0")
        done = await export(store, ["orders"], tmp_path)
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")
    busiest = max(done.certificates["orders"].slices, key=lambda each: each.total)
    assert busiest.total >= 1250
    # To a day that is over none can come, so that one pass is enough.
    assert (busiest.proof, busiest.passes, busiest.pages) == ("counted", 1, 13)


async def test_orders_are_written_from_the_oldest_on(tmp_path: Path) -> None:
    async with selling(orders=700, products=5, customers=5) as (_, store):
        await export(store, ["orders"], tmp_path)
    written = [(row["created_at"], row["id"]) for row in lines(tmp_path / "orders.jsonl")]
    assert written == sorted(written)


async def test_jsonl_keeps_what_the_server_wrote(tmp_path: Path) -> None:
    async with selling(orders=8, products=3, customers=3, drift=True) as (_, store):
        done = await export(store, ALL, tmp_path)
    orders = lines(tmp_path / "orders.jsonl")
    assert {order.get("currency") for order in orders} == {None, "BRL"}
    assert b'"total":' in (tmp_path / "orders.jsonl").read_bytes()
    assert {str(order["total"])[-3] for order in orders} == {"."}
    unknown = done.certificates["orders"].unknown
    assert unknown == {"currency": 4, "tags": 4}
    assert done.certificates["overview"].unknown == {"api_revision": 1}


async def test_unknown_statuses_are_counted(tmp_path: Path) -> None:
    async with selling(orders=300, products=3, customers=3, drift=True) as (_, store):
        done = await export(store, ["orders"], tmp_path)
    refunded = [row for row in lines(tmp_path / "orders.jsonl") if row["status"] == "refunded"]
    assert done.certificates["orders"].unknown["status=refunded"] == len(refunded) > 0


async def test_lists_of_several_pages_are_read_twice(tmp_path: Path) -> None:
    async with selling(orders=1, products=250, customers=99) as (box, store):
        done = await export(store, ["products", "customers"], tmp_path)
        assert exported_ids(tmp_path / "products.jsonl") == ids_in(box, "products")
    products, customers = done.certificates["products"], done.certificates["customers"]
    assert (products.proof, products.requests) == ("two-pass", 6)
    assert (customers.proof, customers.requests) == ("atomic", 1)


async def test_verify_once_accepts_a_single_reading_and_says_so(tmp_path: Path) -> None:
    async with selling(orders=1, products=250, customers=1) as (_, store):
        done = await export(store, ["products"], tmp_path, verify="once")
    products = done.certificates["products"]
    assert (products.proof, products.requests) == ("counted", 3)


async def test_a_list_that_never_holds_still_is_unproven_and_all_there(tmp_path: Path) -> None:
    async with selling(orders=1, products=250, customers=1) as (box, _):
        before = ids_in(box, "products")

        def change(event: object) -> None:
            if isinstance(event, Granted):
                box.connection.execute(
                    "INSERT INTO products SELECT max(id) + 1, store_id, name, slug || max(id),"
                    " price, stock, status, max(created_at) + 1 FROM products"
                )

        async with client_of(box, on_event=change) as store:
            done = await export(store, ["products"], tmp_path)
    assert done.certificates["products"].proof == "unproven"
    assert done.unproven == ("products",)
    found = exported_ids(tmp_path / "products.jsonl")
    assert len(found) == len(set(found))
    assert set(before) <= set(found)
    assert verify(tmp_path).problems == ()


@pytest.mark.parametrize("order", ["newest", "oldest", "id"])
async def test_what_was_there_all_the_time_comes_once_while_the_store_lives(
    order: str, tmp_path: Path
) -> None:
    traffic = Traffic(inserts=150, changes=300, removals=150)
    async with selling(orders=4000, products=9, customers=9, order=order, traffic=traffic) as (
        box,
        store,
    ):
        before = set(ids_in(box, "orders"))
        await export(store, ["orders"], tmp_path)
        stayed = before & set(ids_in(box, "orders"))
    found = exported_ids(tmp_path / "orders.jsonl")
    assert len(found) == len(set(found))
    assert stayed <= set(found)
    assert len(stayed) < len(before)


@pytest.mark.parametrize("filter_on_server", [False, True])
async def test_a_status_filter_leaves_the_others_out(
    filter_on_server: bool, tmp_path: Path
) -> None:
    async with selling(orders=900, products=5, customers=5) as (box, store):
        done = await export(
            store, ["orders"], tmp_path, status="paid", filter_on_server=filter_on_server
        )
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders", "status='paid'")
        paths = [seen.path_qs for seen in box.requests]
    certificate = done.certificates["orders"]
    assert any("status=paid" in path for path in paths) is filter_on_server
    assert (certificate.status, certificate.filter_on_server) == ("paid", filter_on_server)
    assert certificate.distinct_ids == (certificate.rows if filter_on_server else 900)


async def test_a_filter_of_the_server_is_never_proven_by_counting(tmp_path: Path) -> None:
    async with selling(orders=4000, products=5, customers=5) as (_, store):
        done = await export(store, ["orders"], tmp_path, status="completed", filter_on_server=True)
    assert {each.proof for each in done.certificates["orders"].slices} <= {"atomic", "two-pass"}


@pytest.mark.parametrize("wire", WIRES[:7], ids=str)
async def test_a_range_of_days_is_read_as_the_api_reads_it(
    wire: dict[str, object], tmp_path: Path
) -> None:
    today = dt.date(2026, 3, 31)
    async with selling(orders=900, products=5, customers=5, today=today, **wire) as (_, store):
        inclusive = wire.get("date_to") != "exclusive"
        first, last = dt.date(2025, 3, 1), dt.date(2025, 9, 30)
        wanted = await store.orders.list(
            date_from=first, date_to=last if inclusive else last + dt.timedelta(days=1)
        )
        await export(store, ["orders"], tmp_path, date_from=str(first), date_to=last)
    assert exported_ids(tmp_path / "orders.jsonl") == sorted(order.id for order in wanted)
    assert len(wanted) > 100


async def test_a_key_for_orders_alone_is_enough_for_orders(tmp_path: Path) -> None:
    async with (
        selling(orders=1000, products=5, customers=5) as (box, _),
        client_of(box, box.create_key("narrow", ["orders"])) as store,
    ):
        done = await export(store, ["orders"], tmp_path)
    assert done.certificates["orders"].rows == 1000


async def test_the_same_rows_give_the_same_files_however_they_were_sliced(
    tmp_path: Path,
) -> None:
    async with selling(orders=1200, products=5, customers=5) as (box, store):
        await export(store, ["orders"], tmp_path / "with revenue")
        async with client_of(box, box.create_key("narrow", ["orders"])) as narrow:
            await export(narrow, ["orders"], tmp_path / "without")
    one, other = (tmp_path / name / "orders.jsonl" for name in ("with revenue", "without"))
    assert one.read_bytes() == other.read_bytes()


async def test_text_can_be_compressed(tmp_path: Path) -> None:
    async with selling(orders=5, products=5, customers=5) as (_, store):
        await export(store, ["orders"], tmp_path, format="csv", compress=True)
    assert names(tmp_path) == {"orders.csv.gz", "manifest.json"}
    assert verify(tmp_path).problems == ()


async def test_the_manifest_keeps_what_other_exports_have_left(tmp_path: Path) -> None:
    async with selling(orders=5, products=5, customers=5) as (_, store):
        await export(store, ["orders"], tmp_path)
        done = await export(store, ["products"], tmp_path)
    assert set(done.manifest.resources) == {"orders", "products"}
    assert done.manifest == read_manifest(tmp_path)
    assert verify(tmp_path).problems == ()


async def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.jsonl"
    out.mkdir()
    elsewhere.write_text("somebody else's")
    for name in ("orders.jsonl", "manifest.json"):
        (out / name).symlink_to(elsewhere if name != "manifest.json" else tmp_path / "nothing")
    async with selling(orders=5, products=5, customers=5) as (_, store):
        await export(store, ["orders"], out)
    assert len(lines(out / "orders.jsonl")) == 5
    assert elsewhere.read_text() == "somebody else's"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"resources": ["order"]}, "resource must be one of orders, "),
        ({"resources": []}, "resources must name"),
        ({"format": "xml"}, "format must be one of jsonl, "),
        ({"format": "parquet", "compress": True}, "compress is for"),
        ({"excel": True}, "excel is for csv"),
        ({"status": "lost"}, "status must be one of"),
        ({"filter_on_server": True}, "filter_on_server needs a status"),
        ({"date_from": "yesterday"}, "date_from must be a day"),
        ({"date_from": "2026-02-01", "date_to": "2026-01-01"}, "date_from must not be after"),
        ({"verify": "thrice"}, "verify must be"),
        ({"resources": ["products"], "details": True}, "are for orders"),
        ({"resources": ["products"], "status": "paid"}, "are for orders"),
    ],
)
async def test_arguments_are_checked_before_anything_is_sent(
    arguments: dict[str, object], told: str, tmp_path: Path
) -> None:
    async with selling(orders=5, products=5, customers=5) as (box, store):
        with pytest.raises(ValueError, match=told):
            await export(store, **{"resources": ["orders"], "out": tmp_path, **arguments})  # type: ignore[arg-type]  # wrong on purpose
        assert box.counts.requests == 0
    assert names(tmp_path) == set()


async def test_an_export_that_fails_leaves_the_last_one_and_its_work(tmp_path: Path) -> None:
    async with selling(orders=5, products=5, customers=5) as (_, store):
        await export(store, ["orders"], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    faults = Faults(fail=1.0, kinds=("500",))
    async with (
        Sandbox(orders=5, limiter="none", faults=faults) as box,
        DevSkinClient(box.api_key, base_url=box.base_url, retry=Retry(1)) as store,
    ):
        with pytest.raises(APIError):
            await export(store, ["orders"], tmp_path)
    assert names(tmp_path) == {*before, FOLDER}
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


async def test_two_exports_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    async with selling(orders=3000, products=5, customers=5) as (box, store):
        first = asyncio.create_task(export(store, ["orders"], tmp_path))
        await seen(box, 1)
        with pytest.raises(ConfigurationError, match="another export is writing to"):
            await export(store, ["orders"], tmp_path)
        await first
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


async def test_a_revoked_key_ends_the_export_and_keeps_its_work(tmp_path: Path) -> None:
    async with selling(orders=3000, products=5, customers=5) as (box, store):
        exporting = asyncio.create_task(export(store, ["orders"], tmp_path))
        await seen(box, 15)
        box.revoke_key("sandbox")
        with pytest.raises(AuthenticationError):
            await exporting
        assert names(tmp_path) == {FOLDER}
        sent = box.counts.requests
        async with client_of(box, box.create_key("the next")) as again:
            done = await export(again, ["orders"], tmp_path)
        assert done.resumed
        assert box.counts.requests - sent < 35 < sent + done.requests
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size: the disk is full for it."""
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits.setrlimit(limits.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_full_disk_is_one_clear_error_and_the_work_goes_on_later(tmp_path: Path) -> None:
    async with selling(orders=3000, products=5, customers=5) as (box, store):
        with room(200_000), pytest.raises(OSError) as info:
            await export(store, ["orders"], tmp_path)
        assert info.value.errno in (errno.EFBIG, errno.ENOSPC, errno.EIO)
        assert str(tmp_path) in str(info.value.filename)
        done = await export(store, ["orders"], tmp_path)
        assert done.resumed
        assert exported_ids(tmp_path / "orders.jsonl") == ids_in(box, "orders")


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.touch()
    async with selling(orders=5, products=5, customers=5) as (box, store):
        with pytest.raises(NotADirectoryError) as info:
            await export(store, ["orders"], out)
        assert box.counts.requests == 0
    assert str(info.value.filename).startswith(str(out))


async def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    (tmp_path / "orders.jsonl").mkdir()
    async with selling(orders=5, products=5, customers=5) as (_, store):
        with pytest.raises(IsADirectoryError) as info:
            await export(store, ["orders"], tmp_path)
        assert info.value.filename == str(tmp_path / "orders.jsonl")
        (tmp_path / "orders.jsonl").rmdir()
        assert (await export(store, ["orders"], tmp_path)).requests == 0


async def test_cancelling_an_export_leaves_no_task_behind(tmp_path: Path) -> None:
    async with selling(orders=3000, products=5, customers=5) as (box, store):
        tasks = asyncio.all_tasks()
        exporting = asyncio.create_task(export(store, ["orders"], tmp_path))
        await seen(box, 20)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting
        assert {task for task in asyncio.all_tasks() - tasks if "export" in repr(task)} == set()
        assert (await export(store, ["orders"], tmp_path)).resumed


async def test_the_key_is_in_no_file(tmp_path: Path) -> None:
    async with selling(orders=300, products=120, customers=5, key="a-very-secret-key") as (
        box,
        store,
    ):
        await export(store, ALL, tmp_path / "done")
        # Whoever is cancelled leaves a journal.
        begun = asyncio.create_task(export(store, ALL, tmp_path / "begun"))
        await seen(box, box.counts.requests + 3)
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {"done", "begun"}
    assert not any(b"a-very-secret-key" in path.read_bytes() for path in written)


async def test_progress_tells_rows_requests_and_what_is_left(tmp_path: Path) -> None:
    told: list[Progress] = []
    resources: list[Resource] = ["orders", "products"]
    async with selling(orders=1500, products=250, customers=5) as (_, store):
        done = await export(store, resources, tmp_path, on_progress=told.append)
    assert {each.resource for each in told} == set(resources)
    assert [each.requests for each in told] == sorted(each.requests for each in told)
    assert told[-1].requests == done.requests
    assert told[-1].requests_left == 0
    assert told[-1].seconds_left == 0
    orders = [each for each in told if each.resource == "orders"]
    assert max(each.rows for each in orders) == 1500
    assert max(each.total for each in orders) == 1500


def test_the_module_needs_no_extra_to_be_imported() -> None:
    code = (
        "import sys; import devskin_async.export;"
        "sys.exit(bool({'pyarrow', 'duckdb', 'rich', 'cyclopts'} & set(sys.modules)))"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
