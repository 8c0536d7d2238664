"""The poster's study: its runs, what is computed of them, and a report of simulated folders."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from experiments.mnist.model import build
from experiments.poster import program as poster
from experiments.poster import rows as numbers
from experiments.poster.trainings import (
    EPOCHS_5,
    EPOCHS_25,
    Training,
    blocks,
    smoke_blocks,
)
from pyro_mivae import runs
from pyro_mivae.runs.history import History


def test_the_posters_settings_are_the_defaults():
    config = poster_config(Training())
    assert (config.model.prior, config.model.noise_prior) == ("gaussian", "gaussian")
    assert (config.model.likelihood, config.model.networks) == ("grey", "mlp")
    assert (config.objective.channel, config.objective.mi_weight) == ("mean", 1.0)
    assert (config.training.steps, config.training.batch_size) == (25 * 550, 100)
    assert config.training.learning_rate == 1e-3
    assert config.data.data == "mnist"


def poster_config(training):
    from experiments.mnist.config import parse_run

    return parse_run(training.run().arguments)[0]


def test_what_differs_reaches_the_run_and_its_name():
    training = Training(
        channel="sample",
        size=10,
        mi_weight=0.25,
        seed=4,
        steps=EPOCHS_5,
        kl_weight=2.0,
        init_seed=7,
        mi_warmup=100,
        init_gain=0.5,
        precision="bf16-mixed",
    )
    config = poster_config(training)
    assert config.model.code_dim == config.model.noise_dim == 10
    assert (config.objective.mi_weight, config.objective.kl_weight) == (0.25, 2.0)
    assert (config.objective.mi_warmup, config.model.init_gain) == (100, 0.5)
    assert (config.training.seed, config.training.init_seed) == (4, 7)
    assert (config.training.steps, config.training.precision) == (2750, "bf16-mixed")
    assert config.training.compile == "always"
    eager = Training(eager=True)
    assert poster_config(eager).training.compile == "never"
    assert eager.name.endswith("-eager")
    for part in ("sample", "10+10", "lambda0.25", "seed4", "steps2750", "kl-weight2", "bf16"):
        assert part in training.name


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_two_runs_share_a_name(seeds):
    every = {t for block in blocks(seeds, 8) for t in block.trainings}
    assert len({t.name for t in every}) == len(every)
    assert len(blocks(seeds, 8)[0].trainings) == 2 * seeds
    sizes = {t.size for t in every}
    assert sizes == {2, 5, 10, 20}
    large = [t for t in every if t.size == 10 and t.channel == "mean" and t.steps > EPOCHS_5]
    assert {t.seed for t in large} == set(range(8))


def test_measurements_come_after_what_they_measure(tmp_path):
    first, second, third = poster.stages(blocks(2, 8), tmp_path, "full")
    trained = {run.name for run in first}
    assert {run.name.removeprefix("information-") for run in second} == trained
    assert not trained & {run.name for run in third}
    assert all(run.result == "information.json" for run in second)


def test_unknown_blocks_are_named():
    with pytest.raises(ValueError, match=r"expected some of figure-3.*found \['figure-9'\]"):
        poster.chosen(blocks(1, 8), ["figure-9"])
    assert poster.chosen(blocks(1, 8), ["none"]) == []
    assert [b.name for b in poster.chosen(blocks(1, 8), ["capacity"])] == ["capacity"]


def test_init_seed_and_gain_change_the_weights_alone():
    def weights(**options):
        vae, elbo = build(poster_config(Training(**options)))
        return vae.guide.encoder.layers[0].weight.detach(), elbo

    plain, _ = weights(seed=0)
    same, _ = weights(seed=5, init_seed=0)
    larger, _ = weights(seed=0, init_gain=1.5)
    other, _ = weights(seed=5)
    assert torch.equal(plain, same)
    torch.testing.assert_close(larger, 1.5 * plain)
    assert not torch.equal(plain, other)


def test_warmup_grows_linearly_to_lambda():
    _, elbo = build(poster_config(Training(mi_weight=2.0, mi_warmup=10)))
    found = []
    for step in (0, 5, 10, 1000):
        elbo.step = step
        found.append(elbo.weights()[0])
    assert found == [0.0, 1.0, 2.0, 2.0]


def rows_on(frontier, points):
    return [
        {"kl": kl, "mi_weight": 0.0, "kl_weight": beta, "log_likelihood": f(kl), "mi/mean": f(kl),
         "mi/sample": f(kl), "channel": "mean", "seed": 0}
        for f in [frontier]
        for beta, kl in points
    ]  # fmt: skip


def test_a_gap_is_the_distance_from_the_frontier_at_the_same_kl():
    rows = rows_on(lambda kl: 2 * kl - 100, [(0.5, 20.0), (1.0, 15.0), (2.0, 10.0)])
    above = {**rows[0], "mi_weight": 1.0, "kl_weight": 1.0, "kl": 12.0, "log_likelihood": -73.0}
    (gap,) = numbers.gaps([*rows, above])
    assert gap["log_likelihood"] == pytest.approx(3.0)
    assert gap["mi_weight"] == 1.0
    assert gap["seed"] == 0
    # Chords lie below a concave frontier: at 7 by 0.04 to 0.2, the cubic by less than a third.
    curved = rows_on(np.sqrt, [(0.5, 16.0), (1.0, 9.0), (2.0, 4.0), (4.0, 1.0)])
    (gap,) = numbers.gaps([*curved, {**above, "kl": 7.0, "log_likelihood": math.sqrt(7)}])
    chord = np.interp(7.0, [4, 9], [2, 3])
    assert abs(gap["log_likelihood"]) < (math.sqrt(7) - chord) / 3
    beyond = {**above, "kl": 30.0}
    assert math.isnan(numbers.gaps([*rows, beyond])[0]["log_likelihood"])


def test_rank_correlation_and_its_interval():
    rng = np.random.default_rng(1)
    loss = rng.normal(size=60)
    rows = [
        {"kl": math.exp(v), "score": v + 1.5 * rng.normal(), "noise": rng.normal(), "loss": v}
        for v in loss
    ]
    assert numbers.spearman(rows, "kl").value == pytest.approx(1)
    noise = numbers.spearman(rows, "noise")
    assert noise.low < 0 < noise.high
    score = numbers.spearman(rows, "score")
    assert 0 < score.low < score.value < score.high < 1
    difference = numbers.spearman_difference(rows, "score", "kl")
    assert difference.high < 0
    assert difference.value == pytest.approx(score.value - 1)
    assert math.isnan(numbers.spearman(rows[:2], "kl").value)


def test_rank_correlations_are_scipys():
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, (2, 50, 9)).astype(float)  # with ties
    x[3] = 1.0
    found = numbers.rank_correlation(x, y)
    assert math.isnan(found[3])
    others = np.delete(np.arange(50), 3)
    expected = [stats.spearmanr(x[i], y[i]).statistic for i in others]
    assert found[others] == pytest.approx(expected, abs=1e-12)
    assert float(numbers.rank_correlation(x[0], y[0])) == pytest.approx(expected[0], abs=1e-12)


def test_shares():
    row = {"run": "r", "size": 5, "channel": "mean", "seed": 0, "kl/c": 6.0, "kl/z": 2.0, "kl": 8.0}
    (found,) = numbers.shares([{**row, "mi/c/mean": 9.0, "mi/mean": 10.0}])
    assert (found["share_kl"], found["share_score"]) == (0.75, 0.9)


def crossing(values):
    return [
        {"init_seed": w, "seed": b, "kl": value}
        for w, line in enumerate(values)
        for b, value in enumerate(line)
    ]


def test_a_crossing_of_seeds_says_which_of_them_matters():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 3))
    found = numbers.crossed(crossing(noise + 10 * np.arange(3)[:, None]), "kl")
    assert found["seed of the weights"][0] > 0.9
    assert found["seed of the weights"][1] < 0.01
    assert found["seed of the batches and draws"][1] > 0.05
    assert sum(share for share, _ in found.values()) == pytest.approx(1)
    # A 2 x 2 table by hand: means 2 and 4 against 1 and 5, of squares 4 and 16, and 0 left over.
    exact = numbers.crossed(crossing([[0.0, 4.0], [2.0, 6.0]]), "kl")
    assert [share for share, _ in exact.values()] == pytest.approx([0.2, 0.8, 0])
    assert numbers.crossed(crossing(noise)[:-1], "kl") == {}
    assert numbers.crossed(crossing(np.ones((3, 3))), "kl") == {}


def test_p_values_of_a_crossing_are_uniform_where_nothing_matters():
    rng = np.random.default_rng(1)
    found = [numbers.crossed(crossing(rng.normal(size=(3, 3))), "kl") for _ in range(400)]
    for name in ("seed of the weights", "seed of the batches and draws"):
        assert stats.kstest([each[name][1] for each in found], "uniform").pvalue > 0.01


def test_changes_are_from_the_same_seeds():
    usual = {"mi_warmup": 0, "init_gain": 1.0, "init_seed": None}
    rows = [
        {**usual, "seed": 0, "kl": 1.0},
        {**usual, "seed": 1, "init_seed": 1, "kl": 2.0},
        {**usual, "seed": 0, "init_seed": 1, "kl": 50.0},
        {**usual, "seed": 0, "init_gain": 0.5, "kl": 4.0},
        {**usual, "seed": 1, "init_gain": 0.5, "kl": 4.5},
        {**usual, "seed": 2, "init_gain": 0.5, "kl": 9.0},
        {**usual, "seed": 1, "mi_warmup": 10, "kl": 1.0},
    ]
    assert numbers.changes(rows, "kl") == {
        "initial weights times 0.5": [3.0, 2.5],
        "lambda grows over 10 steps": [-1.0],
    }


def simulate(training, folder, kl_z):
    """A run's folder with what the report reads of it."""
    elbo = -110.25 if training.precision == "bf16-mixed" else -109.5 if training.eager else -110.0
    run = folder / training.name
    run.mkdir(parents=True)
    test = {"log_likelihood": -90.0, "kl": 10.0 + kl_z, "kl/c": 10.0, "kl/z": kl_z, "elbo": elbo}
    test |= {f"mi/{s}{c}": 5.0 for s in ("c/", "z/", "") for c in ("mean", "sample")}
    values = np.linspace(0.1, 2, 5).tolist()
    columns = ("kl", "mi/mean", "mi/sample", "aggregate_mi", "resampling_loss")
    dimensions = {site: dict.fromkeys(columns, values) for site in ("c", "z")}
    metrics = {"test": test, "per_dimension": dimensions}
    metrics |= {"log_evidence": {"mean": -105.0}, "seconds": {"training": 1.0}}
    runs.write_json(run / runs.METRICS, metrics)
    history = History()
    for step in range(50, training.steps + 1, 50):
        history.add(step, step / 550, "train", {"kl/z": kl_z + 1 / step})
        if step % 550 == 0:
            history.add(step, step / 550, "validation", test)
    history.write_csv(run / runs.HISTORY)


def measured(training, folder):
    codes = ["c", "z", "c, z"]
    each = {"lower": 1.0, "upper": 2.0, "lower_se": 0.1, "upper_se": 0.1}
    curves = {name: [[[v, math.nan]] * 3] * 2 for name, v in each.items()}
    curves["barber_agakov"] = [[-3.0, 0.5, -2.0]] * 2
    curves["coords"] = {"guide": ["own", "refitted"], "codes": codes, "num_samples": [1, 10]}
    out = folder / f"information-{training.name}"
    out.mkdir()
    (out / "information.json").write_text(json.dumps({"curves": curves}))


@pytest.mark.slow
def test_report_of_simulated_runs(tmp_path, monkeypatch):
    from experiments.poster import figures as _poster_figures
    from experiments.poster import report as _poster_report

    monkeypatch.setattr(_poster_figures, "_traversals", lambda *_: {})  # they need a checkpoint
    every = blocks(2, 3)
    for block in every:
        for training in block.trainings:
            if not (tmp_path / training.name).exists():
                simulate(training, tmp_path, kl_z=0.1 if training.seed == 1 else 4.0)
                if block.measured:
                    measured(training, tmp_path)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    path = _poster_report.write_report(every, tmp_path, tmp_path / "docs")
    text = path.read_text()
    assert (
        "| with the term on c | I(c; x') | 17.0 | 5.0 (5.0 to 5.0) | 10.0 (10.0 to 10.0) | 2 |"
        in text
    )
    assert "| 1 | 13750 | 5.0 | 5.0 | 10.0 | 0.1 | yes |" in text
    assert "| 0 | 13750 | 5.0 | 5.0 | 10.0 | 4.0 | no |" in text
    assert "| mean, 5 + 5, λ 1, seed 0 | c | 5.0 | 5.0 | 1.0 to 2.0 | −3.0 | 1.0 to 2.0 |" in text
    others = " | ".join(["5.00, 5.00"] * 4)
    assert f"| bf16, compiled | 1 | −110.00, −110.25 | −0.25 | {others} |" in text
    assert f"| fp32, eager | 0 | −110.00, −109.50 | +0.50 | {others} |" in text
    assert "| mean, 5 + 5, λ 1, seed 0 | c, z | 5.0 | 5.0 | 1.0 to 2.0 | −2.0 |" in text
    assert "| 5 + 5, lambda 1 | c and z | 20 |" in text
    assert "| 5 + 5, lambda 1 | z | 10 |" in text
    assert "standard error: bf16 −0.25 ± 0.00, fp32, eager +0.50 ± 0.00." in text
    with (tmp_path / "docs" / "results" / "poster.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["run"] for row in table} == {t.name for b in every for t in b.trainings}
    names = {p.stem for p in (tmp_path / "docs" / "figures").iterdir()}
    assert names >= {"poster_figure_3", "poster_figure_4", "poster_tradeoff", "poster_outcomes"}
    assert not (tmp_path / "nothing").exists()
    assert _poster_report.write_report(every, tmp_path / "nothing") is None


def test_smoke_goes_through_every_block():
    assert [b.name for b in smoke_blocks()] == [b.name for b in blocks(1, 8)]
    assert all(t.steps == EPOCHS_25 for b in smoke_blocks() for t in b.trainings)
