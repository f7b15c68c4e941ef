"""What is shown where, and how values become cells."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.cli import render
from devskin_async.sandbox import Sandbox

from .support import Devskin, answering, in_thread, store_options

# C1 controls, marks and embeddings of writing direction, the line ends that only Unicode has.
STEERING = "".join(
    map(
        chr,
        [*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)],
    )
)


def test_a_value_that_is_missing_is_blank() -> None:
    for blank in (render.words(None), render.number(None), render.instant(None)):
        assert blank.plain == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1563, "1,563"), (Decimal("185420.50"), "185,420.50"), (Decimal("2E+3"), "2,000")],
)
def test_a_number_keeps_its_digits(value: int | Decimal, shown: str) -> None:
    assert render.number(value).plain == shown


@pytest.mark.parametrize("name", ["\x1b[31mred\x07", "a\tb\r\nc", "\u202egnp.exe", "\x9b2J"])
def test_a_text_from_outside_becomes_one_harmless_line(name: str) -> None:
    assert render.printable(name).isprintable()


def test_colours_can_be_asked_for_in_a_pipe(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = devskin("orders", "--max", "1", *store_options(box))
    assert "\x1b[1m" in ran.out


def test_columns_bounds_the_width_of_what_is_piped(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    ran = devskin("customers", *store_options(box))
    assert max(map(len, ran.out.splitlines())) <= 60


def test_bars_are_plain_signs_where_the_output_has_no_others(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.encoding", "ascii")
    ran = devskin("revenue", *store_options(box))
    assert "#" * 40 in ran.out
    assert "█" not in ran.out


@pytest.mark.parametrize("command", [("order", "1"), ("customers",)], ids=" ".join)
def test_json_does_not_steer_a_terminal_and_means_the_same(
    command: tuple[str, ...], devskin: Devskin
) -> None:
    name = f"Ana {STEERING} \U0001f600 \u200d \xa0 \x7f \x1b ção"
    order = {"id": 1, "order_number": "A", "status": "paid", "total": 1, "subtotal": 1}
    order |= {"shipping_cost": 0, "discount": 0, "items": [], "customer_name": name}
    person = {"id": 1, "name": name, "email": "a@example.com", "total_orders": 1, "total_spent": 1}
    at = {"created_at": "2026-02-10T14:30:00.000Z", "updated_at": "2026-02-10T14:30:00.000Z"}
    data = {"order": order | at, "items": [person | at], "total": 1, "page": 1, "limit": 100}
    body = json.dumps({"success": True, "data": data}, ensure_ascii=False).encode()
    with in_thread(lambda: answering(body)) as url:
        ran = devskin(*command, "--json", "--base-url", url, "--api-key", "key")
    assert ran.code == 0
    assert ran.out.removesuffix("\n").isprintable()
    assert name in json.loads(ran.out).values()


@given(st.recursive(st.text() | st.integers(), st.lists) | st.dictionaries(st.text(), st.text()))
def test_harmless_json_is_the_same_json(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    harmless = render.harmless_json(text).decode()
    assert harmless.isprintable()
    assert json.loads(harmless) == value


COMMANDS = ("orders", "products", "customers")


@pytest.mark.parametrize("columns", [40, 47, 60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_keeps_its_ids_whatever_the_width(
    command: str, columns: int, devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    head, *rows = devskin(command, "--max", "30", *store_options(box)).out.splitlines()
    ids = [row["id"] for row in json_rows(devskin, command, box)]
    assert head.split()[0] == "ID"
    assert [int(row.split()[0]) for row in rows] == ids
    assert max(map(len, (head, *rows))) <= columns
    assert not {"…"} & set(head)


def test_a_table_of_long_ids_keeps_them_whole_at_40_columns(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    row = {"id": 2**63 - 1, "order_number": "ORD-2026-001234-TOO-LONG", "status": "completed"}
    row |= {"total": "1234567.89", "created_at": "2026-02-10T14:30:00.000Z"}
    data = {"items": [row | {"total": 1234567.89}], "total": 1, "page": 1, "limit": 20}
    with in_thread(lambda: answering(json.dumps({"success": True, "data": data}).encode())) as url:
        ran = devskin("orders", "--base-url", url, "--api-key", "key")
    assert str(2**63 - 1) in ran.out
    assert "1,234,567.89" in ran.out


def json_rows(devskin: Devskin, command: str, box: Sandbox) -> list[dict[str, int]]:
    ran = devskin(command, "--max", "30", "--json", *store_options(box))
    return [json.loads(line) for line in ran.out.splitlines()]
