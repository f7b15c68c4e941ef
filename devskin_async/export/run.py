"""One export: resources are read one after the other and written as files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from ..client import DevSkinClient
from .files import whole_file
from .formats import WRITERS, Format
from .sources import SOURCES, Resource

OnProgress: TypeAlias = Callable[[Resource, int, int], object]


@frozen(kw_only=True)
class Exported:
    """What the export of one resource did.

    Args:
        resource: What was read.
        path: The file.
        rows: Rows written.
        pages: Answers that the rows came in.
        requests: Requests sent meanwhile through the client's budget, retries included.
        refused: How many of them were answered with 429.
        seconds: How long it took.
    """

    resource: Resource
    path: Path
    rows: int
    pages: int
    requests: int
    refused: int
    seconds: float


async def export(
    store: DevSkinClient,
    resources: Iterable[Resource],
    out: Path,
    *,
    format: Format = "jsonl",  # noqa: A002 - the word that a caller looks for
    on_progress: OnProgress | None = None,
) -> tuple[Exported, ...]:
    """Write resources to the files `out`/RESOURCE.FORMAT, page by page.

    Each file is written beside its name and renamed into place when it is whole. An export that
    fails or is cancelled leaves the files it has finished and, of the others, what stood there.

    Args:
        store: The client to read with. `revenue` is the daily series of the longest period, a
            year; `overview` is one row.
        resources: What to write: `orders`, `products`, `customers`, `revenue`, `overview`.
        out: The folder, made where it is missing.
        format: `jsonl`, `csv` or `parquet`.
        on_progress: Called with the resource, the rows done and the rows there are; at the end
            of a resource the two are equal.

    Returns:
        What was done for each resource.

    Raises:
        ValueError: There is no such resource or format.
        ConfigurationError: `format` is `parquet` and pyarrow is not installed.
        DecodeError: An answer is malformed, or a value does not fit a Parquet column.
        OSError: A file can't be written; `filename` says which.
    """
    wanted = tuple(dict.fromkeys(resources))
    for resource in wanted:
        if resource not in SOURCES:
            raise ValueError(f"resource must be one of {', '.join(SOURCES)}, not {resource!r}")
    if format not in WRITERS:
        raise ValueError(f"format must be one of {', '.join(WRITERS)}, not {format!r}")
    return tuple([await _export(store, name, out, format, on_progress) for name in wanted])


async def _export(
    store: DevSkinClient,
    resource: Resource,
    out: Path,
    file_format: Format,
    on_progress: OnProgress | None,
) -> Exported:
    source = SOURCES[resource]
    path = out / f"{resource}.{file_format}"
    report = on_progress or (lambda *_: None)
    loop = asyncio.get_running_loop()
    start, before = loop.time(), store.budget
    rows = pages = 0
    async with whole_file(path) as file, aclosing(source.read(store)) as batches:
        with WRITERS[file_format](file, source.record, resource) as write:
            async for batch in batches:
                write(batch.rows)
                rows += len(batch.rows)
                pages += 1
                report(resource, rows, batch.total)
    report(resource, rows, rows)
    after = store.budget
    return Exported(
        resource=resource,
        path=path,
        rows=rows,
        pages=pages,
        requests=after.sent - before.sent,
        refused=after.refused - before.refused,
        seconds=loop.time() - start,
    )
