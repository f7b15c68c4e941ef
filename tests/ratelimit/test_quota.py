"""What a response told of the budget holds requests back; it only ever lowers the estimate."""

from __future__ import annotations

from devskin_async.ratelimit.quota import QuotaLeft


def test_nothing_told_holds_nothing_back() -> None:
    left = QuotaLeft()
    left.spend()
    assert left.wait(0) == 0


def test_when_nothing_is_left_all_wait_for_the_reset() -> None:
    left = QuotaLeft()
    left.told(10, remaining=2, reset_after=30, in_flight=0)
    left.spend()
    assert left.wait(11) == 0
    left.spend()
    assert left.wait(11) == 29
    assert left.wait(40) == 0


def test_requests_under_way_may_not_be_counted_yet() -> None:
    left = QuotaLeft()
    left.told(10, remaining=2, reset_after=30, in_flight=2)
    assert left.wait(10) == 30
