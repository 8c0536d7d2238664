import itertools
import json

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import same_color, to_rgb
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread

from pyro_mivae.plotting import (
    categories,
    categories_by_class,
    codes_by_class,
    dimension_use,
    information_bars,
    information_curves,
    pairwise_information,
    prior_samples,
    reconstructions,
    redraw,
    style,
    training_curves,
    traversals,
)
from pyro_mivae.runs.groups import (
    DRAWS,
    IMAGE,
    make_group,
    make_tree,
    write,
)
from pyro_mivae.runs.history import History

BLUE, ORANGE = "#0072B2", "#D55E00"
TRAINING = {"seed": 1, "steps": 2000}
QUANTILES = [0.02, 0.5, 0.975]
LABELS = np.array([2, 0, 1, 1, 0, 2, 2])
N, CODES, NOISE = len(LABELS), 4, 2
HEIGHT, WIDTH = 3, 5
PAIRS = np.add.outer(np.arange(CODES + NOISE), np.arange(CODES + NOISE)) / 10
np.fill_diagonal(PAIRS, np.nan)

FIGURES = (
    "training_curves",
    "reconstructions",
    "prior_samples",
    "traversals",
    "information_bars",
    "dimension_use",
    "pairwise_information",
    "codes_by_class",
)


def make_history():
    history = History()
    for step in (10, 20, 30):
        terms = {"log_likelihood": -100.0 + step, "kl": 5.0, "kl/c": 2.0 + step, "kl/z": 3.0}
        mi = {"mi": 1.0, "mi/c": step / 10}
        history.add(step, step / 10, "train", {"loss": 103.0 - step, **terms, **mi})
        mi = {f"mi/{s}/{c}": 1.0 for s, c in itertools.product("cz", ("mean", "sample"))}
        history.add(step, step / 10, "validation", terms | mi)
    return history


def make_tree_of(*without):
    """Image i is grey i / 10, its reconstruction i / 10 + 0.05; the code of class k is about k."""
    rng = np.random.default_rng(0)
    shades = np.arange(N).reshape(-1, 1, 1) * np.ones((HEIGHT, WIDTH))
    stops = np.arange(CODES * 3).reshape(CODES, 3, 1, 1) * np.ones((HEIGHT, WIDTH)) / 20
    codes = LABELS[:, None] + rng.normal(size=(1, 6, N, CODES)) / 10
    groups = {
        "prior_predictive": {
            "x_mean": ((*DRAWS, *IMAGE[1:]), rng.uniform(size=(1, 23, HEIGHT, WIDTH)))
        },
        "posterior": {"c": ((*DRAWS, "image", "c_dim"), codes)},
        "posterior_predictive": {"x_mean": ((*DRAWS, *IMAGE), shades[None, None] / 10 + 0.05)},
        "observed_data": {"x": (IMAGE, (shades > 3).astype(np.int8))},
        "constant_data": {
            "label": ("image", LABELS),
            "grey": (IMAGE, (25.5 * shades).astype(np.uint8)),
        },
        "traversal": {"x_mean": (("c_dim", "quantile", *IMAGE[1:]), stops)},
        "information": {
            "kl_c": ("c_dim", np.array([1.0, 2.0, 3.0, 4.0])),
            "kl_z": ("z_dim", np.array([1.0, 2.0])),
            "mi_c": (
                ("channel", "c_dim"),
                np.array([[0.5, 0.1, -0.2, 3.0], [0.2, 1.5, -0.1, 0.4]]),
            ),
            "mi_z": (("channel", "z_dim"), np.array([[0.1, 0.2], [0.3, 0.25]])),
            "mi_c_se": (("channel", "c_dim"), np.full((2, 4), 0.05)),
            "aggregate_mi_c": ("c_dim", np.array([0.9, 1.8, 2.5, 3.5])),
            "aggregate_mi_z": ("z_dim", np.array([0.8, 1.7])),
            "resampling_loss_c": ("c_dim", np.array([5.0, 20.0, 1.0, 10.0])),
            "resampling_loss_c_se": ("c_dim", np.full(4, 0.5)),
            "resampling_loss_z": ("z_dim", np.array([2.0, 3.0])),
            "activity_c": ("c_dim", np.array([0.5, 0.9, 0.0, 0.7])),
            "activity_z": ("z_dim", np.array([0.1, 0.2])),
            "prior_variance_c": ("c_dim", np.array([2.0, 1.0, 1.0, 1.0])),
            "prior_variance_z": ("z_dim", np.array([1.0, 4.0])),
            "pairwise_mi": (("dimension", "other"), PAIRS),
            "pairwise_mi_se": (("dimension", "other"), 0.01 * PAIRS),
        },
    }
    names = [f"{site}[{d}]" for site, size in (("c", CODES), ("z", NOISE)) for d in range(size)]
    coords = {"quantile": QUANTILES, "channel": ["mean", "sample"]}
    coords |= {"dimension": names, "other": names}
    return make_tree({n: make_group(g, coords) for n, g in groups.items() if n not in without}, {})


def tiles(figure, gap=1):
    """The shade in the middle of each image of a mosaic."""
    canvas = figure.axes[0].images[0].get_array().filled(np.nan)
    return canvas[gap + HEIGHT // 2 :: HEIGHT + gap, gap + WIDTH // 2 :: WIDTH + gap]


def texts(labels):
    return [label.get_text() for label in labels]


def test_training_curves_show_every_column():
    figure = training_curves(make_history())
    loss, kl, mi = figure.axes
    lines = {line.get_label(): line for axes in (loss, kl) for line in axes.lines}
    assert texts(loss.get_legend().get_texts()) == [
        "loss, train",
        "−ELBO, train",
        "−ELBO, validation",
    ]
    np.testing.assert_array_equal(lines["loss, train"].get_xydata(), [[10, 93], [20, 83], [30, 73]])
    np.testing.assert_array_equal(lines["−ELBO, train"].get_ydata(), [95, 85, 75])
    np.testing.assert_array_equal(lines["code c, train"].get_ydata(), [12, 22, 32])
    assert len(kl.lines) == 4
    assert texts(mi.get_legend().get_texts()) == [
        "code c, train",
        "code c, validation, channel mean",
        "code c, validation, channel sample",
        "noise z, validation, channel mean",
        "noise z, validation, channel sample",
    ]
    for axes in figure.axes:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "nats per datum")
        for line in axes.lines[1:]:
            if "code" in line.get_label():
                assert same_color(line.get_color(), BLUE)
            if "noise" in line.get_label():
                assert same_color(line.get_color(), ORANGE)
    styles = [line.get_linestyle() for line in mi.lines]
    assert styles[0] == "-"
    assert len(set(styles[:3])) == 3


def test_training_curves_are_not_ranged_by_the_first_steps():
    history = History()
    for step in range(0, 1001, 50):
        loss = 540.0 if step == 0 else 110.0 - step / 100
        history.add(step, step / 100, "train", {"loss": loss, "kl/c": 1.0, "mi/c": 2.0})
    loss, kl, mi = training_curves(history).axes
    low, high = loss.get_ylim()
    assert 99 < low < 100
    assert 109 < high < 110
    assert kl.get_ylim() == (0.5, 1.5)  # a constant has room, too
    assert mi.get_ylim() == (1.5, 2.5)


def test_training_curves_of_other_pairs():
    history = History()
    history.add(1, 1.0, "train", {"loss": 3.0, "elbo": -2.0, "mi": 1.0, "mi/u": 1.0})
    loss, kl, mi = training_curves(history).axes
    assert [line.get_label() for line in loss.lines] == ["loss, train", "−ELBO, train"]
    assert loss.lines[1].get_ydata()[0] == 2
    assert not kl.lines
    assert [line.get_label() for line in mi.lines] == ["u, train"]


def test_reconstructions_stand_below_the_originals_of_their_class():
    figure = reconstructions(make_tree_of())
    axes = figure.axes[0]
    # Labels 2 0 1 1 0 2 2: the first of each class, then the second; the third row is left out.
    order = np.array([[1, 2, 0], [4, 3, 5]])
    found = tiles(figure)
    np.testing.assert_allclose(found[::2], order / 10, atol=0.005)  # bytes
    np.testing.assert_allclose(found[1::2], order / 10 + 0.05)
    assert texts(axes.get_yticklabels()) == ["original", "reconstruction"] * 2
    np.testing.assert_allclose(axes.get_yticks(), (np.arange(4) + 0.5) * (HEIGHT + 1))


def test_reconstructions_without_labels_and_grey_values():
    figure = reconstructions(make_tree_of("constant_data"), rows=2, columns=4)
    found = tiles(figure)
    np.testing.assert_array_equal(found[0], [0, 0, 0, 0])
    np.testing.assert_array_equal(found[2], [1, 1, 1, np.nan])
    np.testing.assert_allclose(found[3], [0.45, 0.55, 0.65, np.nan])


def test_prior_samples_fill_the_rows():
    tree = make_tree_of()
    figure = prior_samples(tree, columns=10)
    means = tree["prior_predictive"]["x_mean"].values[0, :20, HEIGHT // 2, WIDTH // 2]
    np.testing.assert_array_equal(tiles(figure), means.reshape(2, 10))
    assert tiles(prior_samples(tree, columns=50)).shape == (1, 23)


def test_traversals_are_ordered_by_information():
    tree = make_tree_of()
    stops = np.arange(CODES * 3).reshape(CODES, 3) / 20
    for channel, order, mi, name in (
        (None, [1, 3, 0, 2], ["1.50", "0.40", "0.20", "−0.10"], "MI bound, channel sample"),
        ("mean", [3, 0, 1, 2], ["3.00", "0.50", "0.10", "−0.20"], "MI score, channel mean"),
    ):
        figure = traversals(tree, channel=channel)
        axes = figure.axes[0]
        np.testing.assert_allclose(tiles(figure), stops[order])
        labels = [f"$c_{{{d}}}$:  {number} nats" for d, number in zip(order, mi, strict=True)]
        assert texts(axes.get_yticklabels()) == labels
        assert axes.get_ylabel() == name
        assert texts(axes.get_xticklabels()) == ["2%", "50%", "97.5%"]
        np.testing.assert_allclose(axes.get_xticks(), (np.arange(3) + 0.5) * (WIDTH + 1))


def test_traversals_without_information_keep_their_order():
    figure = traversals(make_tree_of("information"))
    np.testing.assert_allclose(tiles(figure), np.arange(12).reshape(4, 3) / 20)
    assert texts(figure.axes[0].get_yticklabels()) == [f"$c_{{{d}}}$" for d in range(4)]


def test_information_bars_stand_side_by_side():
    figure = information_bars(make_tree_of())
    code, noise = figure.axes
    assert [code.get_title(), noise.get_title()] == ["Code c", "Noise z"]
    names = ["MI score, channel mean", "MI bound, channel sample"]
    heights = [[0.1, 3, 0.5, -0.2], [1.5, 0.4, 0.2, -0.1], [1.8, 3.5, 0.9, 2.5], [2, 4, 1, 3]]
    for axes, site in ((code, "c"), (noise, "z")):
        own = [f"$I_q$({site}; x) of the data", "KL(q || p)"]
        assert texts(axes.get_legend().get_texts()) == names + own
        edges = sorted((b.get_x(), b.get_x() + b.get_width()) for b in axes.patches)
        assert all(one[1] <= next_[0] for one, next_ in itertools.pairwise(edges))
    found = [c for c in code.containers if isinstance(c, BarContainer)]
    for bars, expected in zip(found, heights, strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
    assert texts(code.get_xticklabels()) == ["$c_{1}$", "$c_{3}$", "$c_{0}$", "$c_{2}$"]
    assert texts(noise.get_xticklabels()) == ["$z_{0}$", "$z_{1}$"]
    for axes, colour in ((code, BLUE), (noise, ORANGE)):
        bars = [c for c in axes.containers if isinstance(c, BarContainer)]
        np.testing.assert_allclose(bars[1][0].get_facecolor()[:3], to_rgb(colour))
    assert len([c for c in code.containers if isinstance(c, ErrorbarContainer)]) == 2
    assert code.get_ylabel() == "nats per datum"


def test_dimension_use_has_a_row_a_quantity():
    figure = dimension_use(make_tree_of())
    loss, _, activity, _ = figure.axes
    for axes, expected in ((loss, [20, 10, 5, 1]), (activity, [0.9, 0.7, 0.25, 0])):
        bars = next(c for c in axes.containers if isinstance(c, BarContainer))
        np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
    assert "from the prior" in loss.get_ylabel()
    assert activity.get_ylabel().endswith("of the prior's")
    noise = next(c for c in figure.axes[3].containers if isinstance(c, BarContainer))
    np.testing.assert_allclose([bar.get_height() for bar in noise], [0.1, 0.05])
    assert texts(loss.get_xticklabels()) == ["$c_{1}$", "$c_{3}$", "$c_{0}$", "$c_{2}$"]


def test_dimension_use_without_the_priors_variance_keeps_the_codes_units():
    tree = make_tree_of()
    groups = {node.name: node.to_dataset() for node in tree.children.values()}
    groups["information"] = groups["information"].drop_vars("prior_variance_z")
    activity = dimension_use(make_tree(groups, {})).axes[2]
    assert activity.get_ylabel().endswith("in its own units")
    bars = next(c for c in activity.containers if isinstance(c, BarContainer))
    np.testing.assert_allclose([bar.get_height() for bar in bars], [0.9, 0.7, 0.5, 0])


def test_pairwise_information_names_every_pair():
    axes, bar = pairwise_information(make_tree_of()).axes
    once = np.where(np.tri(len(PAIRS), k=-1, dtype=bool), PAIRS, np.nan)
    np.testing.assert_allclose(axes.images[0].get_array().filled(np.nan), once)
    assert texts(axes.get_xticklabels())[3:5] == ["$c_{3}$", "$z_{0}$"]
    # The ten with the most: 0.9, 0.8, 0.7 twice, 0.6 twice, 0.5 three times, 0.4 twice.
    assert sorted(texts(axes.texts))[:2] == ["0.40", "0.40"]
    assert len(axes.texts) == 11
    assert "up to 0.01" in axes.get_xlabel()
    assert bar.get_ylabel() == "nats"


def curves():
    by_samples = ("guide", "codes", "num_samples")
    lower = np.array([[[1.0, 2.0, 2.5], [0.5, 0.6, 0.7]], [[2.4, 2.5, np.nan]] * 2])
    upper = np.array([[[np.inf, 4.0, 3.0], [2.0, 1.5, 1.0]], [[2.7, 2.6, np.nan]] * 2])
    aggregate = (("codes", "num_data"), np.array([[2.0, 3.0], [1.0, 1.1]]))
    variables = {"lower": (by_samples, lower), "upper": (by_samples, upper)}
    variables["aggregate_information"] = aggregate
    errors = {f"{name}_se": (dims, np.full(v.shape, 0.1)) for name, (dims, v) in variables.items()}
    variables["kl"] = ("codes", np.array([3.5, 1.3]))
    coords = {"guide": ["own", "refitted"], "codes": ["c", "c, z"]}
    coords |= {"num_samples": [1, 10, 100], "num_data": [100, 1000]}
    return make_group(variables | errors, coords)


def test_information_curves_close():
    axes = information_curves(curves()).axes
    assert len(axes) == 4
    first, last = axes[0], axes[3]
    labels = [f"${side}_K$, {guide} guide" for guide in ("own", "refitted") for side in "UL"]
    assert texts(first.get_legend().get_texts()) == labels
    lines = {c.get_label(): c.lines[0] for c in first.containers}
    values = {label: np.asarray(line.get_ydata(), float) for label, line in lines.items()}
    np.testing.assert_allclose(values["$L_K$, own guide"], [1, 2, 2.5])
    np.testing.assert_allclose(values["$U_K$, refitted guide"], [2.7, 2.6, np.nan])
    assert "log N" in texts(last.get_legend().get_texts())
    assert last.get_xscale() == "log"
    limit = next(line for line in last.lines if line.get_label() == "log N")
    np.testing.assert_allclose(limit.get_ydata(), np.log([100, 1000]))


def test_codes_by_class_have_a_panel_a_dimension_and_a_violin_a_class():
    figure = codes_by_class(make_tree_of())
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title()[:7] for axes in panels] == [f"$c_{{{d}}}$" for d in (1, 3, 0, 2)]
    colours = []
    for axes in panels:
        assert len(axes.collections) == 3
        assert texts(axes.get_xticklabels()) == ["0", "1", "2"]
        np.testing.assert_allclose(axes.lines[-1].get_ydata(), [0, 1, 2], atol=0.1)
        for k, body in enumerate(axes.collections):
            middle = body.get_paths()[0].vertices[:, 1].mean()
            assert abs(middle - k) < 0.3
        colours.append([tuple(body.get_facecolor()[0]) for body in axes.collections])
    assert len(set(colours[0])) == 3
    assert all(row == colours[0] for row in colours)
    assert "MI bound, channel sample" in figure.get_supxlabel()


def with_category(tree):
    """Category k generates grey k / 10; class 0 is category 1, class 1 is 2, class 2 is 3 or 0."""
    shades = np.arange(4)[None, :, None, None] / 10 * np.ones((5, 4, HEIGHT, WIDTH))
    probability = np.eye(4)[(LABELS + 1) % 4]
    probability[LABELS == 2] = [0.25, 0, 0, 0.75]
    groups = {node.name: node.to_dataset() for node in tree.children.values()}
    groups["categories"] = make_group({"x_mean": (("row", "d_dim", *IMAGE[1:]), shades)})
    groups["sample_stats"] = make_group({"q_d": (("image", "d_dim"), probability)})
    if "information" in groups:
        single = {"kl_d": 2.0, "aggregate_mi_d": 1.5, "activity_d": 0.6, "resampling_loss_d": 30.0}
        single |= {"prior_variance_d": 0.75}
        measured = {name: ((), np.array(value)) for name, value in single.items()}
        measured["mi_d"] = ("channel", np.array([1.8, 1.7]))
        new = make_group(measured, {"channel": ["mean", "sample"]})
        groups["information"] = groups["information"].merge(new)
    return make_tree(groups, {})


def test_categories_generate_and_take_classes():
    tree = with_category(make_tree_of())
    figure = categories(tree)
    np.testing.assert_allclose(tiles(figure)[0, :4], [0, 0.1, 0.2, 0.3])
    assert texts(figure.axes[0].get_xticklabels()) == ["0", "1", "2", "3"]
    figure = categories_by_class(tree)
    axes = figure.axes[0]
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [0.25, 0, 0, 0.75]]
    np.testing.assert_allclose(axes.images[0].get_array(), expected)
    assert texts(axes.get_yticklabels()) == ["0", "1", "2"]
    assert texts(axes.texts) == ["1.00", "1.00", "0.25", "0.75"]
    for draw in (information_bars, dimension_use):
        panels = draw(tree).axes
        assert texts(panels[2].get_xticklabels()) == ["$d$"]
    bars = [bar.get_height() for bar in information_bars(tree).axes[2].patches]
    np.testing.assert_allclose(bars, [1.8, 1.7, 1.5, 2.0])


def test_sites_that_were_not_measured_by_dimension_have_no_bars():
    tree = make_tree_of()
    groups = {node.name: node.to_dataset() for node in tree.children.values()}
    unknown = ["mi_c", "mi_c_se", "kl_c", "aggregate_mi_c"]
    groups["information"] = groups["information"].drop_vars(unknown)
    tree = make_tree(groups, {})
    assert len(information_bars(tree).axes) == 1
    assert len(dimension_use(tree).axes) == 4
    assert texts(dimension_use(tree).axes[2].get_xticklabels()) == [
        f"$c_{{{d}}}$" for d in range(4)
    ]


def write_run(folder, *without, config=None, add=lambda tree: tree):
    write(add(make_tree_of(*without)), folder / "posterior.nc")
    make_history().write_csv(folder / "history.csv")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
def test_redraw_from_the_folder_alone(tmp_path, drawn):
    settings = {"prior": "uniform", "channel": "sleep", "mi_weight": 0.5}
    write_run(
        tmp_path, config={"training": TRAINING, "data": {"name": "mnist-5k"}, "model": settings}
    )
    before = dict(matplotlib.rcParams)
    paths = redraw(str(tmp_path))
    assert dict(matplotlib.rcParams) == before
    assert tuple(paths) == FIGURES
    for name, path in paths.items():
        assert path == tmp_path / "figures" / f"{name}.png"
        height, width = imread(path).shape[:2]
        assert 300 < height < 3000
        assert width == 2 * 736
    assert len(list((tmp_path / "figures").iterdir())) == len(FIGURES)
    assert len(drawn) == len(FIGURES)
    for figure, boxes in drawn.items():
        heading = figure.get_suptitle().replace("\n", "  ·  ").split("  ·  ")
        assert heading == [
            *("prior uniform", "training channel sleep", "λ = 0.5", "data mnist-5k", "seed 1"),
            *("2000 steps", f"run {tmp_path.name}"),
        ]
        for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
            assert not box.overlaps(other_box), f"{one.get_text()!r} is on {other.get_text()!r}"


@pytest.mark.slow
def test_redraw_of_a_run_with_a_category(tmp_path, drawn):
    write_run(tmp_path, add=with_category)
    assert tuple(redraw(tmp_path)) == (*FIGURES, "categories", "categories_by_class")
    for boxes in drawn.values():
        for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
            assert not box.overlaps(other_box), f"{one.get_text()!r} is on {other.get_text()!r}"
    write_run(tmp_path, "information", "constant_data", add=with_category)
    assert tuple(redraw(tmp_path)) == (*FIGURES[:4], "categories")


@pytest.mark.slow
def test_redraw_leaves_out_what_was_not_measured(tmp_path):
    write_run(tmp_path, "information", "constant_data")
    assert tuple(redraw(tmp_path)) == FIGURES[:4]
    assert tuple(redraw(tmp_path)) == FIGURES[:4]  # over the old files


def test_redraw_needs_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no posterior\.nc"):
        redraw(tmp_path)
    write(make_tree_of(), tmp_path / "posterior.nc")
    with pytest.raises(FileNotFoundError, match=r"no history\.csv"):
        redraw(tmp_path)


@pytest.mark.parametrize(
    ("draw", "group", "message"),
    [
        (reconstructions, "posterior_predictive", "'x_mean' in its group 'posterior_predictive'"),
        (prior_samples, "prior_predictive", "'x_mean' in its group 'prior_predictive'"),
        (traversals, "traversal", "'x_mean' in its group 'traversal'"),
        (information_bars, "information", "'information': pass information"),
        (codes_by_class, "constant_data", "'label' in its group 'constant_data'.*labels"),
        (categories, "traversal", "'x_mean' in its group 'categories'"),
        (categories_by_class, "traversal", "'q_d' in its group 'sample_stats'"),
    ],
)
def test_what_is_missing_is_named(draw, group, message):
    with pytest.raises(ValueError, match=message):
        draw(make_tree_of(group))


def test_an_unmeasured_channel_is_an_error():
    with pytest.raises(ValueError, match=r"channel 'sleep': expected one of \['mean', 'sample'\]"):
        traversals(make_tree_of(), channel="sleep")


def test_functions_return_figures_of_their_own():
    tree = make_tree_of()
    functions = (reconstructions, prior_samples, traversals, codes_by_class)
    functions += (information_bars, dimension_use, pairwise_information)
    figures = [function(tree) for function in functions]
    assert all(type(figure) is Figure for figure in figures)
    assert len({id(figure) for figure in figures}) == len(functions)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c[3]", "$c_{3}$"),
        ("d", "$d$"),
        ("100%", "100%"),
        ("x^2_{", "x^2_{"),
        ("z_extra[1]", "z_extra[1]"),
        ("$y$", r"\$y\$"),
    ],
)
def test_names_are_mathematics_only_where_they_can_be(name, text):
    assert style.tex(name) == text
    figure = Figure()
    figure.suptitle(style.tex(name))
    figure.canvas.draw()
