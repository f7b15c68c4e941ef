"""Whether the numbers of a certificate agree: where they do not, nothing is proven."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise

from attrs import evolve

from .manifest import Certificate, SliceProof

_DAY = dt.timedelta(days=1)


def judged(certificate: Certificate) -> Certificate:
    """Take a proof back that the numbers contradict, and say why."""
    doubts = tuple(contradictions(certificate))
    if not doubts:
        return certificate
    remarks = dict.fromkeys((*certificate.remarks, *doubts))
    return evolve(certificate, proof="unproven", remarks=tuple(remarks))


def contradictions(certificate: Certificate) -> Iterator[str]:
    """Go through what in a certificate contradicts its proof; an unproven one claims nothing."""
    if certificate.proof == "unproven":
        return
    if certificate.cached:
        yield (
            "responses that came from a cache, and prove nothing about the store:"
            f" {certificate.cached:,}"
        )
    yield from _wrong_total(certificate)
    if certificate.slices:
        yield from _wrong_slices(certificate)


def wrong_rows(certificate: Certificate) -> Iterator[str]:
    """Say whether the files have as many rows as were read."""
    rows, read = certificate.rows, certificate.distinct_ids
    least = read - certificate.rejected
    # Of an order whose detail was set aside, what the list shows of it is in the file.
    most = read if certificate.gone is not None else least
    if certificate.since is not None:
        most = rows  # they were merged into earlier ones
    elif certificate.status is not None:
        least = 0  # our side leaves others out, and a detail may have another status than the list
    if not least <= rows <= most:
        read = most if rows > most else least
        yield f"the files have {rows:,} rows, but {read:,} were read"


def _wrong_total(certificate: Certificate) -> Iterator[str]:
    before, after = certificate.total_before, certificate.total_after
    if after is None:
        return
    read = certificate.distinct_ids
    least, most = min(after if before is None else before, after), max(before or 0, after)
    if before is None:
        least = 0  # a sync only asks afterwards
    if not least <= read <= most:
        told = f"{after:,}" if before in (None, after) else f"{before:,} and later {after:,}"
        what = "days hold" if len(certificate.slices) > 1 else "pages hold"
        yield f"the API reported a total of {told}, but its {what} {read:,} rows"


def _wrong_slices(certificate: Certificate) -> Iterator[str]:
    since, slices = certificate.since, certificate.slices
    if any(each.proof == "unproven" for each in slices):
        yield "a slice is not proven"
    for earlier, later in pairwise(slices):
        if earlier.last is None or later.first != earlier.last + _DAY:
            yield f"the slices leave out or repeat days after {earlier.last or 'the beginning'}"
    new = [each for each in slices if since is None or (each.first or dt.date.min) >= since]
    total = sum(each.total for each in new)
    if total - certificate.duplicates != certificate.distinct_ids:
        yield f"the slices have {total:,} rows, but {certificate.distinct_ids:,} were read"
    until, told = certificate.closed_until, certificate.closed_total
    if until is None or told is None:
        return
    closed = sum(each.total for each in new if _is_until(each, until))
    if closed != told or certificate.duplicates:
        yield (
            f"the API reported a total of {told:,} up to {until}, but its days hold {closed:,} rows"
        )


def _is_until(each: SliceProof, day: dt.date) -> bool:
    return each.last is not None and each.last <= day
