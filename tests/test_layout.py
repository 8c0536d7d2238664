"""Imports of the library point one way, files stay small, and nothing prints."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyro_mivae"
FLOORS = (
    (
        *("checks", "extras", "distributions", "runs", "batches", "isolation", "progress"),
        *("morphometry", "disentanglement", "page_in"),
    ),
    ("traces", "priors", "datasets", "plotting"),
    ("infer", "vae", "gan"),
    ("training", "information", "inference_data"),
)
RANK = {name: rank for rank, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted({path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES})


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported(path):
    """The dotted names that a file imports, inside functions, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from pyro_mivae import runs` imports the module runs.
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = members if node.module == "pyro_mivae" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from names


def each_file(test):
    return pytest.mark.parametrize(
        "path", FILES, ids=[path.relative_to(PACKAGE).as_posix() for path in FILES]
    )(test)


def test_every_room_has_a_floor():
    assert [name for name in ROOMS if name not in RANK] == ["__init__"]
    assert [name for name in RANK if name not in ROOMS] == []


@each_file
def test_imports_point_down_the_floors(path):
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("experiments", "benchmarks", "tests"), f"{path} imports {name}"
        if room(path) != "__init__" and parts[0] == "pyro_mivae" and len(parts) > 1:
            assert RANK[parts[1]] <= RANK[room(path)], f"{path} imports {name}"


def test_no_circle_among_the_rooms():
    """Rooms of one floor may import each other, but not in a circle."""
    edges = {name: set() for name in ROOMS if name != "__init__"}
    for path in FILES:
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "pyro_mivae" and len(parts) > 1 and room(path) in edges:
                edges[room(path)].add(parts[1])
    list(TopologicalSorter({a: b - {a} for a, b in edges.items()}).static_order())


def test_no_circle_among_the_files():
    """Packages' ``__init__`` aside, which hand on what is below them."""
    modules = {
        ".".join(("pyro_mivae", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in FILES
    }
    edges = {}
    for module, path in modules.items():
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module]
            found = {f"{n.module}.{alias.name}" for n in names for alias in n.names}
            found |= {n.module for n in names}
            edges[module] = found & modules.keys()
    list(TopologicalSorter(edges).static_order())


@each_file
def test_only_plotting_draws_and_nothing_prints(path):
    for name in imported(path):
        assert not name.startswith("matplotlib") or room(path) == "plotting"
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@each_file
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300


def test_base_names_of_tests_are_unique():
    """Two of one name can't be collected together."""
    tests = PACKAGE.parent / "tests"
    names = Counter(path.name for path in tests.rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
