"""The models of the cells, and the programs of one run: settings, data, going on, measuring."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from experiments.infogan_study.design import datasets
from experiments.infogan_study.design.datasets import LAWS, law_distances
from experiments.infogan_study.jobs import measurements, train_cell
from experiments.infogan_study.jobs.models import build
from experiments.infogan_study.rows import ALWAYS
from experiments.infogan_study.rules.checks import CHECKS
from pyro_mivae.datasets import draw
from pyro_mivae.infer import TraceMI_GAN


def shapes(module):
    return [
        (type(layer), tuple(layer.weight.shape))
        for layer in module.modules()
        if hasattr(layer, "weight")
    ]


@pytest.mark.parametrize("categories", [0, 10])
def test_gan_and_vae_have_the_same_networks(categories):
    gan = build("gan", categories, "uniform", "off", seed=0)
    vae = build("vae", categories, "uniform", "off", seed=0)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    decoders = shapes(gan.module.model.decoder), shapes(vae.module.model.decoder)
    assert [layer for layer in decoders[0] if layer[0] not in norms] == decoders[1]
    assert decoders[1] == [
        (nn.Linear, (256, 6 + categories)),
        (nn.Linear, (7 * 7 * 32, 256)),
        (nn.ConvTranspose2d, (32, 16, 4, 4)),
        (nn.ConvTranspose2d, (16, 1, 4, 4)),
    ]
    trunks = shapes(gan.module.discriminator.trunk), shapes(vae.module.guide.encoder.trunk)
    assert trunks[0] == trunks[1]
    assert (nn.LayerNorm, (128,)) in trunks[0]
    assert gan.module.discriminator.trunk is gan.module.guide.encoder.trunk
    assert gan.module.discriminator.alike.kernels == 8
    assert not any(isinstance(layer, norms) for layer in vae.module.modules())
    # The encoder has the noise, too, which Q has not.
    heads = [pair.module.guide.encoder.layers for pair in (gan, vae)]
    assert [head[0].weight.shape for head in heads] == [(64, 128)] * 2
    assert heads[1][-1].out_features - heads[0][-1].out_features == 2 * 4


@pytest.mark.parametrize(
    ("training", "term", "weight", "scale"),
    [
        ("gan", "off", 0.0, None),
        ("gan", "infogan", 1.0, {"c": 1.0}),
        ("gan", "learnt", 0.1, None),
        ("vae", "off", 0.0, None),
        ("vae", "infogan", 1.0, {"c": 1.0}),
        ("vae", "learnt", 1.0, None),
    ],
)
def test_the_terms_have_the_weights_of_the_rules(training, term, weight, scale):
    pair = build(training, 10, "gaussian", term, seed=0)
    assert pair.objective.mi_weight == {"c": weight, "d": 1.0 if training == "gan" else 10.0}
    assert pair.objective.code_scale == scale
    assert pair.adversarial == (training == "gan")
    assert build(training, 0, "gaussian", term, seed=0).objective.mi_weight == {"c": weight}


def test_the_generator_sees_codes_in_units_of_their_deviation():
    gan = build("gan", 0, "uniform", "off", seed=0).module
    np.testing.assert_allclose(gan.model.latent_scale[:2], 1 / math.sqrt(3), rtol=1e-6)


def test_a_seed_gives_the_weights_whatever_the_term():
    one, other = (build("gan", 10, "uniform", term, seed=3) for term in ("off", "learnt"))
    assert all(
        torch.equal(value, other.module.state_dict()[name])
        for name, value in one.module.state_dict().items()
    )


@pytest.mark.parametrize("term", ["off", "infogan", "learnt"])
def test_a_trunk_that_is_asked_once_gives_the_same_losses_and_gradients(term):
    pair = build("gan", 10, "uniform", term, seed=0)
    gan, own = pair.module, pair.objective
    plain = TraceMI_GAN(
        own.discriminator, codes=own.codes, mi_weight=own.mi_weight, code_scale=own.code_scale
    )
    x = torch.rand(8, 28, 28)
    outcomes, calls = [], []
    first = gan.discriminator.trunk.layers[0]
    handle = first.register_forward_hook(lambda *_: calls.append(1))
    for objective in (plain, own):
        objective.terms(gan.model, gan.guide, x)  # checks the pair, by runs of its own
        calls.clear()
        torch.manual_seed(0)
        for turn in objective.steps(gan.model, gan.guide, x):
            gan.zero_grad()
            terms, loss = turn()
            loss.backward()
            gradients = {n: p.grad for n, p in gan.named_parameters() if p.grad is not None}
            outcomes.append((turn.player, terms, gradients))
        outcomes.append(len(calls))
    handle.remove()
    *one, calls_of_plain, reader, model, calls_of_own = outcomes
    assert (calls_of_plain, calls_of_own) == (5, 3)  # real data, x' for the reader and the model
    for (player, terms, gradients), (same, others, shared) in zip(
        one, (reader, model), strict=True
    ):
        assert player == same
        torch.testing.assert_close(terms, others)
        assert gradients.keys() == shared.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, shared[name], rtol=1e-4, atol=1e-6)
    assert "forward" not in vars(gan.discriminator.trunk)


def test_q_that_knows_the_codes_explains_them_and_an_untrained_one_does_not(monkeypatch):
    pair = build("gan", 0, "uniform", "infogan", seed=0)
    untrained = measurements._explained(pair, 400, 0)
    assert abs(untrained) < 0.3
    last = pair.module.guide.encoder.layers[-1]
    with torch.no_grad():
        last.weight.zero_(), last.bias.zero_()
    # In the middle of the prior: the mean tells nothing, and loses nothing but chance.
    assert measurements._explained(pair, 2000, 0) == pytest.approx(0.0, abs=0.1)
    own = measurements._generate

    def known(pair, number):
        x, latents = own(pair, number)
        return x, {**latents, "c": torch.zeros_like(latents["c"])}

    monkeypatch.setattr(measurements, "_generate", known)
    assert measurements._explained(pair, 400, 0) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", list(LAWS))
def test_draws_are_nearest_to_their_own_law_at_any_scale(name):
    real = {
        other: {f: draw(law, 5000, np.random.default_rng(1)) for f, law in laws.items()}
        for other, laws in LAWS.items()
    }
    for factor in ("thickness", "slant"):
        values = 3 * draw(LAWS[name][factor], 5000, np.random.default_rng(0)) - 1
        values[:10] = np.nan
        distances = law_distances(factor, values, real)
        own = LAWS[name][factor]
        others = [d for other, d in distances.items() if LAWS[other][factor] != own]
        assert distances[name] < 0.03 < min(others)
    assert all(math.isnan(d) for d in law_distances("slant", np.ones(9), real).values())


def test_a_seed_has_the_same_digits_in_all_data_sets(tmp_path):
    sets = [
        datasets.load(name, pool=60, test=50, digits="mnist-5k", cache_dir=tmp_path)
        for name in ("D3", "D4-laplace")
    ]
    assert torch.equal(sets[0].pool_labels, sets[1].pool_labels)
    assert not torch.equal(sets[0].pool, sets[1].pool)
    assert (sets[0].rows(4, 20) == sets[1].rows(4, 20)).all()
    assert set(sets[0].set_measured) == {"thickness", "slant"}
    assert set(sets[0].real) == set(LAWS)
    for name in LAWS:  # whichever set is asked for, the others are those that they are themselves
        pair = [each.real[name]["slant"] for each in sets]
        np.testing.assert_array_equal(*pair)
    with pytest.raises(ValueError, match="at most the 60 images of --pool, found 61"):
        sets[0].rows(0, 61)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A run of a GAN, with the learnt scale so that Q's own density is scored."""
    folder = tmp_path_factory.mktemp("cells") / "cell"
    flags = ["--smoke", "--term", "learnt", "--seed", "3", "--out", str(folder)]
    assert train_cell.main(flags) == 0
    return folder, flags


@pytest.mark.slow
def test_a_run_leaves_a_row_with_all_that_the_rules_read(cell):
    folder, _ = cell
    row = json.loads((folder / "metrics.json").read_text())
    assert row["run"] == "gan-category-uniform-learnt-D3-seed3"
    assert all(name in row for name in ALWAYS)
    assert all(check.column in row for check in CHECKS)
    assert {f"law/{f}/{name}" for f in ("thickness", "slant") for name in LAWS} < row.keys()
    codes = [row[f"mi/{code}/thickness"] for code in ("c[0]", "c[1]")]
    assert row["I_T"] in (*codes, 0.0)  # 0 of codes that are not live
    assert row["bound/d"] <= math.log(10)
    with np.load(folder / "traversals.npz") as arrays:
        assert arrays["images"].shape == (2, 9, 10, 28, 28)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(cell, capsys):
    folder, flags = cell
    before = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").unlink()
    state = torch.load(folder / "checkpoint.ckpt", weights_only=True)
    assert state["step"] == 8
    assert train_cell.main(["--resume", str(folder)]) == 0
    again = json.loads((folder / "metrics.json").read_text())
    assert {n: v for n, v in again.items() if "seconds" not in n} == {
        n: v for n, v in before.items() if "seconds" not in n
    }
    assert train_cell.main([*flags, "--prior", "gaussian"]) == 1
    assert "--prior is gaussian, but the run in" in capsys.readouterr().err
    (folder / "config.json").write_text('{"settings": {"data": "D9"}, "data": {}}')
    assert train_cell.main(["--resume", str(folder)]) == 1
    assert "has no settings of a cell" in capsys.readouterr().err
