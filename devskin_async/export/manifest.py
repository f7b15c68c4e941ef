"""The certificate: what was read, what shows that it is complete, and which files hold it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from attrs import evolve, field, frozen

from ..errors import ConfigurationError
from .files import check_plain, write_whole
from .identity import StoreMark
from .tables import Format

NAME = "manifest.json"

Proof = Literal["atomic", "sliced", "two-pass", "counted", "unproven"]
"""What shows that nothing is missing and nothing comes twice.

- `atomic`: one answer held everything.
- `sliced`: slices of days were read, each of them proven by itself.
- `two-pass`: two readings, one after the other, agree on the ids and on the total.
- `counted`: the total held through one reading, and exactly that many distinct ids came. For days
  that are over it is as good as the others, since nothing can come to them any more.
- `unproven`: none of these; what was read is there all the same.
"""


@frozen(kw_only=True)
class SliceProof:
    """How one slice of days was read.

    Args:
        first: Its first day; None where it has no beginning.
        last: Its last day; None where it has no end.
        proof: What shows that it is complete.
        total: Its orders, as the API told.
        pages: In how many answers they came.
        passes: How often it was read.
        at: When it was read.
    """

    first: dt.date | None
    last: dt.date | None
    proof: Proof
    total: int
    pages: int
    passes: int
    at: dt.datetime


@frozen(kw_only=True)
class Certificate:
    """How one resource was read.

    Args:
        proof: What shows that it is complete.
        rows: Rows in the file.
        distinct_ids: Distinct ids that were read, before any filter on our side.
        duplicates: Rows that came again and were dropped.
        rejected: Rows that were set aside: they could not be decoded, or did not fit their columns;
            or an order's detail could not be read, and the file has what the list shows of it.
        replaced: Unpaired surrogates, halves of characters, that are U+FFFD in the file.
        rounded: Amounts with float noise that are rounded in the file's columns; those of
            `order_items` count among those of `orders`.
        total_before: The total that the API told at first; None where it tells none.
        total_after: The total that it told at last.
        repairs: How often something was read again because it had changed meanwhile.
        requests: Requests that it took, retries and earlier sessions included.
        refused: How many of them were answered with 429.
        sessions: In how many sessions it was read; more than one if it was resumed.
        began: When it was begun.
        ended: When its last part was read.
        newest: When the newest order was created; None where there is none.
        unknown: How often each field came that the reference does not know, and each status that
            it does not list, as `status=…`.
        status: The filter, if there was one.
        filter_on_server: Whether the API filtered.
        inclusive: Whether the API counted `date_to` among the days of a slice; None where that
            was not to be known.
        since: The first day that was read anew by a sync; None where all were.
        gone: Orders whose detail was not there any more; None where details were not asked for.
        slices: The slices of days, where there were any.
        closed_until: Last day of the closed range whose total was requested again because the store
            changed meanwhile; None if it was not.
        closed_total: The total that the API told of that range.
        cached: Answers that a cache had kept, and which prove nothing.
        remarks: What is wrong with what the API told, a sentence each.
    """

    proof: Proof
    rows: int = 0
    distinct_ids: int
    duplicates: int = 0
    rejected: int = 0
    replaced: int = 0
    rounded: int = 0
    total_before: int | None = None
    total_after: int | None = None
    repairs: int
    requests: int
    refused: int
    sessions: int
    began: dt.datetime
    ended: dt.datetime
    newest: dt.datetime | None = None
    unknown: dict[str, int] = field(factory=dict)
    status: str | None = None
    filter_on_server: bool = False
    inclusive: bool | None = None
    since: dt.date | None = None
    gone: int | None = None
    slices: tuple[SliceProof, ...] = ()
    closed_until: dt.date | None = None
    closed_total: int | None = None
    cached: int = 0
    remarks: tuple[str, ...] = ()


@frozen(kw_only=True)
class MadeFile:
    """A file of an export.

    Args:
        name: Its name in the export's folder.
        sha256: Its digest, in hexadecimal.
        size: Its bytes.
        tables: The rows of each table in it.
    """

    name: str
    sha256: str
    size: int
    tables: dict[str, int]


@frozen(kw_only=True)
class Manifest:
    """What an export did; written beside its files as `manifest.json`.

    Args:
        library: What made it, such as `devskin-async 0.1.0`.
        base_url: The API that was read.
        format: The files' format.
        resources: How each resource was read.
        files: The files.
        store: What tells the store from others.
    """

    library: str
    base_url: str
    format: Format
    resources: dict[str, Certificate]
    files: tuple[MadeFile, ...]
    store: StoreMark | None = None
    version: Literal[1] = 1

    @property
    def unproven(self) -> tuple[str, ...]:
        """What is not proven, in words: resources, and the slices of orders."""
        return tuple(
            words
            for name, certificate in self.resources.items()
            if certificate.proof == "unproven"
            for words in _unproven(name, certificate)
        )

    @property
    def set_aside(self) -> tuple[str, ...]:
        """What was set aside as `rejects` has it, in words, a resource each."""
        return tuple(
            f"{each.rejected:,} of {name}" for name, each in self.resources.items() if each.rejected
        )


def read_manifest(folder: Path) -> Manifest:
    """Read an export's manifest.

    Raises:
        ConfigurationError: There is none, or it can't be read.
    """
    path = folder / NAME
    try:
        check_plain(path)
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        reason = f"there is no {NAME} in {folder}: no export has ended there"
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = f"{path} is not what an export writes: {error}"
    except OSError as error:
        reason = f"{path}: {error.strerror}"
    raise ConfigurationError(reason)


def check_folder(folder: Path) -> None:
    """Make sure that no foreign file stands where the manifest goes.

    Raises:
        ConfigurationError: One does.
    """
    path = folder / NAME
    if path.exists():
        try:
            read_manifest(folder)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}: move it away, or give another folder") from None


def write_manifest(folder: Path, manifest: Manifest, work: Path) -> None:
    """Write an export's manifest into its folder.

    Args:
        folder: The export's folder.
        manifest: What to write.
        work: A folder to write it in, before it is put in place.

    Raises:
        OSError: It can't be written.
    """
    encoded = msgspec.json.encode(manifest)
    write_whole(folder / NAME, msgspec.json.format(encoded, indent=1) + b"\n", work)


def known_before(folder: Path, manifest: Manifest, *, merged: bool) -> Manifest:
    """Add what earlier exports have left in a folder, in the same format, and is still there.

    Args:
        folder: The folder.
        manifest: What this export has made.
        merged: Whether it has kept the other tables of a file that it wrote anew.
    """
    try:
        before = read_manifest(folder)
    except ConfigurationError:
        return manifest
    if (before.format, before.base_url) != (manifest.format, manifest.base_url):
        return manifest
    files = {file.name: file for file in manifest.files}
    replaced = {*manifest.resources, *(["order_items"] if "orders" in manifest.resources else [])}
    for old in before.files:
        if (new := files.get(old.name)) is None:
            if (folder / old.name).is_file() and not replaced.issuperset(old.tables):
                files[old.name] = old
        elif merged:
            files[old.name] = evolve(new, tables={**old.tables, **new.tables})
    store = manifest.store
    if store is not None and before.store is not None and not store.orders:
        store = evolve(store, orders=before.store.orders)
    tables = {table for file in files.values() for table in file.tables}
    kept = {name: each for name, each in before.resources.items() if name in tables}
    resources = {**kept, **manifest.resources}
    return evolve(manifest, files=tuple(files.values()), resources=resources, store=store)


def instant_of(seconds: float) -> dt.datetime:
    """Give the instant of a time since 1970."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def added_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add counts up by name, the most frequent first."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common())


def _unproven(name: str, certificate: Certificate) -> list[str]:
    slices = [each for each in certificate.slices if each.proof == "unproven"]
    return [f"{name} {days(each.first, each.last)}" for each in slices] or [name]


def days(first: dt.date | None, last: dt.date | None) -> str:
    """Say which days a slice has."""
    if first == last and first is not None:
        return f"of {first}"
    begin = "from the beginning" if first is None else f"from {first}"
    return f"{begin} on" if last is None else f"{begin} to {last}"
