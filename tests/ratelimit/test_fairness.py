"""Flows take turns in a lane; each flow's own waiters are first come, first served."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.ratelimit import FairQueue, Flow


class Waiting:
    """A waiter that can be cancelled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gone = False

    def done(self) -> bool:
        return self.gone


Queue = FairQueue[Waiting]


def push(queue: Queue, flow: Flow[Waiting], *names: str) -> list[Waiting]:
    waiters = [Waiting(name) for name in names]
    for waiter in waiters:
        queue.push(flow, waiter)
    return waiters


def pop(queue: Queue) -> str:
    waiter = queue.pop()
    assert waiter is not None
    return waiter.name


def drain(queue: Queue) -> str:
    taken = []
    while (waiter := queue.pop()) is not None:
        taken.append(waiter.name)
    return "".join(taken)


def test_a_single_flow_is_first_come_first_served() -> None:
    queue = Queue()
    push(queue, Flow(), *"abc")
    assert drain(queue) == "abc"


def test_flows_take_turns() -> None:
    queue = Queue()
    push(queue, Flow(), *"aaaa")
    push(queue, Flow(), *"bbbb")
    assert drain(queue) == "abababab"


def test_a_flow_of_one_request_is_not_behind_what_another_has_queued() -> None:
    queue = Queue()
    push(queue, Flow(), *("a" * 1000))
    queue.pop()
    push(queue, Flow(), "b")
    assert "b" in [pop(queue) for _ in range(2)]


def test_a_flow_that_was_idle_does_not_catch_up() -> None:
    queue = Queue()
    early, late = Flow[Waiting](), Flow[Waiting]()
    push(queue, late, "b")
    queue.pop()
    push(queue, early, *("a" * 10))
    for _ in range(5):
        queue.pop()
    push(queue, late, *("b" * 5))
    assert drain(queue) == "bababababa"


def test_a_flow_that_queues_again_at_once_waits_for_the_others_turns() -> None:
    queue = Queue()
    greedy, other = Flow[Waiting](), Flow[Waiting]()
    push(queue, greedy, "a")
    push(queue, other, *"bbb")
    taken = ""
    for _ in range(6):
        taken += pop(queue)
        if taken[-1] == "a":
            push(queue, greedy, "a")
    assert taken == "ababab"


def test_cancelled_waiters_are_skipped() -> None:
    queue = Queue()
    first = push(queue, Flow(), *"abc")
    second = push(queue, Flow(), *"xyz")
    for waiter in (first[0], first[2], *second):
        waiter.gone = True
    assert drain(queue) == "b"
    assert queue.pop() is None


def test_cancelled_waiters_are_removed_once_they_outnumber_the_others() -> None:
    queue = Queue()
    flow, waiting = Flow[Waiting](), []
    for _ in range(1000):
        waiting += push(queue, flow, *"ab") + push(queue, Flow(), "c")
        for waiter in waiting[-3:-1]:
            waiter.gone = True
            queue.note_cancelled()
    assert len(flow.waiters) <= queue.waiting == 1000
    for waiter in waiting[2::3]:
        waiter.gone = True
        queue.note_cancelled()
    assert not flow.waiters
    push(queue, flow, *"ab")
    assert drain(queue) == "ab"


def test_many_waiters_may_be_cancelled_before_the_first_is_noted() -> None:
    queue = Queue()
    flow = Flow[Waiting]()
    waiting = push(queue, flow, *("a" * 100))
    push(queue, flow, "b")
    for waiter in waiting:
        waiter.gone = True
    for _ in waiting:
        queue.note_cancelled()
    assert [waiter.name for waiter in flow.waiters] == ["b"]
    assert drain(queue) == "b"
    push(queue, flow, *"cde")[0].gone = True
    queue.note_cancelled()
    assert len(flow.waiters) == 3  # one of three is no reason to look at all


def test_a_flow_waits_in_one_lane_only() -> None:
    flow = Flow[Waiting]()
    push(Queue(), flow, "a")
    with pytest.raises(ValueError, match="a flow waits in one lane only"):
        push(Queue(), flow, "b")


def test_an_empty_queue_pops_none() -> None:
    assert Queue().pop() is None


def test_each_request_of_a_new_flow_is_behind_one_turn_of_every_other_flow() -> None:
    queue = Queue()
    push(queue, Flow(), *"aaaaa")
    push(queue, Flow(), "b")
    gone = push(queue, Flow(), "c")
    gone[0].gone = True
    assert queue.ahead_of_new_flow(1) == 2
    assert queue.ahead_of_new_flow(3) == 4
    assert queue.ahead_of_new_flow(100) == 6


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 4)),
            st.tuples(st.just("pop"), st.just(0)),
            st.tuples(st.just("leave"), st.integers(0, 50)),
        ),
        max_size=100,
    )
)
def test_every_waiter_is_popped_once_and_each_flows_in_order(
    steps: list[tuple[str, int]],
) -> None:
    queue = Queue()
    flows = [Flow[Waiting]() for _ in range(5)]
    waiting: list[tuple[int, Waiting]] = []
    taken: list[Waiting] = []
    for what, number in steps:
        if what == "push":
            waiting += [(number, waiter) for waiter in push(queue, flows[number], "x")]
        elif what == "leave" and number < len(waiting):
            if not waiting[number][1].gone and waiting[number][1] not in taken:
                waiting[number][1].gone = True
                queue.note_cancelled()
        elif what == "pop" and (waiter := queue.pop()) is not None:
            taken.append(waiter)
    while (waiter := queue.pop()) is not None:
        taken.append(waiter)
    assert len(taken) == len(set(taken))
    assert queue.waiting == 0
    stayed = {id(waiter) for _, waiter in waiting if not waiter.gone}
    assert stayed <= {id(waiter) for waiter in taken}
    for number in range(5):
        order = [waiter for flow, waiter in waiting if flow == number]
        positions = [order.index(waiter) for waiter in taken if waiter in order]
        assert positions == sorted(positions)
