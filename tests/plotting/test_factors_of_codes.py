"""Matrices of the information of codes, and traversals with their measurements."""

import numpy as np
import pytest

from pyro_mivae.plotting import measured_traversals, mi_matrices


def test_mi_matrices_print_every_number_on_one_scale():
    first = np.array([[0.0, 1.0, 0.25], [0.5, 0.0, 2.0]])
    found = {"uniform": first, "gaussian": first / 4}
    names = {"codes": ["c[0]", "z[1]"], "factors": ["thickness", "slant", "label"]}
    figure = mi_matrices(found, **names)
    left, right = figure.axes[:2]
    assert [left.get_title(), right.get_title()] == ["uniform", "gaussian"]
    assert [text.get_text() for text in left.texts] == [f"{v:.2f}" for v in first.flat]
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0.0, 2.0)
    assert [t.get_text() for t in left.get_yticklabels()] == ["$c_{0}$", "$z_{1}$"]
    assert figure.axes[-1].get_ylabel() == "nats"
    hidden = mi_matrices({str(i): first for i in range(4)}, **names).axes
    assert [axes.get_visible() for axes in hidden[:6]] == [True] * 4 + [False] * 2
    with pytest.raises(ValueError, match=r"matrices\['a'\]: expected \(2, 3\), found \(3, 2\)"):
        mi_matrices({"a": first.T}, **names)
    with pytest.raises(ValueError, match="at least one"):
        mi_matrices({}, **names)


def test_mi_matrices_of_many_numbers_print_the_strongest_code_of_each_factor():
    values = np.arange(12.0).reshape(4, 3)[[2, 0, 3, 1]] / 10
    names = {"codes": [f"c[{k}]" for k in range(4)], "factors": ["thickness", "slant", "label"]}
    panels = mi_matrices({str(k): values for k in range(4)}, **names).axes[:4]
    for axes in panels:
        places = {text.get_position(): text.get_text() for text in axes.texts}
        assert places == {(0, 2): "0.90", (1, 2): "1.00", (2, 2): "1.10"}


def test_measured_traversals_draw_what_was_measured_beside_each_row():
    images = np.linspace(0, 1, 2 * 4 * 5 * 7).reshape(2, 4, 5, 7)
    measured = np.arange(2 * 4 * 2).reshape(2, 4, 2) - 0.5
    measured[1, 3, 1] = np.nan
    names = ["thickness (px)", "slant (rad)"]
    figure = measured_traversals(images, measured, names=names, labels=["c[0]", "c[1]"])
    tiles, *beside = figure.axes
    canvas = tiles.images[0].get_array()
    tall = canvas.shape[0] // 2
    wide = canvas.shape[1] // 4
    for row, step in np.ndindex(2, 4):
        corner = canvas[row * tall :, step * wide :]
        np.testing.assert_array_equal(corner[:5, :7], images[row, step])
    _, _, width, height = tiles.get_window_extent().bounds
    assert width / height == pytest.approx(canvas.shape[1] / canvas.shape[0])
    assert [text.get_text() for text in tiles.get_yticklabels()] == ["$c_{0}$", "$c_{1}$"]
    assert [axes.get_title() for axes in beside] == names
    thickness, slant = beside
    assert [text.get_text() for text in thickness.texts] == ["−0.50", "5.50", "7.50", "13.50"]
    assert [text.get_text() for text in slant.texts] == ["0.50", "6.50", "8.50", "–"]
    for axes in beside:
        assert axes.get_ylim() == tiles.get_ylim()
        lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
        for row, line in enumerate(lines):
            heights = line.get_ydata()
            finite = heights[np.isfinite(heights)]
            assert (np.diff(finite) < 0).all()  # larger is higher: rows go downwards
            assert row * tall < finite.min() < finite.max() < row * tall + 5
    with pytest.raises(ValueError, match="a label for each row, found"):
        measured_traversals(images, measured, names=names, labels=["c[0]"])
