"""What a test of any figure asks of it, and the parts of figures that see to it."""

import ast
import struct
from pathlib import Path

import numpy as np
import pytest
import readable
from matplotlib.figure import Figure

from pyro_mivae.plotting import style

ROOT = Path(__file__).parents[2]


def figure_with(width=7.36, **text):
    figure = Figure(figsize=(width, 3))
    axes = figure.subplots()
    axes.imshow(np.array([[0.0, 1.0]]), cmap="Blues", vmin=0, vmax=1)
    axes.tick_params(labelsize=10)
    axes.text(**{"x": 0, "y": 0, "s": "0.50", "color": "black", "fontsize": 8} | text)
    return figure


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"width": 7.5}, "750 pixels wide"),
        ({"fontsize": 6.4}, "'0.50' is 8.9 pixels high"),
        ({"s": "$c_3$"}, "is 7.8 pixels high"),
        ({"s": "$c_3$", "fontsize": 9.5}, None),
        ({"s": "$p_{q_0}$", "fontsize": 9.5}, "is 6.5 pixels high"),
        ({"x": 1}, "has a contrast of"),
        ({"x": 1, "color": "white"}, None),
        ({"color": "white"}, "has a contrast of 1"),
        ({"y": 5, "color": "#999999"}, "has a contrast of 2.8"),
    ],
)
@pytest.mark.unreadable
def test_what_a_figure_is_asked(changes, fault):
    wrong = readable.faults(figure_with(**changes))
    assert (fault is None and not wrong) or (fault in wrong[0] and len(wrong) == 1)


@pytest.mark.unreadable
def test_a_table_as_a_picture_is_a_fault():
    figure = figure_with()
    for number in range(90):
        figure.axes[0].text(0, 0, str(number), fontsize=8)
    assert readable.faults(figure) == ["91 numbers, for a table"]


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("black", "white", 21), ("#777777", "white", 4.478), ("#D55E00", "white", 3.867)],
)
def test_contrast_is_that_of_wcag(one, other, ratio):
    assert style.contrast(one, other) == pytest.approx(ratio, abs=1e-3)
    assert style.contrast(other, one) == pytest.approx(readable.contrast(one, other))


def test_there_is_an_ink_for_every_colour():
    colours = np.random.default_rng(0).uniform(size=(2000, 3))
    greys = np.repeat(np.linspace(0, 1, 500)[:, None], 3, 1)
    ratios = [readable.contrast(style.ink_on(c), c) for c in [*colours, *greys]]
    assert min(ratios) >= 4.5


def test_a_heat_map_is_written_on_in_readable_ink():
    values = np.linspace(0, 1, 40).reshape(5, 8)
    figure = style.new_figure(3)
    names = {"columns": list("abcdefgh"), "rows": list("abcde")}
    style.heat_map(figure.subplots(), values, top=1.0, texts=style.numbers(values, 0.3), **names)
    axes = figure.axes[0]
    assert len(axes.texts) == (values >= 0.3).sum()
    assert {text.get_color() for text in axes.texts} == {"black", "white"}
    assert not readable.faults(figure)


def drawing_functions():
    """Names of the functions that return a figure, of library, experiments and benchmarks."""
    for folder in ("pyro_mivae", "experiments", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                returns = ast.unparse(getattr(node, "returns", None) or ast.Constant(None))
                if "Figure" in returns and node.name[0] != "_":
                    yield node.name


THROUGH = {
    "responses": "redraw",
    "share_table": "categories_by_class",
    "sheets": "write_report",
    "traversal": "redraw",
    "of_rows": "write_report",
}
"""Figures that tests draw through another function."""


def test_every_figure_is_drawn_by_a_test():
    """The tests of figures look at each: see `readable_figures` in conftest.py."""
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    names = {THROUGH.get(name, name) for name in drawing_functions()} - {"new_figure"}
    assert len(names) > 25
    assert not [name for name in names if f"{name}(" not in tests and f"{name}," not in tests]


# Drawn before figures had the width of a page, from runs that are kept nowhere: the points of their
# smallest text.
KEPT = {
    "infogan_traversals_infogan": 10,
    "poster_figure_1": 14,
    "poster_figure_5": 14,
    "poster_figure_5_all": 14,
}
PICTURES = sorted((ROOT / "docs" / "figures").glob("*.png"))


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_pictures_of_the_docs_are_drawn_for_the_width_of_a_page(path):
    pixels, dots = size_of(path)
    inches = pixels / dots
    if path.stem in KEPT:
        assert inches > 7.4  # else it has been drawn anew
        assert KEPT[path.stem] / 72 * readable.SHOWN / inches > readable.LEAST
    else:
        assert inches == pytest.approx(7.36, abs=0.01)
        assert pixels >= 2 * readable.SHOWN


def size_of(path):
    """Pixels across a PNG, and dots to the inch."""
    data = path.read_bytes()
    (width,) = struct.unpack(">I", data[16:20])
    place = data.index(b"pHYs")
    (dots,) = struct.unpack(">I", data[place + 4 : place + 8])
    return width, dots * 0.0254
