"""Imports of the library point one way, files stay small, and nothing prints."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyro_mivae"
LAYERS = (
    (
        "files",
        "groups",
        "history",
        "runs",
        "batches",
        "clustering",
        "datasets",
        "distributions",
        "factorised",
        "factors",
        "families",
        "mixture",
        "morphometry",
        "networks",
        "softplus",
    ),
    ("priors", "likelihoods"),
    ("pair", "vae"),
    ("infer",),
    ("checkpoints", "loop", "objective", "parallel", "torchrun", "training"),
    ("information", "disentanglement", "contrasts", "verdict"),
    ("draws", "inference_data", "plotting"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from pyro_mivae import runs` imports the module runs.
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = members if node.module == "pyro_mivae" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    if layer(path) == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "pyro_mivae" and len(parts) > 1:
            assert RANK[parts[1]] <= RANK[layer(path)], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_plotting_draws_and_nothing_prints(path):
    for name in imported(path):
        assert not name.startswith("matplotlib") or layer(path) == "plotting"
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300
