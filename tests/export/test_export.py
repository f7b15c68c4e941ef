"""An export as a whole: what it reads, what it tells, and what it leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
import resource as limits
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from devskin_async import ConfigurationError, DevSkinClient, Retry, ServerError
from devskin_async.export import Format, Resource, export
from devskin_async.sandbox import Faults, Sandbox

from .support import ALL, answering, order, page, serving

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_each_resource_becomes_a_file_of_its_name(tmp_path: Path) -> None:
    out = tmp_path / "made" / "on demand"
    async with serving(Sandbox()) as store:
        done = await export(store, ALL, out)
    assert names(out) == {f"{resource}.jsonl" for resource in ALL}
    assert [each.path for each in done] == [out / f"{resource}.jsonl" for resource in ALL]


async def test_the_report_tells_rows_pages_and_requests(tmp_path: Path) -> None:
    async with serving(Sandbox(orders=250, products=7)) as store:
        orders, products = await export(store, ["orders", "products"], tmp_path)
    assert (orders.rows, orders.pages, orders.requests, orders.refused) == (250, 3, 3, 0)
    assert (products.rows, products.pages, products.requests) == (7, 1, 1)
    assert orders.seconds > 0


async def test_retries_and_refusals_count_as_requests(tmp_path: Path) -> None:
    box = Sandbox(
        limiter="first-request",
        limit=1,
        per=0.3,
        quota_headers="retry-after",
        faults=Faults(script=("500",)),
        products=5,
    )
    async with serving(box) as store:
        (products,) = await export(store, ["products"], tmp_path)
    assert products.pages == 1
    assert products.requests == box.counts.requests > 1
    assert products.refused == box.counts.refused


async def test_a_resource_asked_for_twice_is_read_once(tmp_path: Path) -> None:
    async with serving(Sandbox()) as store:
        done = await export(store, ["overview", "overview"], tmp_path)
    assert [each.resource for each in done] == ["overview"]


async def test_progress_is_told_after_each_page_and_ends_full(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    async with serving(Sandbox(orders=250)) as store:
        await export(
            store, ["orders"], tmp_path, on_progress=lambda *progress: told.append(progress)
        )
    assert told == [("orders", n, 250) for n in (100, 200, 250, 250)]


async def test_progress_ends_full_also_where_the_list_shrank_meanwhile(tmp_path: Path) -> None:
    body = page(order(), order()).replace(b'"total": 2', b'"total": 3')
    told: list[tuple[str, int, int]] = []
    async with answering(body) as store:
        await export(
            store, ["orders"], tmp_path, on_progress=lambda *progress: told.append(progress)
        )
    assert told == [("orders", 2, 3), ("orders", 2, 2)]


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_empty_store_gives_whole_files_too(file_format: Format, tmp_path: Path) -> None:
    async with serving(Sandbox(orders=0, products=0, customers=0)) as store:
        done = await export(store, ALL, tmp_path, format=file_format)
    assert {each.resource: each.rows for each in done} == dict.fromkeys(ALL, 0) | {"overview": 1}
    assert len(names(tmp_path)) == len(ALL)


async def test_two_exports_into_one_folder_do_not_spoil_each_other(tmp_path: Path) -> None:
    async with serving(Sandbox(orders=700, latency=0.01)) as store:
        await asyncio.gather(*(export(store, ["orders"], tmp_path) for _ in range(3)))
    assert names(tmp_path) == {"orders.jsonl"}
    assert len((tmp_path / "orders.jsonl").read_bytes().splitlines()) == 700


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_cancelled_export_leaves_what_stood_there_and_nothing_else(
    file_format: Format, tmp_path: Path
) -> None:
    old = tmp_path / f"orders.{file_format}"
    old.write_text("the last export")
    under_way = asyncio.Event()
    async with serving(Sandbox(orders=1000, latency=0.05)) as store:
        task = asyncio.create_task(
            export(
                store,
                ["orders"],
                tmp_path,
                format=file_format,
                on_progress=lambda *_: under_way.set(),
            )
        )
        await under_way.wait()
        assert len(names(tmp_path)) == 2
        assert old.read_text() == "the last export"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert names(tmp_path) == {old.name}
    assert old.read_text() == "the last export"


async def test_an_export_that_fails_keeps_the_files_it_had_finished(tmp_path: Path) -> None:
    box = Sandbox(orders=150, faults=Faults(script=("ok", "ok", *("500",) * 2)))
    async with box:
        retry = Retry(attempts=2, wait_initial=0, wait_jitter=0)
        async with DevSkinClient(box.api_key, base_url=box.base_url, retry=retry) as store:
            with pytest.raises(ServerError):
                await export(store, ["orders", "products"], tmp_path)
    assert names(tmp_path) == {"orders.jsonl"}


async def test_an_older_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "overview.jsonl").write_text("x" * 10_000)
    async with serving(Sandbox()) as store:
        await export(store, ["overview"], tmp_path)
    assert len((tmp_path / "overview.jsonl").read_bytes().splitlines()) == 1


@pytest.mark.parametrize("there", [True, False])
async def test_a_link_stays_and_what_it_leads_to_is_written(there: bool, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    link, target = out / "overview.jsonl", kept / "latest"
    if there:
        target.write_text("x" * 10_000)
    link.symlink_to(Path("..") / "kept" / "latest")
    async with serving(Sandbox()) as store:
        (done,) = await export(store, ["overview"], out)
    assert done.path == link
    assert link.is_symlink()
    assert not target.is_symlink()
    assert len(target.read_bytes().splitlines()) == 1
    assert (names(out), names(kept)) == ({link.name}, {target.name})


@pytest.mark.parametrize("target", ["../pipe", ".", "orders.jsonl"])
async def test_a_link_that_leads_to_no_file_is_refused(target: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / "out"
    out.mkdir()
    link = out / "orders.jsonl"
    link.symlink_to(target)
    error = await no_export(OSError, out)
    assert (error.strerror, error.filename) == ("the link leads to no file", str(link))
    assert str(link.readlink()) == target
    assert (tmp_path / "pipe").is_fifo()
    assert names(out) == {link.name}


async def no_export(error: type[OSError], out: Path, file_format: Format = "jsonl") -> OSError:
    async with serving(Sandbox(orders=500)) as store:
        with pytest.raises(error) as info:
            await export(store, ["orders"], out, format=file_format)
    return info.value


async def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("in the way")
    assert (await no_export(NotADirectoryError, out)).filename == str(out)
    assert out.read_text() == "in the way"


async def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").mkdir()
    error = await no_export(IsADirectoryError, tmp_path)
    assert error.filename == str(tmp_path / "orders.jsonl")
    assert names(tmp_path) == {"orders.jsonl"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files, not even root's")
async def test_a_folder_that_takes_no_files_is_told_before_anything_is_sent() -> None:
    box = Sandbox()
    async with serving(box) as store:
        with pytest.raises(OSError, match="orders") as info:
            await export(store, ["orders"], Path("/proc/self"))
    assert info.value.filename == "/proc/self/orders.jsonl"
    assert box.counts.requests == 0


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The nearest thing to a full disk that needs no mount."""
    before = limits.getrlimit(limits.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits.setrlimit(limits.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_full_disk_is_an_error_that_names_the_file(
    file_format: Format, tmp_path: Path
) -> None:
    with files_of_at_most(5_000):
        error = await no_export(OSError, tmp_path, file_format)
    assert error.errno == errno.EFBIG
    assert error.filename == str(tmp_path / f"orders.{file_format}")
    assert not names(tmp_path)


async def test_an_unknown_resource_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    async with answering(b"") as store:
        with pytest.raises(ValueError, match=r"resource must be one of orders, .* not 'invoices'"):
            await export(store, ["orders", cast(Resource, "invoices")], tmp_path)
    assert not names(tmp_path)


async def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    async with answering(b"") as store:
        with pytest.raises(ValueError, match=r"format must be one of jsonl, .* not 'xml'"):
            await export(store, ["orders"], tmp_path, format=cast(Format, "xml"))


async def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    async with answering(b"") as store:
        with pytest.raises(ConfigurationError, match=r'pip install "devskin-async\[parquet\]"'):
            await export(store, ["orders"], tmp_path, format="parquet")
    assert not names(tmp_path)
