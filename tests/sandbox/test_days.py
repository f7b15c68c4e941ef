"""Where a store's days begin and end."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, tzinfo

import pytest

from devskin_async.sandbox import Sandbox, SandboxError
from devskin_async.sandbox.view import View
from tests.sandbox.support import TODAY, calling, place_order


@pytest.fixture
def day_of_orders() -> list[str]:
    """Around 10 February 2026: the first and last seconds, in UTC."""
    return [
        "2026-02-09T23:59:59Z",
        "2026-02-10T00:00:00Z",
        "2026-02-10T23:59:59Z",
        "2026-02-11T00:00:00Z",
    ]


async def test_both_ends_of_a_range_of_days_belong_to_it(day_of_orders: list[str]) -> None:
    async with (
        Sandbox(orders=1, limiter="none", today=date(2024, 1, 1)) as box,
        calling(box) as api,
    ):
        ids = [await place_order(box, at) for at in day_of_orders]
        one_day = "/orders?date_from=2026-02-10&date_to=2026-02-10"
        assert sorted(await api.ids(one_day)) == ids[1:3]
        assert sorted(await api.ids("/orders?date_from=2026-02-10")) == ids[1:]
        assert sorted(await api.ids("/orders?date_to=2026-02-10"))[1:] == ids[:3]


async def test_date_to_can_be_exclusive(day_of_orders: list[str]) -> None:
    async with (
        Sandbox(orders=1, limiter="none", date_to="exclusive") as box,
        calling(box) as api,
    ):
        ids = [await place_order(box, at) for at in day_of_orders]
        path = "/orders?date_from={}&date_to={}"
        assert await api.ids(path.format("2026-02-10", "2026-02-10")) == []
        assert sorted(await api.ids(path.format("2026-02-10", "2026-02-11"))) == ids[1:3]


async def test_days_can_be_those_of_a_time_zone() -> None:
    """Midnight in São Paulo is 03:00 in UTC, so 02:59 still belongs to the day before."""
    async with (
        Sandbox(orders=1, limiter="none", time_zone="America/Sao_Paulo", today=TODAY) as box,
        calling(box) as api,
    ):
        late = await place_order(box, "2026-02-11T02:59:59Z", status="paid", total=1000)
        early = await place_order(box, "2026-02-11T03:00:00Z", status="paid", total=500)
        path = "/orders?date_from={0}&date_to={0}"
        assert await api.ids(path.format("2026-02-10")) == [late]
        assert await api.ids(path.format("2026-02-11")) == [early]
        days = {day["date"]: day for day in (await api.data("/revenue?period=7d"))["daily"]}
        assert (days["2026-02-10"]["total"], days["2026-02-11"]["total"]) == (10, 5)


async def test_a_day_of_23_hours_is_a_day() -> None:
    """In Berlin clocks went from 02:00 to 03:00 on 29 March 2026."""
    async with (
        Sandbox(orders=1, limiter="none", time_zone="Europe/Berlin") as box,
        calling(box) as api,
    ):
        times = ["2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z"]
        times += ["2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"]
        ids = [await place_order(box, at) for at in times]
        path = "/orders?date_from=2026-03-29&date_to=2026-03-29"
        assert sorted(await api.ids(path)) == ids[1:3]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Sao_Paulo"])
async def test_the_calendars_first_and_last_days_are_days(zone: str) -> None:
    async with Sandbox(orders=9, time_zone=zone) as box, calling(box) as api:
        data = await api.data("/orders?date_from=0001-01-01&date_to=9999-12-31")
    assert data["total"] == 9


async def test_a_period_includes_today_and_goes_back_its_days() -> None:
    async with Sandbox(orders=1, today=TODAY) as box, calling(box) as api:
        for at in ("2026-02-13T23:59:59Z", "2026-02-07T00:00:00Z"):
            await place_order(box, at, status="paid", total=100)
        for at in ("2026-02-14T00:00:00Z", "2026-02-06T23:59:59Z"):
            await place_order(box, at, status="paid", total=100)
        daily = (await api.data("/revenue?period=7d"))["daily"]
    assert [day["date"] for day in daily] == ["2026-02-13", "2026-02-07"]


@pytest.mark.parametrize(
    ("zone", "today"),
    [
        ("Pacific/Kiritimati", "2026-02-11"),
        ("UTC", "2026-02-11"),
        ("America/Sao_Paulo", "2026-02-10"),
    ],
)
def test_today_is_the_stores_day_wherever_the_machine_is(
    zone: str, today: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # stands
            return datetime(2026, 2, 11, 2, 30, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr("devskin_async.sandbox.view.datetime", Standing)
    view = View(
        order="newest",
        date_to="inclusive",
        zone=zoneinfo.ZoneInfo(zone),
        today=None,
        refunds=False,
    )
    assert view.days(1)[0][0] == today


async def test_utc_needs_no_time_zones_installed() -> None:
    there = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    try:
        async with Sandbox(orders=9) as box, calling(box) as api:
            assert (await api.data("/orders?date_from=2020-01-01"))["total"] == 9
    finally:
        zoneinfo.reset_tzpath(to=there)


@pytest.mark.parametrize("zone", ["Atlantis/Capital", "../etc/passwd", "", "/etc/passwd"])
def test_a_time_zone_must_exist(zone: str) -> None:
    with pytest.raises(SandboxError, match=r"^there is no time zone"):
        Sandbox(time_zone=zone)
