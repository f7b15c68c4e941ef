"""Which functions want which events."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias, TypeVar, cast

from .events import WebhookEvent

Handler: TypeAlias = Callable[[WebhookEvent], object]
H = TypeVar("H", bound=Handler)

_PATTERN = re.compile(r"\*|[^\s*]+\.\*|[^\s*]+")


class Handlers:
    """The functions that are called with events."""

    def __init__(self) -> None:
        self._handlers: list[tuple[str, Callable[[WebhookEvent], Awaitable[object]]]] = []

    def on(self, pattern: str) -> Callable[[H], H]:
        """Make a decorator that adds a function, as `WebhookReceiver.on` tells."""
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f'pattern must be an event such as "order.paid", or "order.*", or "*", not '
                f"{pattern!r}"
            )

        def add(handler: H) -> H:
            self._handlers.append((pattern, _awaitable(handler)))
            return handler

        return add

    async def call(self, event: WebhookEvent) -> None:
        """Call those who want an event, one after another, in the order they were added in."""
        for pattern, handler in self._handlers:
            if _fits(pattern, event.event):
                await handler(event)


@contextmanager
def contained() -> Iterator[None]:
    """Turn exceptions that would end the program, the thread or the task into RuntimeError.

    Raises:
        RuntimeError: In place of a `SystemExit`, a `KeyboardInterrupt`, a `BaseExceptionGroup`, or
            a `CancelledError` or `GeneratorExit` that came from within.
        CancelledError: This task is being cancelled.
        GeneratorExit: This coroutine is being closed.
    """
    task = _current_task()
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) and (task is None or _current_task() is not task):
            raise
        if task is not None and task.cancelling():
            if isinstance(error, asyncio.CancelledError):
                raise
            raise asyncio.CancelledError from error
        raise _as_failure(error) from error


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop is running, so that it is being closed
        return None


def _as_failure(error: BaseException) -> RuntimeError:
    return RuntimeError(f"{type(error).__name__} was raised while handling an event")


def _fits(pattern: str, name: str) -> bool:
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def _awaitable(handler: Handler) -> Callable[[WebhookEvent], Awaitable[object]]:
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object may have an async one
    ):
        return cast(Callable[[WebhookEvent], Awaitable[object]], handler)

    async def in_thread(event: WebhookEvent) -> None:
        result = await _in_thread(handler, event)
        if inspect.isawaitable(result):
            await result

    return in_thread


async def _in_thread(handler: Handler, event: WebhookEvent) -> object:
    def call() -> object:
        try:
            return handler(event)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            # No future can hold a StopIteration, and the others would end the loop.
            raise _as_failure(error) from error

    thread = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        # A thread can't be stopped, and until it ends the event is under way.
        while not thread.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((thread,))
        raise
