"""What an export returns, as it shows itself."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from devskin_async.export import export

from .stores import selling


async def test_the_repr_is_one_short_line_that_says_whether_all_is_proven(tmp_path: Path) -> None:
    async with selling(orders=1200, products=7, customers=5) as (_, store):
        done = await export(store, ["orders", "products"], tmp_path)
    where = f"<Exported to {str(tmp_path)!r}: orders 1,200, products 7;"
    assert repr(done) == f"{where} all proven complete>"
    doubted = evolve(done.certificates["products"], proof="unproven")
    resources = {**done.manifest.resources, "products": doubted}
    doubtful = evolve(done, manifest=evolve(done.manifest, resources=resources))
    assert repr(doubtful) == f"{where} not all proven complete>"
