"""How fast a page of 100 orders becomes records: `python -m benchmarks.decode`.

The same bytes, decoded by this library, by msgspec alone, cattrs, pydantic and mashumaro, in turn
in one process. Each is also asked whether it keeps the digits of money.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from benchmarks.decoders import (
    CATTRS,
    CATTRS_QUICK,
    DECODERS,
    DIRECT,
    MASHUMARO,
    MASHUMARO_EXACT,
    OURS,
    PYDANTIC,
    PYDANTIC_EXACT,
    Decode,
)
from benchmarks.measuring import in_turn, prepare, rounds_asked
from benchmarks.page_server import Store
from benchmarks.report import (
    Figure,
    figure,
    keep,
    print_figures,
    quartiles,
    ratios,
    shown,
)

ROUNDS, PAGES, ROWS = 31, 100, 100
LEAST_OF_MSGSPEC, LEAST_TIMES_CATTRS = 0.85, 2.8
AMOUNTS = ("199.90", "0.1", "12345678901234567.89")
LIBRARIES = ("pydantic", "mashumaro", "orjson")
TARGETS = {
    DIRECT: LEAST_OF_MSGSPEC,
    CATTRS: LEAST_TIMES_CATTRS,
    CATTRS_QUICK: None,
    PYDANTIC: 1,
    PYDANTIC_EXACT: 1,
    MASHUMARO: None,
    MASHUMARO_EXACT: None,
}


def cpu_a_row(decode: Decode, body: bytes) -> float:
    """Give the CPU seconds of a row."""
    start = time.process_time()
    for _ in range(PAGES):
        decode(body)
    return (time.process_time() - start) / PAGES / ROWS


def kept_digits(decode: Decode) -> list[str]:
    """Give what amounts of money become."""
    row = (
        '{{"id":1,"order_number":"ORD-1","status":"paid","total":{},'
        '"created_at":"2026-02-10T14:30:00.000Z"}}'
    )
    rows = ",".join(map(row.format, AMOUNTS))
    body = f'{{"success":true,"data":{{"items":[{rows}],"total":3,"page":1,"limit":100}}}}'
    orders = decode(body.encode()).data.items
    assert all(order.created_at.tzinfo is not None for order in orders)
    assert all(isinstance(order.total, Decimal) for order in orders)
    return [str(order.total) for order in orders]


def short(digits: str) -> str:
    """Shorten an amount that has more digits than it should."""
    return digits if len(digits) <= 20 else f"{digits[:20]}…"


def figures(found: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Give how many times as many rows a second this library reads as each of the others."""
    what = "decode a page of 100 orders, rows a second"
    return [
        figure(what, other, ratios(found, other, OURS), at_least=target)
        for other, target in TARGETS.items()
    ]


def main() -> None:
    """Measure, print the table and keep it."""
    rounds = rounds_asked("decode", __doc__, ROUNDS)
    prepare()
    body = Store(ROWS).answer(f"/orders?page=1&limit={ROWS}")
    measures = {name: partial(cpu_a_row, decode, body) for name, decode in DECODERS.items()}
    found = in_turn(measures, rounds)
    print(f"a page of {ROWS} orders, {len(body):,} bytes, {rounds} rounds of {PAGES} (quartiles)")
    print(f"{'':44}{'1,000 rows a second':26}money")
    told = {}
    for name, decode in DECODERS.items():
        thousands = quartiles([1e-3 / seconds for seconds in found[name]])
        digits = kept_digits(decode)
        money = "exact" if digits == list(AMOUNTS) else ", ".join(map(short, digits))
        print(f"{name:44}{shown(thousands, '.0f'):26}{money}")
        told[name] = {"thousand_rows_a_second": thousands, "money": digits}
    print()
    print_figures(made := figures(found))
    if rounds == ROUNDS:
        keep("decode", made, LIBRARIES, decoders=told)


if __name__ == "__main__":
    main()
