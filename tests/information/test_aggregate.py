"""The information under the data against enumeration, closed forms, quadrature and brute force."""

import itertools
import logging
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from aggregate_cases import (
    FAMILIES,
    Q_C,
    TABLE,
    Linear,
    close,
    drawn,
    in_plate,
    normal,
    relative_entropy,
    table_guide,
)
from oracles import Bits
from pyro import poutine
from torch import nn

from pyro_mivae.distributions import (
    IntervalBeta,
    LogitNormal,
)
from pyro_mivae.information import aggregate_densities as pairs
from pyro_mivae.information.aggregate import aggregate_information, pairwise_information
from pyro_mivae.information.decomposition import elbo_decomposition
from pyro_mivae.traces.sites import dimension_shape

pytestmark = pytest.mark.usefixtures("float64")


def test_standard_errors_are_of_data_not_of_draws():
    found = aggregate_information(table_guide, TABLE, codes="c", num_samples=64)
    q = Q_C.numpy()
    per_datum = [relative_entropy(row, q.mean(0)) for row in q]
    error = np.std(per_datum, ddof=1) / math.sqrt(5)
    assert found.estimate.standard_error == pytest.approx(error, abs=1e-12)
    assert found.dimension_information_standard_error["c"] == pytest.approx(error, abs=1e-12)


def test_more_draws_of_the_same_data_do_not_move_the_truth():
    linear = Linear()
    found = aggregate_information(linear.guide, linear.data(1500), num_samples=4)
    assert close(found.estimate, linear.information, linear.bias(1500))


# ------------------------------------------------------------------ known by thinking


@pytest.mark.parametrize("size", [1, 7])
def test_equal_data_have_no_information(size):
    found = aggregate_information(in_plate(normal), torch.ones(size, 3), batch_size=3)
    assert abs(found.estimate.mean) < 1e-12
    assert found.dimension_information["z"].abs().max() < 1e-12
    assert math.isnan(found.estimate.standard_error) == (size == 1)
    assert not found.saturated


def test_a_guide_that_ignores_its_data_has_no_information():
    found = aggregate_information(in_plate(lambda x: dist.Normal(0.0, 1.0)), torch.randn(50))
    assert abs(found.estimate.mean) < 1e-12


def test_posteriors_far_apart_saturate(caplog):
    data = 100 * torch.arange(40.0)[:, None].expand(40, 2)
    with caplog.at_level(logging.WARNING):
        found = aggregate_information(in_plate(normal), data)
    assert found.estimate.mean == pytest.approx(math.log(40), abs=1e-12)
    assert found.limit == math.log(40)
    assert found.saturated
    assert "40 data are too few to see more" in str(found)
    assert "Measure on more data" in caplog.text
    caplog.clear()
    close_by = aggregate_information(in_plate(normal), data / 1000)
    assert not close_by.saturated
    assert "at most" in str(close_by)
    assert not caplog.text


def logit_normal_density(y, x):
    return -0.5 * ((y - 2 * x) / 0.7) ** 2 - math.log(0.7 * math.sqrt(2 * math.pi))


def logit_beta_density(y, x):
    a, b = math.exp(x), math.exp(-x) + 0.5
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return -a * np.logaddexp(0, -y) - b * np.logaddexp(0, y) - log_beta


@pytest.mark.parametrize(
    ("make", "density"),
    [
        (lambda x: LogitNormal(2 * x, torch.full_like(x, 0.7), -1.0, 1.0), logit_normal_density),
        (lambda x: IntervalBeta(x.exp(), (-x).exp() + 0.5, -1.0, 1.0), logit_beta_density),
    ],
    ids=["logit-normal", "beta"],
)
def test_bounded_codes_against_quadrature(make, density):
    x = torch.linspace(-1, 1, 5)
    # Information is the same in logits, where the densities are smooth.
    y, step = np.linspace(-80, 80, 40001, retstep=True)
    log_q = np.stack([density(y, float(each)) for each in x])
    mass = np.exp(log_q) * step
    assert np.allclose(mass.sum(1), 1, atol=1e-9)
    terms = log_q - np.logaddexp.reduce(log_q, 0) + math.log(5)
    truth = (mass * terms).sum() / 5
    deviation = math.sqrt((mass * terms**2).sum() / 5 - truth**2)
    found = aggregate_information(in_plate(make), x, num_samples=4000)
    assert abs(found.estimate.mean - truth) < 4 * deviation / math.sqrt(5 * 4000)
    assert float(found.dimension_information["z"]) == pytest.approx(found.estimate.mean)


def table(make, data, z):
    """log q(z_i|x_j), by datum: shape (draws, data)."""
    with pyro.validation_enabled(False):
        fns = [make(each[None]) for each in data]
        fns = [fn.base_dist if isinstance(fn, dist.MaskedDistribution) else fn for fn in fns]
        return torch.stack([fn.log_prob(z) for fn in fns], -1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_against_brute_force(family):
    make, known = FAMILIES[family]
    data, guide = torch.randn(11, 2), in_plate(make)
    found = aggregate_information(guide, data, num_samples=3, batch_size=4)
    log_q = table(make, data, drawn(guide, data, samples=3, batch_size=4)["z"])
    own = log_q[np.arange(33), np.arange(33) // 3]
    terms = own - np.log(np.exp(log_q).mean(1))
    assert found.estimate.mean == pytest.approx(terms.mean(), abs=1e-10)
    per_datum = terms.reshape(11, 3).mean(1)
    error = per_datum.std(ddof=1) / math.sqrt(11)
    assert found.estimate.standard_error == pytest.approx(error, abs=1e-10)
    assert ("z" in found.dimension_information) == known
    if known:
        assert found.dimension_information["z"].shape == dimension_shape(make(data))


@pytest.mark.parametrize("elements", [1, 100])
def test_blocks_of_any_size_give_the_same(monkeypatch, elements):
    data, guide = torch.randn(23, 2), in_plate(normal)
    one = aggregate_information(guide, data, num_samples=2, batch_size=5)
    monkeypatch.setattr(pairs, "_ELEMENTS", elements)
    other = aggregate_information(guide, data, num_samples=2, batch_size=5)
    assert other.estimate.mean == pytest.approx(one.estimate.mean, abs=1e-13)
    each = other.dimension_information["z"]
    torch.testing.assert_close(each, one.dimension_information["z"])


def test_batches_of_any_size_agree_within_errors():
    linear = Linear()
    found = [
        aggregate_information(linear.guide, linear.data(400), batch_size=size).estimate
        for size in (17, 400)
    ]
    assert abs(found[0].mean - found[1].mean) < 4 * found[0].standard_error


def test_data_and_prepare():
    data = torch.randn(30, 2)
    one = aggregate_information(in_plate(normal), data)
    two = aggregate_information(
        in_plate(normal), [data / 2, data / 2], prepare=lambda left, right: left + right
    )
    assert two.estimate.mean == pytest.approx(one.estimate.mean)


# ------------------------------------------------------------------ two dimensions


def test_pairwise_information_of_correlated_gaussians():
    linear, size = Linear(dims=4, scale=0.7), 2000
    found = pairwise_information(linear.guide, linear.data(size))
    mi, error = (torch.as_tensor(found[name].values) for name in ("pairwise_mi", "pairwise_mi_se"))
    off = ~torch.eye(4, dtype=torch.bool)
    assert linear.pairwise[off].max() > 0.1
    # Of the two dimensions' own biases the pair's is the largest.
    slack = math.exp(2 * linear.each.sort().values[-2:].sum()) / (2 * size)
    assert ((mi - linear.pairwise).abs() < 4 * error + slack)[off].all()
    assert (mi[~off].isnan() & error[~off].isnan()).all()
    torch.testing.assert_close(mi[off], mi.T[off], rtol=0, atol=1e-12)
    assert (
        list(found["dimension"].values)
        == list(found["other"].values)
        == [f"z[{d}]" for d in range(4)]
    )
    assert found["pairwise_mi"].dims == ("dimension", "other")


def test_pairwise_information_against_brute_force():
    """Several sites, more dimensions than data, one of them so sharp that products underflow."""
    scales = torch.cat([torch.tensor([1e-4, 1e4]), torch.full((38,), 0.5)])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(logits=x.sum(-1)))
            pyro.sample("z", dist.Normal(x, scales).to_event(1))

    data = torch.randn(25, 40)
    found = pairwise_information(guide, data, batch_size=10)
    draws = drawn(guide, data, batch_size=10)
    log_c = dist.Bernoulli(logits=data.sum(-1)).log_prob(draws["c"][:, None]).numpy()
    log_z = dist.Normal(data, scales).log_prob(draws["z"][:, None]).numpy()
    log_q = {"c": log_c} | {f"z[{d}]": log_z[..., d] for d in range(40)}
    assert list(found["dimension"].values) == list(log_q)

    def mixture(log_q):
        return np.log(np.exp(log_q).mean(1))

    for a, b in itertools.combinations(("c", "z[0]", "z[1]", "z[39]"), 2):
        terms = mixture(log_q[a] + log_q[b]) - mixture(log_q[a]) - mixture(log_q[b])
        pair = found.sel(dimension=a, other=b)
        assert float(pair["pairwise_mi"]) == pytest.approx(terms.mean(), abs=1e-10)
        error = terms.std(ddof=1) / 5
        assert float(pair["pairwise_mi_se"]) == pytest.approx(error, abs=1e-10)


def test_pairwise_information_of_posteriors_apart():
    """Supports that do not touch: a draw has no density at all under the data of a batch."""
    guide = in_plate(lambda x: dist.Uniform(x, x + 1).to_event(1))
    data = 2 * torch.arange(6.0)[:, None].expand(6, 2)
    found = pairwise_information(guide, data, batch_size=2)["pairwise_mi"]
    assert float(found[0, 1]) == pytest.approx(math.log(6))


def test_duplicated_codes_share_everything():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=50.0 * torch.eye(4)[x]))
            pyro.sample("z", dist.Categorical(logits=50.0 * torch.eye(4)[x]))
            pyro.sample("u", dist.Categorical(torch.ones(4)))

    found = pairwise_information(guide, torch.arange(4).repeat(10))["pairwise_mi"]
    assert float(found.sel(dimension="c", other="z")) == pytest.approx(math.log(4), abs=1e-10)
    assert float(found.sel(dimension="c", other="u")) == pytest.approx(0, abs=1e-10)


# ------------------------------------------------------------------ plates, scales, masks


def nested(x):
    """The data at dim -2."""
    with pyro.plate("data", len(x), dim=-2), pyro.plate("inner", 3, dim=-1):
        pyro.sample("z", dist.Normal(x, 0.5).to_event(1))


def allocated(x):
    """The data at dim -1, the inner plate at -2: where Pyro puts plates by itself."""
    with pyro.plate("data", len(x)), pyro.plate("inner", 3):
        pyro.sample("z", dist.Normal(x.movedim(0, 1), 0.5).to_event(1))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11])
@pytest.mark.parametrize("guide", [nested, allocated])
def test_plates_inside_a_datum_are_summed(guide, batch_size):
    # Batches of 3, and the last of those of 4, are as large as the inner plate.
    data = torch.randn(11, 3, 2)
    found = aggregate_information(guide, data, batch_size=batch_size)
    z = drawn(guide, data, batch_size=batch_size)["z"]
    log_q = dist.Normal(data, 0.5).log_prob(z[:, None]).sum(-2)
    own = log_q[range(11), range(11)]
    terms = own - (log_q.logsumexp(1) - math.log(11))
    torch.testing.assert_close(found.dimension_information["z"], terms.mean(0))
    terms = own.sum(-1) - (log_q.sum(-1).logsumexp(1) - math.log(11))
    assert found.estimate.mean == pytest.approx(float(terms.mean()), abs=1e-10)


def test_dimensions_have_the_event_shape():
    guide = in_plate(lambda x: dist.Normal(x, 0.5).to_event(2))
    data = torch.randn(6, 3, 2)
    assert aggregate_information(guide, data).dimension_information["z"].shape == (3, 2)
    names = pairwise_information(guide, data)["dimension"].values
    assert list(names) == ["z[0,0]", "z[0,1]", "z[1,0]", "z[1,1]", "z[2,0]", "z[2,1]"]


def test_scales_and_masks_of_latents_are_left_out():
    data, guide = torch.randn(20, 2), in_plate(normal)
    plain = aggregate_information(guide, data)
    for changed in (poutine.scale(guide, 3.0), poutine.mask(guide, False)):
        assert aggregate_information(changed, data).estimate == plain.estimate


def test_masks_that_hide_a_part_of_a_latent_are_told(caplog):
    """Once in a measurement, and not where a mask hides nothing."""
    data, guide = torch.randn(20, 2), in_plate(normal)
    aggregate_information(poutine.mask(guide, torch.ones(5, dtype=torch.bool)), data, batch_size=5)
    assert not caplog.records
    aggregate_information(poutine.mask(guide, torch.arange(5) > 2), data, batch_size=5)
    assert "the masks of the latent sites ['z'] are left out" in caplog.text
    assert len(caplog.records) == 1


# ------------------------------------------------------------------ precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_guides(dtype):
    linear = Linear()
    data = linear.data(300)

    def half(x):
        with pyro.plate("data", len(x)):
            loc, scale = (x @ linear.A.T + linear.a).to(dtype), linear.s.to(dtype)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    found = aggregate_information(half, data).estimate
    assert abs(found.mean - aggregate_information(linear.guide, data).estimate.mean) < 0.15
    # Densities of half precision would be 1e-2 off; these are those of the rounded parameters.
    z = drawn(half, data)["z"]
    assert z.dtype == torch.float32
    loc = (data @ linear.A.T + linear.a).to(dtype).double()
    log_q = dist.Normal(loc, linear.s.to(dtype).double()).to_event(1).log_prob(z.double()[:, None])
    terms = log_q.diagonal() - (log_q.logsumexp(1) - math.log(300))
    assert found.mean == pytest.approx(float(terms.mean()), abs=1e-5)

    seen = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            seen.append(z.dtype)
            pyro.sample("x", dist.Normal(z.double() @ linear.A, 1.0).to_event(1), obs=x)

    assert math.isfinite(elbo_decomposition(model, half, data).elbo.mean)
    assert seen[-1] == dtype  # the model gets what the guide gives it


def test_tiny_scales_in_single_precision():
    data = torch.rand(400, 1, dtype=torch.float32)
    guide = in_plate(lambda x: dist.Normal(x, 1e-4).to_event(1))
    found = aggregate_information(guide, data)
    z = drawn(guide, data)["z"].double()
    log_q = dist.Normal(data.double(), 1e-4).to_event(1).log_prob(z[:, None])
    terms = log_q.diagonal() - (log_q.logsumexp(1) - math.log(400))
    assert found.estimate.mean == pytest.approx(float(terms.mean()), abs=1e-3)
    assert 0 < found.estimate.mean <= math.log(400)


def test_parameters_that_are_not_finite():
    guide, data = in_plate(lambda x: dist.Normal(x, 1.0)), torch.tensor([0.0, torch.nan])
    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="a density of the guide is NaN"),
    ):
        aggregate_information(guide, data)


@pytest.mark.slow
def test_a_seed_fixes_the_draws_and_nothing_else_changes():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            assert not self.dropout.training
            in_plate(normal)(x)

    guide, data = Noisy(), torch.randn(20, 2)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, other = (aggregate_information(guide, data, seed=seed).estimate for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert one == two
    assert one != other
    assert guide.dropout.training


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("order", ["c,z", "z,c"])
def test_codes_that_depend_on_others_are_refused(order):
    bits = Bits(order=order)
    data = torch.randint(2, (12, 2)).double()
    first, second = order.split(",")
    with pytest.raises(ValueError, match=rf"'{second}' depends on \['{first}'\] in the guide"):
        aggregate_information(bits.guide, data)
    alone = aggregate_information(bits.guide, data, codes=first).estimate
    assert alone.mean > -4 * alone.standard_error


def test_guides_that_do_not_fit():
    data = torch.randn(6, 2)

    def chain(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.sample("z", dist.Normal(u, 1.0))

    def unplated(x):
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    def sequential(x):
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"z_{i}", dist.Normal(x[i].sum(), 1.0))

    def four(x):
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    point = in_plate(lambda x: dist.Delta(x).to_event(1))
    for guide, codes, message in (
        (chain, None, r"'z' depends on \['u'\] in the guide, so that q\(z\|x\) is not known"),
        (unplated, None, "'z' is in no vectorised plate of the 6 data of a batch"),
        (sequential, "z_0", "'z_0' is in no vectorised plate of the 6 data"),
        (point, None, r"'z' is a point \(Delta\) in the guide"),
        (in_plate(normal), "c", r"codes names 'c', but the guide's latent sites are \['z'\]"),
        (in_plate(normal), {"z": 0}, r"codes=\{'z': 0\}: expected a whole site"),
        (lambda x: None, None, "the guide has no latent sites"),
    ):
        with pytest.raises(ValueError, match=message):
            aggregate_information(guide, data, codes=codes)
    with pytest.raises(ValueError, match="num_samples must be at least 1, found 0"):
        aggregate_information(in_plate(normal), data, num_samples=0)
    with pytest.raises(ValueError, match="'z' is in no vectorised plate of the 2 data of a batch"):
        aggregate_information(four, data, batch_size=4)
    with pytest.raises(ValueError, match="posterior of site 'z' does not factorise"):
        pairwise_information(in_plate(FAMILIES["multivariate"][0]), data)
