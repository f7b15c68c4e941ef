"""Bulk export: a store's resources as files, with a proof that they are complete."""

from .._order_rows import DetailedOrder, OrderLine
from .batches import RecordBatch, rows
from .choose import Verify
from .manifest import Certificate, MadeFile, Manifest, Proof, SliceProof, read_manifest
from .plan import Planned, plan
from .readers import Progress
from .run import MAX_AGE, Exported, OnProgress, export
from .sinks import Separator
from .sync import sync
from .tables import Format, Resource
from .verify import Verified, verify

__all__ = [
    "MAX_AGE",
    "Certificate",
    "DetailedOrder",
    "Exported",
    "Format",
    "MadeFile",
    "Manifest",
    "OnProgress",
    "OrderLine",
    "Planned",
    "Progress",
    "Proof",
    "RecordBatch",
    "Resource",
    "Separator",
    "SliceProof",
    "Verified",
    "Verify",
    "export",
    "plan",
    "read_manifest",
    "rows",
    "sync",
    "verify",
]
