"""The study's own figures: interactions, leading factors, and estimates with intervals."""

import math

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.container import ErrorbarContainer

from experiments.open_question.report.plots import interaction_plot, top_factors
from experiments.plots.forest import forest_plot

BLUE, ORANGE, GREY, PALE = "#0072B2", "#D55E00", "#999999", "#DDDDDD"


def rows():
    """G is 0.1 on both; T is 0.5 on the first and 0.3 on the second, seeds 0.1 apart."""
    means = {("G", "D3"): 0.1, ("G", "D4"): 0.1, ("T", "D3"): 0.5, ("T", "D4"): 0.3}
    return [
        {"panel": panel, "arm": arm, "data": data, "seed": seed, "value": mean + (seed - 1) / 10}
        for panel in ("one", "other")
        for (arm, data), mean in means.items()
        for seed in range(3)
    ]


def bars(axes):
    return {c.get_label(): c for c in axes.containers if isinstance(c, ErrorbarContainer)}


def test_interaction_plot_shows_means_intervals_and_every_run():
    figure = interaction_plot(rows(), label="I_T (nats)")
    assert [axes.get_title() for axes in figure.axes] == ["one", "other"]
    axes = figure.axes[0]
    assert axes.get_ylabel() == "I_T (nats)"
    found = bars(axes)
    assert found["G"].lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.1])
    assert found["T"].lines[0].get_ydata().tolist() == pytest.approx([0.5, 0.3])
    # Student's t with 2 degrees of freedom, sd 0.1 of 3 seeds.
    reach = 4.302653 * 0.1 / math.sqrt(3)
    (stems,) = found["T"].lines[2]
    assert stems.get_segments()[0][:, 1].tolist() == pytest.approx([0.5 - reach, 0.5 + reach])
    points = [line for line in axes.lines if line.get_marker() == "."]
    assert sorted(y for line in points for y in line.get_ydata()) == pytest.approx(
        sorted(r["value"] for r in rows() if r["panel"] == "one")
    )
    thin = [line for line in axes.lines if line.get_linewidth() == 0.5]
    assert len(thin) == 2 * 3  # a line for each seed of each arm
    ends = {tuple(np.round(line.get_ydata(), 6)) for line in thin}
    assert ends == {(0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.4, 0.2), (0.5, 0.3), (0.6, 0.4)}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["G", "T"]


def test_interaction_plot_takes_what_is_there():
    some = [r for r in rows() if (r["arm"], r["data"]) != ("T", "D4") and r["seed"] == 0]
    some = [r for r in some if (r["panel"], r["arm"]) != ("one", "T")]
    figure = interaction_plot(some, label="y")
    assert set(bars(figure.axes[0])) == {"G"}
    assert bars(figure.axes[1])["T"].lines[0].get_ydata().tolist() == [0.4]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["G", "T"]
    with pytest.raises(ValueError, match="no run to draw"):
        interaction_plot([], label="y")
    with pytest.raises(ValueError, match="row 0 has no value"):
        interaction_plot([rows()[0] | {"value": None}], label="y")


def test_top_factors_counts():
    tops = ["slant", "label", "slant", "none"]
    figure = top_factors(
        [{"group": "T on D3", "top": top} for top in tops] + [{"group": "G on D3", "top": "slant"}]
    )
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["T on D3", "G on D3"]
    widths = {
        (bar.get_y() + bar.get_height() / 2, container.get_label()): bar.get_width()
        for container in axes.containers
        for bar in container
    }
    assert {key: width for key, width in widths.items() if width} == {
        (0.0, "slant"): 0.5,
        (0.0, "label"): 0.25,
        (0.0, "none"): 0.25,
        (1.0, "slant"): 1.0,
    }
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["1", "2", "1", "4 runs", "1", "1 runs"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["label", "slant", "none"]
    colours = {c.get_label(): c.patches[0].get_facecolor() for c in axes.containers}
    assert same_color(colours["label"], GREY)
    assert same_color(colours["none"], PALE)


def test_top_factors_have_colours_of_their_own():
    names = ["thickness", "slant", "width", "scale", "x", "y", "angle", "label", "none"]
    axes = top_factors([{"group": "T", "top": name} for name in names]).axes[0]
    assert len({c.patches[0].get_facecolor() for c in axes.containers}) == len(names)


def estimates():
    """Two panels; the second has one of the two lines, and one of the two groups."""
    numbers = {
        ("one", "first", "old"): (0.1, -0.1, 0.2),
        ("one", "first", "new"): (0.3, 0.2, 0.5),
        ("one", "second", "new"): (-0.2, -0.6, 0.0),
        ("other", "second", "new"): (7.0, 6.0, 9.0),
    }
    names = ("panel", "line", "group", "value", "low", "high")
    return [dict(zip(names, key + found, strict=True)) for key, found in numbers.items()]


def test_forest_plot_shows_each_estimate_and_its_interval_on_its_line():
    figure = forest_plot(estimates(), label="nats")
    one, other = figure.axes
    assert (one.get_title(), other.get_title()) == ("one", "other")
    assert [text.get_text() for text in one.get_yticklabels()] == ["first", "second"]
    low, high = one.get_ylim()
    assert low > 1 > 0 > high  # the first line on top
    found = bars(one)
    old, new = found["old"], found["new"]
    assert old.lines[0].get_xdata().tolist() == [0.1]
    assert new.lines[0].get_xdata().tolist() == [0.3, -0.2]
    (stems,) = new.lines[2]
    ends = [segment[:, 0].tolist() for segment in stems.get_segments()]
    assert ends == [pytest.approx([0.2, 0.5]), pytest.approx([-0.6, 0.0])]
    # Each about its line, in the order of the groups.
    assert old.lines[0].get_ydata()[0] == pytest.approx(-0.175)
    assert new.lines[0].get_ydata().tolist() == pytest.approx([0.175, 1.175])
    assert bars(other)["new"].lines[0].get_ydata().tolist() == pytest.approx([1.175])
    zero = [line for line in other.lines if list(line.get_xdata()) == [0, 0]]
    assert len(zero) == 1
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "nats"
    assert [text.get_text() for text in legend.get_texts()] == ["old", "new"]
    assert same_color(old.lines[0].get_color(), BLUE)
    text = {key: str(value) for key, value in estimates()[0].items()}
    assert bars(forest_plot([text], label="x").axes[0])["old"].lines[0].get_xdata() == [0.1]


def test_forest_plot_says_what_is_missing():
    with pytest.raises(ValueError, match="there is no run to draw: expected a row for each estim"):
        forest_plot([], label="x")
    with pytest.raises(ValueError, match="row 0 has no low: expected a row for each estimate"):
        forest_plot([estimates()[0] | {"low": None}], label="x")
