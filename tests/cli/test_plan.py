"""`devskin export --plan`."""

from __future__ import annotations

from pathlib import Path

from devskin_async.sandbox import Sandbox

from .support import Devskin, in_thread, store_options


def test_a_plan_tells_requests_time_and_share_and_writes_nothing(
    devskin: Devskin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with in_thread(lambda: Sandbox(limiter="none")) as box:
        ran = devskin("export", "all", "--plan", "--out", str(out), *store_options(box))
        sent = box.counts.requests
    assert (ran.code, ran.err) == (0, "")
    head, orders, *_, summary, spent = ran.out.splitlines()
    assert head.split() == ["resource", "rows", "requests"]
    assert orders.split()[:2] == ["orders", "1,563"]
    assert ": no wait at the present budget, 0.0" in summary
    assert summary.endswith("% of what the key may send in a day.")
    assert spent == f"Nothing was written. Planning took {sent} requests of its own."
    assert not out.exists()


def test_a_plan_with_details_counts_a_request_for_each_order(
    devskin: Devskin, box: Sandbox
) -> None:
    ran = devskin("export", "orders", "--details", "--plan", *store_options(box))
    assert ran.code == 0
    assert ran.out.splitlines()[2].split() == ["order", "details", "1,563", "1,563"]
    assert " min at the present budget, 1.1" in ran.out


def test_a_plan_of_next_to_nothing_has_a_share_all_the_same(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("export", "overview", "--plan", *store_options(box))
    assert "1 request: no wait at the present budget, less than 0.01% of " in ran.out
