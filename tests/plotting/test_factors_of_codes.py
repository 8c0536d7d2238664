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


def test_measured_traversals_print_what_was_measured_under_each_image():
    images = np.linspace(0, 1, 2 * 4 * 5 * 7).reshape(2, 4, 5, 7)
    measured = np.arange(2 * 4 * 2).reshape(2, 4, 2) - 0.5
    measured[1, 3, 1] = np.nan
    names = ["thickness (px)", "slant (rad)"]
    figure = measured_traversals(images, measured, names=names, labels=["c[0]", "c[1]"])
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "−0.50\n0.50"
    assert texts[-1] == "13.50\n–"
    assert len(texts) == 8
    assert "under each image: thickness (px), slant (rad)" in axes.get_xlabel()
    canvas = axes.images[0].get_array()
    # Each text is under its image, whose ink is where its frame is.
    for place, (text, frame) in enumerate(zip(axes.texts, axes.lines, strict=True)):
        row, step = divmod(place, 4)
        x, y = (np.asarray(v) for v in frame.get_data())
        left, top = int(x.min() + 0.5), int(y.min() + 0.5)
        assert np.array_equal(canvas[top : top + 5, left : left + 7], images[row, step])
        assert text.get_position()[0] == pytest.approx(x[:2].mean())
        assert y.max() < text.get_position()[1] < y.max() + 1
    with pytest.raises(ValueError, match="a label for each row, found"):
        measured_traversals(images, measured, names=names, labels=["c[0]"])
