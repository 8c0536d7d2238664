import io
import itertools
import json

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from experiments.plots.placing import Label, label_points
from experiments.poster.plots.claims import capacity, dimension_loss, tradeoff
from experiments.poster.plots.graphical_models import duality
from experiments.poster.plots.grids import latent_grid, latent_grid_sheet
from experiments.poster.plots.run_outcomes import by_init_and_order, information_columns, outcomes
from experiments.poster.plots.traces import information_traces
from experiments.poster.rows import frontier
from pyro_mivae.plotting.saving import save
from pyro_mivae.plotting.style import number, tex
from pyro_mivae.runs.history import History

BLUE, ORANGE, GREEN, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#222222", "#999999"
WITH, WITHOUT = "with the MI term on c", "without"
INFINITY = float("inf")


def texts(labels):
    return [label.get_text() for label in labels]


def legend_of(figure):
    (legend,) = figure.legends
    return texts(legend.get_texts())


def as_text(rows):
    """As a CSV file gives them."""
    return [{name: str(value) for name, value in row.items()} for row in rows]


def line_of(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


# --- what the figures are drawn from -----------------------------------------------------------


def make_history(code, noise, steps=(0, 100, 200), channel="mean"):
    """At step s the code has `code` nats for every 100 steps, the noise `noise`."""
    history = History()
    for step in steps:
        terms = {f"mi/c/{channel}": code * step / 100, f"mi/z/{channel}": noise * step / 100 - 0.5}
        terms |= {"kl/c": code * step / 50, "kl/z": noise * step / 50}
        history.add(step, step / 100, "train", dict.fromkeys(terms, 1e6))
        history.add(step, step / 100, "validation", terms)
    return history


def make_traces():
    return {WITH: [make_history(6, 0), make_history(8, 1)], WITHOUT: [make_history(3, 3)]}


def make_tradeoff():
    def row(channel, mi_weight, kl_weight, seed, kl):
        terms = {"kl": kl, "log_likelihood": -100 + kl / 2 - 3 * mi_weight, "mi_score": 0.6 * kl}
        terms |= {"mi_bound": 0.4 * kl + mi_weight}
        names = {"channel": channel, "mi_weight": mi_weight, "kl_weight": kl_weight, "seed": seed}
        return names | terms

    rows = []
    for seed in (0, 1):
        rows += [row("none", 0, beta, seed, 16 / beta + seed) for beta in (4, 1, 0.5)]
        for channel, gain in (("mean", 2), ("straight-through", 1)):
            rows += [row(channel, w, 1, seed, 16 + gain * w + seed) for w in (1, 2)]
    return [*rows, row("mean", 2, 4, 0, 1e3)]


def make_capacity():
    sizes, channels = (2, 5, 40), ("none", "mean", "sleep")
    return [
        {"size": size, "channel": c, "seed": s, "kl_share": 0.5 + 0.1 * k * s, "mi_share": 0.4 * k}
        for size, (k, c), s in itertools.product(sizes, enumerate(channels), (0, 1, 2))
    ]


def make_dimensions():
    return [
        {"run": run, "site": site, "mi": d - 0.5, "kl": 2.0 * d, "loss": 5.0 * d + shift}
        for (shift, run), site, d in itertools.product(enumerate(("one", "two")), "cz", range(3))
    ]


def make_columns():
    columns = {"score": 10.4, "bound": -0.6, "own_lower": -3.3, "own_upper": 9.0}
    columns |= {"refitted_lower": 7.5, "refitted_upper": 7.6}
    unknown = {"own_upper": INFINITY, "refitted_lower": float("nan")}
    rows = [{"label": "λ = 1", "channel": "mean", "site": site, **columns} for site in "cz"]
    plain = {"label": "a VAE", "channel": "none"}
    return rows + [row | plain | unknown for row in rows]


def make_outcomes():
    kl = {"poster": (0.1, 0.0, 5.0, 0.2), "warm-up": (3.0, 4.0, 5.0, 0.1)}
    return [
        {"variant": variant, "seed": seed, "kl_z": value, "ignored": value < 0.5}
        for variant, values in kl.items()
        for seed, value in enumerate(values)
    ]


def make_grid():
    """Image (i, j) has the grey value (3 i + j) / 6."""
    return (np.arange(6).reshape(2, 3, 1, 1) / 6) * np.ones((5, 7))


MATRIX = np.array([[5.0, 0.25, np.nan], [-0.001, 1.0, 2.0]])
SEEDS = {"init_seeds": (0, 7), "order_seeds": ("a", "b", "c")}
CORRELATIONS = {"mi": (0.91, 0.85, 0.95), "kl": (0.5, -0.1, 0.8)}
PLACES = {"first": (-0.95, 0.95), "second": (-2, 0, 2)}
REFERENCE = {WITH: {"mi": 12.5, "kl/z": 0.0}, WITHOUT: {"mi": 6.0}}

FIGURES = {
    "duality": duality,
    "information_traces": lambda: information_traces(
        make_traces(), channel="mean", reference=REFERENCE
    ),
    "latent_grid": lambda: latent_grid(make_grid(), **PLACES, labels=("c[3]", "z[0]")),
    "latent_grid_sheet": lambda: latent_grid_sheet(
        np.tile(make_grid(), (2, 2, 1, 1, 1, 1)), **PLACES
    ),
    "tradeoff": lambda: tradeoff(make_tradeoff()),
    "capacity": lambda: capacity(make_capacity(), measure="refitted $L_K$, x' sampled"),
    "dimension_loss": lambda: dimension_loss(
        make_dimensions(), correlations=CORRELATIONS, channel="sample"
    ),
    "information_columns": lambda: information_columns(make_columns()),
    "outcomes": lambda: outcomes(make_outcomes(), threshold=0.5),
    "by_init_and_order": lambda: by_init_and_order(MATRIX, **SEEDS),
}


def check_texts(figure, boxes):
    assert len(boxes) > 3
    for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), f"{one.get_text()!r} is on {other.get_text()!r}"
    for text, box in boxes.items():
        inside = figure.bbox.padded(1)
        assert inside.contains(*box.min), f"{text.get_text()!r} is cut"
        assert inside.contains(*box.max), f"{text.get_text()!r} is cut"


@pytest.mark.parametrize("name", FIGURES)
def test_texts_neither_overlap_nor_are_cut(name, drawn):
    figure = FIGURES[name]()
    assert type(figure) is Figure
    figure.savefig(io.BytesIO(), dpi=100)
    check_texts(figure, drawn[figure])


def test_labels_stay_apart_under_a_heading(tmp_path, drawn):
    (tmp_path / "config.json").write_text(json.dumps({"prior": "uniform", "mi_weight": 1}))
    figure = tradeoff(make_tradeoff())
    save({"tradeoff": figure}, tmp_path)
    boxes = drawn[figure]
    assert "prior uniform" in figure.get_suptitle()
    for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), f"{one.get_text()!r} is on {other.get_text()!r}"


# --- the duality -------------------------------------------------------------------------------


def test_duality_swaps_what_is_observed_and_keeps_the_distributions():
    figure = duality()
    model, dual = figure.axes
    for axes, latent, observed in ((model, "$z$", "$x$"), (dual, "$x$", "$z$")):
        nodes = [patch for patch in axes.patches if isinstance(patch, Circle)]
        fills = {patch.center[1]: patch.get_facecolor() for patch in nodes}
        names = {t.get_position()[1]: t.get_text() for t in axes.texts if t.get_text() in "$x$ $z$"}
        top, bottom = max(fills), min(fills)
        assert (names[top], names[bottom]) == (latent, observed)
        assert same_color(fills[top], "white")
        assert not same_color(fills[bottom], "white")
        assert len([patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]) == 1
    roles = []
    for axes in figure.axes:
        lines = [p for p in axes.patches if isinstance(p, FancyArrowPatch) and p.get_linewidth()]
        roles.append({line.get_linestyle(): line.get_edgecolor() for line in lines})
        found = {t.get_text().split("\n")[0]: t for t in axes.texts}
        for role, stroke in (("likelihood", "-"), ("guide", "--")):
            assert same_color(found[role].get_color(), roles[-1][stroke])
    assert same_color(roles[0]["-"], roles[1]["--"])
    assert same_color(roles[0]["--"], roles[1]["-"])
    assert not same_color(roles[0]["-"], roles[0]["--"])
    formulas = [next(t for t in texts(axes.texts) if "mathbb" in t) for axes in figure.axes]
    assert r"\log p_\theta(x\,|\,z)" in formulas[0]
    assert r"\log q_\phi(z\,|\,x')" in formulas[1]
    assert "leaves out log p(x)" in figure.get_supxlabel()


# --- Figures 3 and 4 ---------------------------------------------------------------------------


def test_information_traces_are_means_over_seeds_of_both_sites():
    figure = information_traces(make_traces(), channel="mean")
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "Score of c and z",
        "Score of c",
        "Score of z",
    ]
    ends = [[14 + 1 - 0.5, 14, 0.5], [30, 28, 2]]
    label = f"{WITH} (2 seeds)"
    for axes, end in zip(figure.axes, itertools.chain(*ends), strict=True):
        line = line_of(axes, label)
        np.testing.assert_array_equal(line.get_xdata(), [0, 100, 200])
        np.testing.assert_allclose(line.get_ydata()[-1], end)
        assert same_color(line.get_color(), BLUE)
        other = line_of(axes, f"{WITHOUT} (one seed)")
        assert same_color(other.get_color(), GREEN)
        assert other.get_linestyle() != line.get_linestyle()
        assert len(axes.collections) == 1  # one seed has no band
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    assert {(200, 12), (200, 16)} <= set(map(tuple, band))
    assert figure.axes[0].get_ylabel() == "MI score, channel mean\nnats per datum"
    assert figure.axes[3].get_ylabel() == "KL(q || p)\nnats per datum"
    assert all(axes.get_xlabel() == "training step" for axes in figure.axes[3:])


def test_information_traces_show_each_seed_and_the_steps_they_share():
    traces = {WITH: [make_history(6, 0), make_history(8, 1, steps=(100, 200, 300))]}
    figure = information_traces(traces, channel="mean", each=True)
    axes = figure.axes[1]
    assert not axes.collections
    thin = [line.get_xydata().tolist() for line in axes.lines if line.get_linewidth() < 1]
    assert thin == [[[0, 0], [100, 6], [200, 12]], [[100, 8], [200, 16], [300, 24]]]
    mean = line_of(axes, f"{WITH} (2 seeds)")
    assert mean.get_xydata().tolist() == [[100, 7], [200, 14]]
    assert "thin: each seed" in figure.legends[0].get_title().get_text()


def test_information_traces_name_the_bound():
    traces = {"a": [make_history(1, 1, channel="sample")]}
    figure = information_traces(traces, channel="sample")
    assert figure.axes[0].get_ylabel().startswith("MI bound, channel sample")
    assert figure.axes[1].get_title() == "Bound of c"
    assert "poster" not in figure.legends[0].get_title().get_text()


def test_references_stand_beside_the_panels():
    figure = information_traces(make_traces(), channel="mean", reference=REFERENCE)
    marks = [
        [(line.get_ydata()[0], line.get_color()) for line in axes.lines if line.get_xdata()[0] > 1]
        for axes in figure.axes
    ]
    marks = [[m for m in found if m[0] in (12.5, 6.0, 0.0)] for found in marks]
    assert marks == [[(12.5, BLUE), (6.0, GREEN)], [], [], [], [], [(0.0, BLUE)]]
    mark = figure.axes[0].lines[-1]
    assert mark.get_transform() == figure.axes[0].get_yaxis_transform()
    assert "read off the poster" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize(
    ("traces", "options", "message"),
    [
        ({}, {}, "no trace to draw"),
        ({WITH: []}, {}, f"'{WITH}' has no history: expected one for each seed"),
        (make_traces(), {"channel": "sample"}, r"no row 'validation' with mi/c/sample and mi/z"),
        (make_traces(), {"channel": "x"}, "channel 'x': expected one of"),
        ({WITH: [make_history(1, 1, (0,)), make_history(1, 1, (5,))]}, {}, "no step in common"),
        (make_traces(), {"reference": {"other": {}}}, f"reference for 'other'.*{WITHOUT}"),
        (make_traces(), {"reference": {WITH: {"mi_c": 1}}}, "panel 'mi_c': expected.*'mi/c'"),
    ],
)
def test_wrong_traces_are_named(traces, options, message):
    with pytest.raises(ValueError, match=message):
        information_traces(traces, **{"channel": "mean"} | options)


# --- Figure 5 ----------------------------------------------------------------------------------


def test_latent_grid_has_the_code_downwards():
    axes = latent_grid(make_grid(), **PLACES, labels=("c[3]", "z[0]")).axes[0]
    canvas = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(canvas[3::6, 4::8], np.arange(6).reshape(2, 3) / 6)
    assert texts(axes.get_yticklabels()) == ["−0.95", "0.95"]
    assert texts(axes.get_xticklabels()) == ["−2.00", "0.00", "2.00"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("value of $c_{3}$", "value of $z_{0}$")


def test_latent_grid_sheet_has_every_pair():
    shades = np.arange(8).reshape(2, 4, 1, 1, 1, 1) / 16
    figure = latent_grid_sheet(shades + make_grid() / 2, **PLACES)
    axes = figure.axes[0]
    canvas = np.asarray(axes.images[0].get_array())
    # A tile of 5 by 7 and its gap, a closing gap, and 3 between the grids.
    tall, wide = 2 * 6 + 1 + 3, 3 * 8 + 1 + 3
    assert canvas.shape == (2 * tall - 3, 4 * wide - 3)
    for code, noise, i, j in itertools.product(range(2), range(4), range(2), range(3)):
        found = canvas[code * tall + 3 + 6 * i, noise * wide + 4 + 8 * j]
        assert found == pytest.approx((4 * code + noise) / 16 + (3 * i + j) / 12)
    assert (canvas[tall - 3 : tall] == 0).all()
    assert (canvas[0, : wide - 3] > 0).all()
    assert texts(axes.get_yticklabels()) == ["$c_{0}$", "$c_{1}$"]
    assert texts(axes.get_xticklabels()) == [f"$z_{{{d}}}$" for d in range(4)]
    np.testing.assert_allclose(axes.get_yticks(), [6.5, tall + 6.5])
    assert "c goes from −0.95 to 0.95 downwards" in axes.get_xlabel()


@pytest.mark.parametrize(
    ("draw", "images", "message"),
    [
        (latent_grid, make_grid().swapaxes(0, 1), r"shape \(2, 3, height, width\).*\(3, 2, 5, 7\)"),
        (latent_grid, make_grid()[0], r"found \(3, 5, 7\)"),
        (latent_grid, 255 * make_grid(), r"in \[0, 1\], found values from 0 to 212"),
        (latent_grid_sheet, make_grid(), r"shape \(C, Z, 2, 3, height, width\)"),
        (latent_grid_sheet, np.zeros((0, 4, 2, 3, 5, 7)), "no image to draw"),
    ],
)
def test_wrong_images_are_named(draw, images, message):
    with pytest.raises(ValueError, match=message):
        draw(images, **PLACES)


# --- the observations --------------------------------------------------------------------------


def test_tradeoff_joins_the_frontier_and_starts_from_it():
    figure = tradeoff(as_text(make_tradeoff()))
    assert [axes.get_title() for axes in figure.axes] == [
        "Log-likelihood",
        "MI score, channel mean",
        "MI bound, channel sample",
    ]
    names = [" ".join(label.split()) for label in legend_of(figure)]
    assert names == [
        "β = 0.5, 1, 4 at λ = 0",
        "λ = 0, 1, 2 at β = 1, training channel mean",
        "λ = 0, 1, 2 at β = 1, training channel straight-through",
    ]
    frontier, mean, through = names
    bound = figure.axes[2]
    line = line_of(bound, frontier)
    marked = line.get_xydata()[:: line.get_markevery()]
    np.testing.assert_allclose(marked, [[kl, 0.4 * kl] for kl in (4.5, 16.5, 32.5)])
    for label, kl, gain in (
        (mean, [16.5, 18.5, 20.5], [0, 1, 2]),
        (through, [16.5, 17.5, 18.5], [0, 1, 2]),
    ):
        line = line_of(bound, label)
        np.testing.assert_allclose(line.get_xdata(), kl)
        np.testing.assert_allclose(line.get_ydata(), 0.4 * np.array(kl) + gain)
    points = [line for line in bound.lines if line.get_linestyle() == "None"]
    assert sorted(points[-1].get_xdata()) == [4, 5, 16, 17, 32, 33]
    assert max(line.get_xdata().max() for line in bound.lines) < 40  # without the mixed row
    for axes in figure.axes:
        found = [text for text in texts(axes.texts) if text]
        assert {"β = 0.5", "β = 1", "β = 4", "λ = 2"} <= set(found)
        assert found.count("λ = 2") == 2
        assert axes.get_xlabel() == "KL(q || p) in nats per datum"
    assert bound.get_ylabel() == "about c, nats per datum"
    assert figure.legends[0].get_title().get_text().startswith("2 seeds")


def test_the_frontier_is_the_curve_that_distances_are_measured_to():
    rows = [row | {"log_likelihood": -900 / row["kl"]} for row in make_tradeoff()]
    rows = [row for row in rows if row["seed"] == 0]
    line = line_of(tradeoff(rows).axes[0], "β = 0.5, 1, 4 at λ = 0")
    curve = frontier(rows, "log_likelihood")
    np.testing.assert_allclose(line.get_ydata(), [curve(kl) for kl in line.get_xdata()])
    kl, value = line.get_xydata()[len(line.get_xdata()) // 4]
    chord = np.interp(kl, [4, 16], [-900 / 4, -900 / 16])
    assert value > chord + 1


def test_a_frontier_of_equal_kls_is_drawn():
    rows = [{**row, "kl": 3.0} for row in make_tradeoff() if row["seed"] == 0]
    line = line_of(tradeoff(rows).axes[0], "β = 0.5, 1, 4 at λ = 0")
    of_frontier = [row["log_likelihood"] for row in rows if row["mi_weight"] == 0]
    np.testing.assert_allclose(line.get_xydata(), [[3.0, np.mean(of_frontier)]])
    assert np.isnan(frontier(rows, "log_likelihood")(3.0))


def test_labels_cover_nothing(drawn):
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    points = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.98), (1.0, 0.96), (2.0, 2.0)]
    axes.plot(*zip(*points, strict=True), "o-")
    axes.margins(0.2)
    figure.draw_without_rendering()
    labels = [Label(p, f"point {i}", "black", i in (0, 2, 4)) for i, p in enumerate(points)]
    label_points(axes, labels)
    figure.savefig(io.BytesIO(), dpi=100)
    boxes = {t.get_text(): box for t, box in drawn[figure].items() if "point" in t.get_text()}
    assert {"point 0", "point 2", "point 4"} <= set(boxes)
    path = axes.transData.transform(np.linspace([0, 0], [2, 2], 400))
    for box in boxes.values():
        inside = ((path > box.min) & (path < box.max)).all(axis=1)
        assert not inside.any()
        assert axes.get_window_extent().contains(*box.min)
        assert axes.get_window_extent().contains(*box.max)
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)


def test_a_label_without_room_stays_out_unless_it_is_needed():
    for needed in (False, True):
        figure = Figure(figsize=(4, 4), layout="constrained")
        axes = figure.subplots()
        x, y = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60))
        axes.plot(x.ravel(), y.ravel(), "o", ls="None")
        figure.draw_without_rendering()
        label_points(axes, [Label((0.5, 0.5), "text", "black", needed)])
        assert ("text" in texts(axes.texts)) is needed


def test_capacity_has_a_line_a_channel_over_the_sizes():
    rows = make_capacity()
    rows[-1]["mi_share"] = float("nan")
    figure = capacity(as_text(rows), measure="refitted $L_K$")
    kl, mi = figure.axes
    assert legend_of(figure) == [
        "without the term (λ = 0)",
        "training channel mean",
        "training channel sleep, 1 undefined",
    ]
    for axes, title in ((kl, "KL(q || p)"), (mi, "refitted $L_K$")):
        assert axes.get_title() == title
        assert axes.get_xscale() == "log"
        assert texts(axes.get_xticklabels()) == ["2", "5", "40"]
        assert axes.get_ylim()[0] < 0
        assert axes.get_ylim()[1] > 1
    for share, k in ((0.5, 0), (0.6, 1), (0.7, 2)):
        label = legend_of(capacity(make_capacity(), measure="m"))[k]
        line = next(line for line in kl.lines if line.get_label().startswith(label[:22]))
        np.testing.assert_allclose(line.get_ydata(), share)
        np.testing.assert_allclose(line.get_xdata(), [2, 5, 40], rtol=0.1)
    points = [line for line in kl.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in points] == [9, 9, 9]


def test_capacity_shows_shares_above_one():
    rows = make_capacity()
    rows[4]["mi_share"] = 1.7
    for axes in capacity(rows, measure="m").axes:
        assert axes.get_ylim()[1] > 1.7


def test_dimension_loss_prints_the_correlations_it_is_given():
    figure = dimension_loss(as_text(make_dimensions()), correlations=CORRELATIONS, channel="sample")
    mi, kl = figure.axes
    assert mi.get_title() == "Spearman's ρ = 0.91 [0.85, 0.95]"
    assert kl.get_title() == "Spearman's ρ = 0.50 [−0.10, 0.80]"
    assert mi.get_xlabel() == "MI bound, channel sample, in nats per datum"
    assert kl.get_xlabel() == "KL(q || p), in nats per datum"
    assert "drawn from the prior (nats per datum)" in mi.get_ylabel()
    assert legend_of(figure) == ["code c", "noise z", "one", "two"]
    groups = [line for line in mi.lines if line.get_linestyle() == "None"][:4]
    assert [line.get_color() for line in groups] == [BLUE, ORANGE] * 2
    assert groups[0].get_marker() != groups[2].get_marker()
    assert groups[2].get_xydata().tolist() == [[-0.5, 1], [0.5, 6], [1.5, 11]]
    with pytest.raises(ValueError, match=r"no correlation for kl: expected \(value, low, high\)"):
        dimension_loss(make_dimensions(), correlations={"mi": (1, 1, 1)}, channel="sample")


# --- what runs came to -------------------------------------------------------------------------


def test_information_columns_show_negative_and_endless_intervals():
    figure = information_columns(as_text(make_columns()))
    code, noise = figure.axes
    assert [code.get_title(), noise.get_title()] == ["I(c; x'), code c", "I(z; x'), noise z"]
    assert texts(code.get_yticklabels()) == [
        "λ = 1\ntraining channel mean",
        "a VAE\nwithout the term (λ = 0)",
    ]
    low, high = code.get_xlim()
    assert low < -3.3
    for axes, colour in ((code, BLUE), (noise, ORANGE)):
        found = {
            name: [line for line in axes.lines if line.get_label() == name]
            for name in ("score", "bound", "own guide", "refitted guide")
        }
        assert [line.get_xdata()[0] for line in found["score"]] == [10.4, 10.4]
        assert [line.get_xdata()[0] for line in found["bound"]] == [-0.6, -0.6]
        own, endless = found["own guide"]
        assert list(own.get_xdata()) == [-3.3, 9]
        assert list(endless.get_xdata()) == [-3.3, high]
        (refitted,) = found["refitted guide"]
        assert list(refitted.get_xdata()) == [7.5, 7.6]
        assert same_color(refitted.get_color(), colour)
        assert same_color(own.get_color(), GREY)
        assert [line.get_marker() for line in axes.lines].count(">") == 1
        assert axes.get_xlabel() == "nats per datum"
    assert "score, channel mean (no bound)" in legend_of(figure)
    assert "bound, channel sample" in legend_of(figure)


def test_information_columns_of_one_site():
    figure = information_columns([row for row in make_columns() if row["site"] == "c"])
    assert [axes.get_title() for axes in figure.axes] == ["I(c; x'), code c"]


def test_outcomes_print_how_often_z_is_ignored():
    figure = outcomes(as_text(make_outcomes()), threshold=0.5)
    axes = figure.axes[0]
    shares = {t.get_position()[1]: t.get_text() for t in axes.texts}
    assert shares[0] == "3 of 4  (75 %)"
    assert shares[1] == "1 of 4  (25 %)"
    assert texts(axes.get_yticklabels()) == ["poster", "warm-up"]
    assert axes.get_ylim() == (1.5, -0.5)  # the first at the top
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == [0.1, 0, 5, 0.2, 3, 4, 5, 0.1]
    hollow = [same_color(line.get_markerfacecolor(), "white") for line in points]
    assert hollow == [True, True, False, True, False, False, False, True]
    heights = [line.get_ydata()[0] for line in points]
    np.testing.assert_allclose(np.array(heights[4:]) - heights[:4], 1)
    assert axes.get_xlabel() == "final KL of z in nats per datum"
    assert "z counts as ignored below 0.5 nats" in legend_of(figure)
    assert len(legend_of(outcomes(make_outcomes()))) == 2
    with pytest.raises(ValueError, match="ignored is 'maybe': expected true or false"):
        outcomes([make_outcomes()[0] | {"ignored": "maybe"}])


def test_by_init_and_order_prints_every_value():
    axes, bar = by_init_and_order(MATRIX, **SEEDS).axes
    np.testing.assert_allclose(axes.images[0].get_array().filled(np.nan), MATRIX)
    assert texts(axes.texts) == ["5.00", "0.25", "–", "0.00", "1.00", "2.00"]
    assert axes.texts[1].get_position() == (1, 0)
    assert same_color(axes.texts[0].get_color(), "white")
    assert same_color(axes.texts[1].get_color(), "black")
    assert texts(axes.get_yticklabels()) == ["0", "7"]
    assert texts(axes.get_xticklabels()) == ["a", "b", "c"]
    assert axes.get_ylabel() == "seed of the initial weights"
    assert bar.get_ylabel() == "nats per datum"
    for wrong, seeds in ((MATRIX.T, SEEDS), (MATRIX[:0], {**SEEDS, "init_seeds": ()})):
        with pytest.raises(ValueError, match="expected a matrix of shape"):
            by_init_and_order(wrong, **seeds)


# --- rows --------------------------------------------------------------------------------------

TABLES = [
    (tradeoff, make_tradeoff, "mi_bound"),
    (lambda rows: capacity(rows, measure=""), make_capacity, "mi_share"),
    (
        lambda rows: dimension_loss(rows, correlations=CORRELATIONS, channel="mean"),
        make_dimensions,
        "loss",
    ),
    (information_columns, make_columns, "own_lower"),
    (outcomes, make_outcomes, "kl_z"),
]


@pytest.mark.parametrize(("draw", "make", "column"), TABLES)
def test_what_rows_lack_is_named(draw, make, column):
    with pytest.raises(ValueError, match="no run to draw: expected a row for each"):
        draw([])
    rows = make()
    for without in ({**rows[1], column: ""}, {k: v for k, v in rows[1].items() if k != column}):
        with pytest.raises(ValueError, match=f"row 1 has no {column}: expected a row for each"):
            draw([rows[0], without])


def test_unknown_channels_and_sites_are_named():
    with pytest.raises(ValueError, match=r"row 0 has channel 'means': expected one of \['mean'"):
        capacity([make_capacity()[0] | {"channel": "means"}], measure="")
    with pytest.raises(ValueError, match=r"row 0 has site 'x': expected one of \['c', 'z', 'd'\]"):
        information_columns([make_columns()[0] | {"site": "x"}])
    with pytest.raises(ValueError, match="no run has mi_weight 0 or kl_weight 1"):
        tradeoff([make_tradeoff()[-1]])


def test_numbers_and_names():
    assert [number(x) for x in (-0.001, -1.5, 2)] == ["0.00", "−1.50", "2.00"]
    assert [tex(name) for name in ("c[3]", "z")] == ["$c_{3}$", "$z$"]
