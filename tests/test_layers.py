"""The layers of the package: imports go only downward, those under TYPE_CHECKING too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import devskin_async

PACKAGE = Path(devskin_async.__file__).parent
NAME = devskin_async.__name__

LAYERS = (
    ("_pydantic",),
    ("_capture", "_json", "_values", "_version", "records"),
    ("errors",),
    ("_extras", "_order_rows", "_tolerant"),
    ("_columns",),
    ("_arrow",),
    ("convert", "ratelimit"),
    ("api", "webhooks"),
    ("sandbox", "transport"),
    ("listings", "paging"),
    ("reader",),
    ("resources",),
    ("client",),
    ("export", "fleet"),
    ("reconcile",),
    ("cli", "testing"),
    ("__init__", "__main__"),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
FORBIDDEN = {
    "__init__": {"cli", "export", "reconcile", "sandbox", "testing", "webhooks"},
    "sandbox": set(LAYER_OF) - {"sandbox"},
}
MODULES = sorted(PACKAGE.rglob("*.py"), key=str)


def part_of(module: str) -> str:
    """The part of the package that a dotted module name belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join((NAME, *parts)).removesuffix(".__init__")


NAMES = set(map(module_name, MODULES))


def imports(path: Path) -> Iterator[str]:
    package = [NAME, *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(NAME))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin == NAME:  # a module by its name, or a public name of the package itself
                names = [alias.name for alias in node.names]
                yield from (f"{NAME}.{n if n in LAYER_OF else '__init__'}" for n in names)
            elif origin.startswith(f"{NAME}."):
                modules = [f"{origin}.{alias.name}" for alias in node.names]
                yield from (module if module in NAMES else origin for module in modules)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_its_own_part_and_lower_layers(path: Path) -> None:
    part = part_of(module_name(path))
    for imported in map(part_of, imports(path)):
        assert imported == part or LAYER_OF[imported] < LAYER_OF[part], imported
        assert imported not in FORBIDDEN.get(part, ()), imported


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        name = module_name(path)
        graph[name] = {each.removesuffix(".__init__") for each in imports(path)} - {name}
    # The one circle that is left goes with the scheduler's rewrite.
    graph.get(f"{NAME}.ratelimit.slot", set()).discard(f"{NAME}.ratelimit.scheduler")
    TopologicalSorter(graph).prepare()


def test_the_test_sees_relative_absolute_and_type_checking_imports(tmp_path: Path) -> None:
    module = PACKAGE / "client.py"
    seen = set(map(part_of, imports(module)))
    assert {"api", "errors", "ratelimit", "records", "resources", "transport"} <= seen
