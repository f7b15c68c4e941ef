"""An export's rows for a sink of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from attrs import AttrsInstance, frozen

from ..client import DevSkinClient
from .assemble import Layout, batches
from .choose import Day, Status, Verify, choose
from .manifest import Proof
from .readers import Readers
from .reading import Session
from .stage import Stage
from .tables import Resource


@frozen(kw_only=True)
class RecordBatch:
    """Some rows, for a sink of one's own.

    Args:
        records: The rows.
        proof: What shows that the whole of them is complete.
    """

    records: Sequence[AttrsInstance]
    proof: Proof


async def rows(
    store: DevSkinClient,
    resource: Resource,
    *,
    status: Status | None = None,
    filter_on_server: bool = False,
    date_from: Day | None = None,
    date_to: Day | None = None,
    verify: Verify = "twice",
    details: bool = False,
) -> AsyncGenerator[RecordBatch, None]:
    """Read a resource as `export` does, for a sink of one's own.

    Everything is read into a temporary folder first, so that the first batch already comes with
    the proof of all; memory does not grow with the rows.

    Args:
        store: The client.
        resource: What to read; this and all others as for `export`.
        status: Only orders of this status.
        filter_on_server: Whether the API filters by it.
        date_from: Only orders from this day on.
        date_to: Only orders up to this day.
        verify: How strictly lists are read.
        details: Give orders with their details, as `DetailedOrder`.

    Yields:
        About a thousand rows at a time, orders from the oldest on.

    Raises:
        ValueError: An argument is out of its bounds.
        DecodeError: A row is not what the reference describes.
    """
    choice, wanted = choose(
        [resource],
        status=status,
        filter_on_server=filter_on_server,
        date_from=date_from,
        date_to=date_to,
        verify=verify,
        details=details,
    )
    layout = Layout(resources=(resource,), format="jsonl", details=wanted.details)
    with tempfile.TemporaryDirectory(prefix="devskin-") as folder:
        async with Stage(Path(folder)) as stage:
            readers = Readers(Session(store, stage, choice), wanted)
            await readers.start()
            certificates = await readers.read()
            table = layout.tables_of(resource)[0]
            made = batches(stage.journal, table, resource, choice.status)
            while (batch := await stage.run(next, made, None)) is not None:
                records = await stage.run(getattr, batch, "records")
                yield RecordBatch(records=records, proof=certificates[resource].proof)
