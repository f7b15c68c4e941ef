"""What is said of an export: when it has ended, before it begins, and long afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen
from rich.console import RenderableType
from rich.text import Text

from ..export import Certificate, Exported, MadeFile, Manifest, Planned, Verified
from ..export.manifest import NAME as MANIFEST
from .render import Column, counted, lasting, number, printable, size, table

Part: TypeAlias = RenderableType

_ITEMS = "order_items"
_MOST_NAMED = 5
_LONGEST_NAME = 60
_SMALLEST_SHARE = 0.0001
_HINT = "Made-up data. For your own store: set DEVSKIN_API_KEY and leave --sandbox out."


@frozen
class _Written:
    """A table of an export.

    Args:
        name: Its name.
        rows: Its rows.
        path: The file that it is in.
        proof: What shows that it is complete.
        requests: What it took; None where it was read with another, as all below.
        refused: How many of them were.
    """

    name: str
    rows: int
    path: Path
    proof: str = ""
    requests: int | None = None
    refused: int | None = None


_WRITTEN: Sequence[Column[_Written]] = (
    Column("resource", lambda each: Text(each.name)),
    Column("rows", lambda each: number(each.rows), "right"),
    Column("proof", lambda each: Text(each.proof), spare=1),
    Column("requests", lambda each: number(each.requests), "right", spare=2),
)
_REFUSED: Column[_Written] = Column("refused", lambda each: number(each.refused), "right")
_FILE: Column[_Written] = Column("file", lambda each: _folded(str(each.path)), shrinks=True)

_PLANNED: Sequence[Column[tuple[str, int | None, int]]] = (
    Column("resource", lambda each: Text(each[0])),
    Column("rows", lambda each: number(each[1]), "right"),
    Column("requests", lambda each: number(each[2]), "right"),
)

_CHECKED: Sequence[Column[tuple[MadeFile, str]]] = (
    Column("file", lambda each: _folded(each[0].name)),
    Column("rows", lambda each: number(sum(each[0].tables.values())), "right"),
    Column("size", lambda each: Text(size(each[0].size)), "right"),
    Column("found", lambda each: _folded(each[1]), shrinks=True),
)


def closing(done: Exported, *, rejects: Path | None, sandbox: bool) -> Iterator[Part]:
    """Say what an export did.

    Args:
        done: What it did.
        rejects: Where rejected rows went.
        sandbox: Whether the data are made up.

    Yields:
        A table, a line that sums up, and a line for each thing that somebody should know of.
    """
    written = list(_written(done))
    refused = any(each.refused for each in done.certificates.values())
    yield table((*_WRITTEN, *([_REFUSED] if refused else []), _FILE), written)
    yield ""
    yield (
        f"{counted(len({each.path for each in written}), 'file')} in {printable(str(done.out))}: "
        f"{counted(sum(each.rows for each in written), 'row')}, {_completeness(done)}, "
        f"{counted(done.requests, 'request')}, {done.refused:,} refused, "
        f"{done.seconds:.1f} s."
    )
    yield from _unproven(done.unproven)
    if done.resumed:
        yield "Resumed an earlier run; the requests above include its requests."
    for name, certificate in done.certificates.items():
        yield from _remarks(name, certificate, rejects)
    if sandbox:
        yield _HINT


def _completeness(done: Exported) -> str:
    proven = "not all proven complete" if done.unproven else "all proven complete"
    if not done.set_aside:
        return proven
    aside = f"set aside: {printable(', '.join(done.set_aside))}"
    return f"{proven if done.unproven else 'all others proven complete'}, {aside}"


def foretold(planned: Planned) -> Iterator[Part]:
    """Say what an export would cost.

    Args:
        planned: The prediction.

    Yields:
        A table, and what it comes to.
    """
    rows = [(name, planned.rows.get(name), each) for name, each in planned.requests.items()]
    yield table(_PLANNED, rows)
    yield ""
    wait = f"about {lasting(planned.seconds)} at" if planned.seconds else "no wait at"
    share = planned.share
    shown = f"{share:.2%}" if share >= _SMALLEST_SHARE or not share else "less than 0.01%"
    yield (
        f"{counted(sum(planned.requests.values()), 'request')}: {wait} the present budget, "
        f"{shown} of what the key may send in a day."
    )
    yield f"Nothing was written. Planning took {counted(planned.spent, 'request')} of its own."


def checked(found: Verified, folder: Path) -> Iterator[Part]:
    """Say whether an export's files are as its manifest has them.

    Args:
        found: What was found out.
        folder: The export's folder.

    Yields:
        A table of the files, and how complete they were when they were read.
    """
    files = found.manifest.files
    yield table(_CHECKED, [(file, _found(file, found.problems)) for file in files])
    yield ""
    if not found.problems:  # of other files the proofs say nothing
        yield _proofs(found.manifest)
        yield from _unproven(found.manifest.unproven)
        if found.manifest.set_aside:
            yield printable(f"Set aside when read: {', '.join(found.manifest.set_aside)}.")
    yield from (printable(each) for each in found.problems if each.startswith(MANIFEST))
    if found.unfinished:
        yield (
            f"An unfinished export lies in {printable(str(folder))} too: the command that began it "
            "goes on with it."
        )


def wrong(found: Verified) -> str:
    """Say in one line that files are not as the manifest has them."""
    if all(each.startswith(MANIFEST) for each in found.problems):
        return "devskin: the manifest contradicts itself and proves nothing"
    of = counted(len(found.manifest.files), "file")
    is_or_are = "is" if len(found.problems) == 1 else "are"
    return f"devskin: {len(found.problems):,} of {of} {is_or_are} not as the manifest says"


def _written(done: Exported) -> Iterator[_Written]:
    files = {name: file for file in reversed(done.manifest.files) for name in file.tables}
    for name, certificate in done.certificates.items():
        yield _Written(
            name,
            certificate.rows,
            done.out / files[name].name,
            certificate.proof,
            certificate.requests,
            certificate.refused,
        )
        if name == "orders" and certificate.gone is not None and (items := files.get(_ITEMS)):
            yield _Written(_ITEMS, items.tables[_ITEMS], done.out / items.name)


def _remarks(name: str, certificate: Certificate, rejects: Path | None) -> Iterator[str]:
    if certificate.since is not None:
        yield f"{name}: read again from {certificate.since} on; older rows are unchanged."
    if certificate.duplicates:
        count = counted(certificate.duplicates, "row")
        yield f"{name}: {count} came again; the file has each row once."
    if certificate.rejected:
        count = counted(certificate.rejected, "row")
        where = "" if rejects is None else f": {rejects / f'{name}.rejected.jsonl'}"
        yield printable(f"{name}: {count} set aside{where}")
    if certificate.replaced:
        count = counted(certificate.replaced, "unpaired surrogate")
        yield f"{name}: {count}, written as U+FFFD."
    if certificate.rounded:
        count = counted(certificate.rounded, "amount")
        yield f"{name}: {count} with float noise, rounded in the file."
    yield from (printable(f"{name}: {remark}.") for remark in certificate.remarks)
    if certificate.gone:
        count = counted(certificate.gone, "order")
        yield f"{name}: {count} gone before the detail was read; the list's row is used."
    if certificate.unknown:
        yield f"{name}: not in the API's reference: {_frequent(certificate.unknown)}"


def _frequent(unknown: Mapping[str, int]) -> str:
    names = (f"{printable(name)[:_LONGEST_NAME]} ({count:,})" for name, count in unknown.items())
    return _some(names, len(unknown))


def _unproven(parts: Sequence[str]) -> Iterator[str]:
    if parts:
        yield printable(f"Not proven to be complete: {_some(parts, len(parts))}.")
        yield "The files still contain everything that was read."


def _some(parts: Iterable[str], count: int) -> str:
    named = [part for part, _ in zip(parts, range(_MOST_NAMED), strict=False)]
    rest = count - len(named)
    return ", ".join(named) + (f" and {rest:,} more (manifest.json has all)" if rest else "")


def _proofs(manifest: Manifest) -> str:
    proofs = ", ".join(f"{name} {each.proof}" for name, each in manifest.resources.items())
    state = "Not all proven" if manifest.unproven else "All proven"
    return printable(f"{state} complete when read: {proofs}.")


def _found(file: MadeFile, problems: Iterable[str]) -> str:
    start = f"{file.name}: "
    return next((each.removeprefix(start) for each in problems if each.startswith(start)), "ok")


def _folded(text: str) -> Text:
    return Text(printable(text), overflow="fold")
