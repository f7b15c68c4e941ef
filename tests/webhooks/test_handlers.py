"""Which functions are called with an event, in which order, and how."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.webhooks import WebhookEvent, parse
from devskin_async.webhooks.handlers import Handlers

from .support import order_body, other_body

PAID = parse(order_body())


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("order.paid", "order.paid", True),
        ("order.paid", "order.paid.twice", False),
        ("order.paid", "order.pai", False),
        ("order.paid", "Order.paid", False),
        ("order.paid", "order_paid", False),
        ("order.*", "order.paid", True),
        ("order.*", "order.", True),
        ("order.*", "order.note.added", True),
        ("order.*", "order", False),
        ("order.*", "orders.paid", False),
        ("order.note.*", "order.note.added", True),
        ("order.note.*", "order.noted", False),
        ("*", "order.paid", True),
        ("*", "x", True),
    ],
)
async def test_a_pattern_fits_its_events_and_no_others(pattern: str, name: str, fits: bool) -> None:
    handlers = Handlers()
    seen: list[str] = []
    handlers.on(pattern)(lambda event: seen.append(event.event))
    data = order_body(event=name) if name.startswith("order.") else other_body(event=name)
    await handlers.call(parse(data))
    assert seen == ([name] if fits else [])


@pytest.mark.parametrize(
    "pattern", ["", "or*", "*.paid", "order.*.x", "**", "order *", "a b", "*\n"]
)
def test_what_is_no_pattern_is_a_value_error(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern must be an event such as"):
        Handlers().on(pattern)


@given(
    st.text(
        st.characters(exclude_characters="*", exclude_categories=["Zs", "Cc", "Zl", "Zp"]),
        min_size=1,
    )
)
def test_any_name_without_a_blank_or_a_star_is_a_pattern(name: str) -> None:
    Handlers().on(name)
    Handlers().on(f"{name}.*")


def test_the_decorator_gives_back_the_very_function() -> None:
    def handler(event: WebhookEvent) -> None: ...

    assert Handlers().on("*")(handler) is handler


async def test_a_function_may_be_added_for_several_patterns_and_is_called_for_each() -> None:
    handlers = Handlers()
    calls: list[WebhookEvent] = []

    @handlers.on("order.paid")
    @handlers.on("product.*")
    async def handler(event: WebhookEvent) -> None:
        calls.append(event)

    product = parse(other_body())
    await handlers.call(PAID)
    await handlers.call(product)
    assert calls == [PAID, product]


async def test_handlers_are_called_one_after_another_in_the_order_they_were_added_in() -> None:
    handlers = Handlers()
    calls: list[str] = []

    @handlers.on("*")
    async def first(event: WebhookEvent) -> None:
        calls.append("first in")
        await asyncio.sleep(0)
        calls.append("first out")

    @handlers.on("order.paid")
    def second(event: WebhookEvent) -> None:
        calls.append("second")

    @handlers.on("order.*")
    async def third(event: WebhookEvent) -> None:
        calls.append("third")

    await handlers.call(PAID)
    assert calls == ["first in", "first out", "second", "third"]


async def test_what_one_raises_is_raised_and_the_next_are_not_called() -> None:
    handlers = Handlers()
    calls: list[str] = []

    @handlers.on("*")
    def broken(event: WebhookEvent) -> None:
        raise LookupError("no such order")

    handlers.on("*")(lambda event: calls.append("called"))
    with pytest.raises(LookupError, match="no such order"):
        await handlers.call(PAID)
    assert calls == []


async def test_a_sync_handler_runs_in_another_thread_with_the_callers_context() -> None:
    handlers = Handlers()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")
    found: list[tuple[bool, str]] = []

    @handlers.on("*")
    def handler(event: WebhookEvent) -> None:
        found.append((threading.current_thread() is threading.main_thread(), variable.get()))

    await handlers.call(PAID)
    assert found == [(False, "of the caller")]


async def test_a_sync_handler_that_gives_an_awaitable_has_it_awaited() -> None:
    handlers = Handlers()
    calls: list[WebhookEvent] = []

    async def later(event: WebhookEvent) -> None:
        calls.append(event)

    @handlers.on("*")
    def handler(event: WebhookEvent) -> Coroutine[object, object, None]:
        return later(event)

    await handlers.call(PAID)
    assert calls == [PAID]


class Caller:
    def __init__(self) -> None:
        self.threads: list[bool] = []

    async def __call__(self, event: WebhookEvent) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())

    async def method(self, event: WebhookEvent) -> None:
        await self(event)

    def sync_method(self, event: WebhookEvent) -> None:
        self.threads.append(threading.current_thread() is threading.main_thread())


async def test_async_objects_methods_and_partials_are_called_in_the_loop() -> None:
    handlers = Handlers()
    caller = Caller()
    handlers.on("*")(caller)
    handlers.on("*")(caller.method)
    handlers.on("*")(functools.partial(Caller.method, caller))
    handlers.on("*")(caller.sync_method)
    await handlers.call(PAID)
    assert caller.threads == [True, True, True, False]
