"""How long requests would wait: the window is played on, without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from .policy import Lane
from .shaping import Shape
from .window import Window


class Outlook(NamedTuple):
    """What a prediction starts from.

    Args:
        window: A copy of the window, used up by the prediction.
        shape: The token bucket's size and refill.
        now: The present, in seconds.
        opens: Nothing goes before this.
        tokens: Tokens in the bucket now.
        fills_from: When the bucket begins to fill.
        round_trip: Seconds from a request to its answer, as seen lately.
    """

    window: Window
    shape: Shape
    now: float
    opens: float
    tokens: float
    fills_from: float
    round_trip: float


def forecast(outlook: Outlook, requests: Iterable[tuple[Lane, bool]]) -> float:
    """Predict when the last of some requests is sent.

    Args:
        outlook: The present.
        requests: Of each request in turn, its lane and whether the other lane waits too.

    Returns:
        Seconds from the present.
    """
    window, shape = outlook.window, outlook.shape
    tokens, filled_at = outlook.tokens, outlook.fills_from
    now = max(outlook.now, outlook.opens)
    answers = [
        (outlook.now + outlook.round_trip, lane.value, lane)
        for lane in Lane
        for _ in range(window.in_flight_of(lane))
    ]
    heapify(answers)
    for lane, contested in requests:
        while True:
            while answers and answers[0][0] <= now:
                at, _, answered = heappop(answers)
                window.answered(answered, at)
            opens = window.next_room(lane, now, contested=contested)
            if opens is not None and opens <= now:
                break
            chances = ([] if opens is None else [opens]) + [at for at, _, _ in answers[:1]]
            now = min(chances)
        tokens = min(shape.burst, tokens + (now - filled_at) * shape.rate)
        filled_at = now
        if tokens < 1:
            now += (1 - tokens) / shape.rate
            tokens, filled_at = 1.0, now
        tokens -= 1
        window.take(lane, now)
        heappush(answers, (now + outlook.round_trip, lane.value, lane))
    return now - outlook.now
