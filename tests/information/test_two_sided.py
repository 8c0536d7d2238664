"""The information under the model from both sides, against models where it is known."""

import itertools
import logging
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import (
    Bits,
    CodeAndNoise,
    LinearGaussian,
    SymmetricChannel,
    UniformChannel,
    by_dimension,
    by_dimension_guide,
)
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import Estimate, sandwich

pytestmark = pytest.mark.usefixtures("float64")


def check(bounds, truth, *, gap, reach=5):
    """Both sides within `reach` standard errors of the truth, and no more than `gap` apart."""
    truth = truth.item() if isinstance(truth, torch.Tensor) else truth
    assert bounds.lower.mean - reach * bounds.lower.standard_error <= truth
    assert truth <= bounds.upper.mean + reach * bounds.upper.standard_error
    assert bounds.lower.mean >= truth - gap - reach * bounds.lower.standard_error
    assert bounds.upper.mean <= truth + gap + reach * bounds.upper.standard_error
    assert bounds.gap.mean < gap


def check_curve(bounds):
    """On the same draws: L_K rises, U_K falls, L_K <= U_K."""
    for steps, sign in ((bounds.lower_per_datum, 1), (bounds.upper_per_datum, -1)):
        for few, many in itertools.pairwise(steps):
            change = Estimate.of(sign * (many - few))
            assert change.mean > -3 * change.standard_error
    for low, high in zip(bounds.lower_per_datum, bounds.upper_per_datum, strict=True):
        assert Estimate.of(high - low).mean > 0


# All latents as code.


def test_linear_gaussian_with_an_inexact_guide():
    oracle = LinearGaussian(exact=False)
    bounds = sandwich(oracle.model, oracle.guide, oracle.data(4000), num_samples=[1, 10, 100, 1000])
    check(bounds, oracle.information(), gap=0.02)
    check_curve(bounds)
    first = bounds.curve()[0][1]
    assert abs(first.mean - oracle.bound().item()) < 5 * first.standard_error
    assert first.mean < oracle.information() - 0.5
    assert bounds.curve()[0][2].mean > oracle.information() + 0.5
    # L_1 is the bound of Barber and Agakov, draw by draw.
    torch.testing.assert_close(bounds.lower_per_datum[0], bounds.barber_agakov_per_datum)
    assert bounds.note is None


def test_exact_guide_meets_at_once():
    oracle = LinearGaussian()
    bounds = sandwich(oracle.model, oracle.guide, oracle.data(2000), num_samples=(3,))
    torch.testing.assert_close(bounds.lower_per_datum, bounds.upper_per_datum)
    check(bounds, oracle.information(), gap=1e-9)


def test_uniform_code_with_uniform_noise():
    oracle = UniformChannel(0.5)
    bounds = sandwich(oracle.model, oracle.guide, torch.zeros(3000), num_samples=20)
    check(bounds, oracle.information, gap=1e-6)


def test_uniform_code_where_most_draws_have_no_weight():
    """Proposals from the prior: a weight is 0 wherever |x' - c| > w."""
    oracle = UniformChannel(0.25)

    def prior_guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Uniform(-torch.ones(len(x)), 1.0))

    with pytest.warns(UserWarning, match="ignores its data"):
        bounds = sandwich(oracle.model, prior_guide, torch.zeros(2000), num_samples=[1, 400])
    check(bounds, oracle.information, gap=0.1)
    assert bounds.barber_agakov == Estimate(0.0, 0.0)
    # Of single draws most have weight 0.
    assert math.isinf(bounds.curve()[0][2].mean)


def test_symmetric_channel():
    oracle = SymmetricChannel(5, 0.3)
    data = torch.zeros(4000, dtype=torch.long)
    check(sandwich(oracle.model, oracle.guide, data, num_samples=4), oracle.information, gap=1e-9)


def student_t(df, rho, dims=2):
    """z and x with a joint multivariate t distribution, and their information.

    The entropy of a d-dimensional one is h(df, d) + ½ log det (Arellano-Valle et al. 2013, eq. 5).
    """

    def entropy(d):
        half = torch.tensor([df / 2, (df + d) / 2])
        gammas = torch.lgamma(half)
        digammas = torch.digamma(half)
        return (
            gammas[0]
            - gammas[1]
            + d / 2 * math.log(df * math.pi)
            + (df + d) / 2 * (digammas[1] - digammas[0])
        )

    information = 2 * entropy(dims) - entropy(2 * dims) - dims / 2 * math.log(1 - rho**2)
    eye = torch.eye(dims)

    def given(value):
        """Of x given z, or of z given x."""
        squared = (df + value.square().sum(-1)) / (df + dims)
        scale = (squared * (1 - rho**2)).sqrt()
        return dist.MultivariateStudentT(df + dims, rho * value, scale[..., None, None] * eye)

    def model(x):
        with pyro.plate("data", len(x)):
            zeros = torch.zeros(dims)
            z = pyro.sample("z", dist.MultivariateStudentT(torch.tensor(float(df)), zeros, eye))
            pyro.sample("x", given(z), obs=x)

    def guide(x):
        """The right location; a Cauchy in place of the t, too wide."""
        with pyro.plate("data", len(x)):
            exact = given(x)
            loc, scale = exact.loc, 1.3 * exact.scale_tril.diagonal(dim1=-1, dim2=-2)
            pyro.sample("z", dist.StudentT(2.0, loc, scale).to_event(1))

    return model, guide, information


@pytest.mark.parametrize(("df", "rho"), [(1, 0.0), (2, 0.8), (5, 0.9)])
def test_student_t(df, rho):
    """Dependent even without correlation, through the common tail."""
    model, guide, information = student_t(df, rho)
    assert information > 0.05
    bounds = sandwich(model, guide, torch.zeros(2000, 2), num_samples=[1, 20, 400])
    check(bounds, information, gap=0.05)
    check_curve(bounds)


def test_cauchy_noise():
    """z ~ Cauchy(0, 1), x = z + Cauchy(0, g): I = log((1 + g) / g), from h = log 4 pi scale."""
    g = 0.3

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Cauchy(0.0, 1.0))
            pyro.sample("x", dist.Cauchy(z, g), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Cauchy(x / (1 + g), 0.5 + 0.1 * x.abs()))

    bounds = sandwich(model, guide, torch.zeros(4000), num_samples=[1, 30, 1000])
    check(bounds, math.log((1 + g) / g), gap=0.05)
    check_curve(bounds)


# A code among other latents.


@pytest.mark.parametrize("order", ["c,u", "u,c", "c|u"])
def test_linear_gaussian_code_among_noise(order):
    oracle = CodeAndNoise(order)
    data = oracle.data(2000)
    bounds = sandwich(oracle.model, oracle.guide, data, codes="c", num_samples=[1, 20, 400])
    check(bounds, oracle.information(), gap=0.1)
    check_curve(bounds)
    with torch.no_grad():
        elbo = TraceMI_ELBO(channel="sample", codes="c", elbo=Trace_ELBO())
        terms = elbo.terms(oracle.model, oracle.guide, oracle.data(20_000))
    error = 5 * bounds.barber_agakov.standard_error
    assert abs(bounds.barber_agakov.mean - float(terms["mi"]) / 20_000) < error
    assert bounds.barber_agakov.mean < oracle.information() + error
    assert bounds.note is None


def test_a_slice_of_a_site_as_code():
    """c and u as dimensions of one site."""
    oracle = CodeAndNoise("c,u")

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            loc = z[..., :1] @ oracle.W.T + z[..., 1:] @ oracle.V.T + oracle.b
            pyro.sample("x", dist.Normal(loc, oracle.s).to_event(1), obs=x)

    def guide(x):
        mean = (x - oracle.b) @ oracle.gain.T
        scale = 1.2 * oracle.covariance.diagonal().sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, scale).to_event(1))

    settings = {"codes": {"z": slice(0, 1)}, "num_samples": [1, 20, 300]}
    bounds = sandwich(model, guide, oracle.data(1500), **settings)
    check(bounds, oracle.information(), gap=0.1)
    check_curve(bounds)


@pytest.mark.parametrize("order", ["c,z", "z,c", "independent"])
def test_bits_by_enumeration(order):
    oracle = Bits(order, sharpness=2.0)
    bounds = sandwich(
        oracle.model, oracle.guide, oracle.data(2000), codes="c", num_samples=[1, 20, 1000]
    )
    check(bounds, oracle.information(), gap=0.02)
    check_curve(bounds)
    truth, found = oracle.bound(), bounds.barber_agakov
    assert abs(found.mean - truth) < 5 * found.standard_error


def test_noise_that_the_guide_lacks_is_proposed_from_the_prior():
    oracle = CodeAndNoise("c,u")

    def guide(x):
        mean = (x - oracle.b) @ oracle.gain.T
        with pyro.plate("data", len(x)):
            scale = oracle.covariance.diagonal().sqrt()
            pyro.sample("c", dist.Normal(mean[:, :1], 1.2 * scale[:1]).to_event(1))

    bounds = sandwich(oracle.model, guide, oracle.data(1500), num_samples=[1, 1000])
    check(bounds, oracle.information(), gap=0.15)


@pytest.mark.slow
def test_auxiliary_sites_of_the_guide_are_its_own_affair():
    """q(a|x) q(z|x, a): the weights are p(z, x) / q(z|x, a) with a drawn anew."""
    oracle = LinearGaussian()

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample(
                "a", dist.Normal(torch.zeros(2), 0.3).to_event(1), infer={"is_auxiliary": True}
            )
            loc = x @ oracle.A.T + oracle.a + a
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=1.3 * oracle.L.tril()))

    bounds = sandwich(oracle.model, guide, oracle.data(3000), num_samples=[1, 10, 1000])
    check(bounds, oracle.information(), gap=0.02)
    check_curve(bounds)


# Degenerate cases.


def test_an_ignored_code_has_zero_inside():
    oracle = CodeAndNoise()
    oracle.W.zero_()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(0.1 * x[:, :1], 1.2).to_event(1))
            u = (x - oracle.b) @ oracle.gain[1:].T
            scale = 1.2 * oracle.covariance.diagonal()[1:].sqrt()
            pyro.sample("u", dist.Normal(u, scale).to_event(1))

    bounds = sandwich(oracle.model, guide, oracle.data(2000), codes="c", num_samples=500)
    low, high = bounds.interval()
    assert low < 0 < high
    assert high - low < 0.1


@pytest.mark.parametrize(
    ("dims", "name"),
    [(0, "z[0]"), ([1], "z[1]"), (slice(1), "z[:1]"), (slice(1, None), "z[1:]"), (None, "z")],
)
def test_text_names_the_dimensions_of_a_code(dims, name):
    guide, x = by_dimension_guide(), torch.randn(5, 3)
    bounds = sandwich(by_dimension, guide, x, codes={"z": dims}, num_samples=2)
    assert bounds.codes == (name,)
    assert f"I({name}; x')" in str(bounds)


def test_a_deterministic_decoder_has_no_upper_bound():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Delta(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1))

    bounds = sandwich(model, guide, torch.zeros(500), num_samples=[1, 100])
    # log q(z|x') - log p(z) + log K: as far as K draws can see.
    expected = -math.log(0.1) + 0.5 * 1.0 + math.log(100)
    assert abs(bounds.lower.mean - expected) < 5 * bounds.lower.standard_error
    assert bounds.upper.mean == math.inf
    assert bounds.interval()[1] == math.inf
    assert "inf nats apart" in bounds.note


@pytest.mark.slow
def test_a_single_datum():
    oracle = LinearGaussian(exact=False)
    bounds = sandwich(oracle.model, oracle.guide, oracle.data(1), num_samples=10)
    assert bounds.lower_per_datum.shape == (1, 1)
    assert math.isfinite(bounds.lower.mean)
    assert math.isnan(bounds.lower.standard_error)
    repeated = sandwich(
        oracle.model, oracle.guide, oracle.data(1), num_samples=300, num_dual_particles=300
    )
    assert repeated.lower_per_datum.shape == (1, 300)
    check(repeated, oracle.information(), gap=0.1)


def test_half_precision():
    oracle = CodeAndNoise(width=1.4)
    truth = oracle.information()
    for name in ("W", "V", "b", "s", "covariance", "gain"):
        setattr(oracle, name, getattr(oracle, name).bfloat16())
    torch.set_default_dtype(torch.bfloat16)
    data = oracle.data(500)
    bounds = sandwich(oracle.model, oracle.guide, data, codes="c", num_samples=[1, 100])
    assert bounds.lower_per_datum.dtype == torch.float64
    # A density in half precision is known to 2^-8 of itself.
    check(bounds, truth, gap=0.3)


def missed_mode(x, covered):
    """z of either sign gives the same x = z² + noise."""
    root = x.clamp(min=0.01).sqrt()
    scale = 0.1 / root.clamp(min=0.3)
    with pyro.plate("data", len(x)):
        if covered:
            sides = dist.Categorical(torch.ones(len(x), 2))
            both = dist.Normal(torch.stack([root, -root], -1), scale[:, None])
            pyro.sample("z", dist.MixtureSameFamily(sides, both))
        else:
            pyro.sample("z", dist.Normal(root, scale))


def test_a_guide_that_misses_a_mode(caplog):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z**2, 0.1), obs=x)

    both = lambda x: missed_mode(x, True)  # noqa: E731
    one = lambda x: missed_mode(x, False)  # noqa: E731
    data = torch.zeros(2000)
    good = sandwich(model, both, data, num_samples=1000)
    assert good.note is None
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        bad = sandwich(model, one, data, num_samples=1000)
    assert "misses a part of it (a mode, say)" in caplog.text
    assert bad.note in str(bad)
    truth = (good.lower.mean + good.upper.mean) / 2
    assert bad.lower.mean < truth < bad.upper.mean
    assert bad.gap.mean > 5


# Models of other people.


class Conv(nn.Module):
    """A decoder that knows one batch dimension only."""

    def __init__(self, careless=False):
        super().__init__()
        torch.manual_seed(5)
        self.careless = careless
        self.decoder = nn.Linear(2, 16)
        self.encoder = nn.Linear(16, 4)

    def decode(self, z, size):
        if self.careless:  # silently the first draws only
            z = z.reshape(-1, 2)[:size]
        return self.decoder(z).view(size, 4, 4)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(z, len(x)), 1.0).to_event(2), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, (0.1 * log_scale).exp()).to_event(1))


@pytest.mark.parametrize("careless", [False, True])
def test_models_that_take_one_draw_at_a_time(careless, caplog):
    conv = Conv(careless)
    W = conv.decoder.weight.detach()
    truth = 0.5 * torch.logdet(torch.eye(2) + W.T @ W)
    with caplog.at_level(logging.INFO, logger="pyro_mivae"):
        bounds = sandwich(conv.model, conv.guide, torch.zeros(1500, 4, 4), num_samples=300)
    assert "draws run one at a time" in caplog.text
    assert ("differ by up to" in caplog.text) == careless
    check(bounds, truth, gap=0.4)


def test_parallel_draws_are_those_of_single_runs():
    oracle = CodeAndNoise()
    data, settings = oracle.data(3000), {"codes": "c", "num_samples": [1, 50]}
    alone, together = (
        sandwich(oracle.model, oracle.guide, data, parallel=parallel, **settings)
        for parallel in (1, 7)
    )
    for one, other in zip(alone.curve(), together.curve(), strict=True):
        for a, b in zip(one[1:], other[1:], strict=True):
            assert abs(a.mean - b.mean) < 4 * math.hypot(a.standard_error, b.standard_error)


def test_plates_inside_a_datum_and_a_plate_of_another_name():
    """Three measurements of each code."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("measurement", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 0.8), obs=x)

    def guide(x):
        with pyro.plate("images", len(x), dim=-2):
            pyro.sample("z", dist.Normal(0.6 * x.mean(-1, keepdim=True), 0.7))

    bounds = sandwich(model, guide, torch.zeros(2000, 3), num_samples=[1, 500])
    assert bounds.lower_per_datum.shape == (2, 2000)
    check(bounds, 0.5 * math.log(1 + 3 / 0.8**2), gap=0.02)


@pytest.mark.slow
def test_a_global_latent_makes_the_call_one_datum():
    """I(z; x_1..x_5) = ½ log(1 + 5 / s²)."""

    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x.mean(), 0.6))

    settings = {"num_samples": 200, "num_dual_particles": 400}
    bounds = sandwich(model, guide, torch.zeros(5), **settings)
    assert bounds.lower_per_datum.shape == (1, 400)
    check(bounds, 0.5 * math.log(6), gap=0.05)


def test_a_subsampled_plate():
    oracle = LinearGaussian(exact=False)
    model, guide = oracle.subsampled(300)
    settings = {"num_samples": 500, "num_dual_particles": 10}
    bounds = sandwich(model, guide, torch.randn(1000, 3), **settings)
    assert bounds.lower_per_datum.shape == (1, 3000)
    check(bounds, oracle.information(), gap=0.05)


def test_scales_weigh_a_loss_and_no_density():
    oracle = LinearGaussian(exact=False)
    scaled = [poutine.scale(fn, scale=0.01) for fn in (oracle.model, oracle.guide)]
    bounds = sandwich(*scaled, oracle.data(2000), num_samples=500)
    check(bounds, oracle.information(), gap=0.05)


def test_masked_data_are_left_as_they_are():
    """Half of the data are missing: the guide must not read in x' what the density leaves out."""
    oracle = LinearGaussian(exact=False)
    mask = torch.arange(2000) % 2 == 0
    masked = [poutine.mask(fn, mask=mask) for fn in (oracle.model, oracle.guide)]
    bounds = sandwich(*masked, oracle.data(2000), num_samples=500)
    assert bounds.upper_per_datum[0, 1::2].abs().max() < 1e-12
    kept = Estimate.of(bounds.lower_per_datum[0, ::2])
    assert abs(kept.mean - oracle.information()) < 5 * kept.standard_error + 0.02


def test_a_covariate():
    """x = z + y: with y at its data value, z is read off x - y."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 10.0), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 0.5), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * (x - y), 0.6))

    data = torch.zeros(2000), 10 * torch.randn(2000)
    bounds = sandwich(model, guide, *data, observed="y", num_samples=500)
    check(bounds, 0.5 * math.log(1 + 1 / 0.25), gap=0.02)


def test_data_args_and_keyword_arguments():
    oracle = LinearGaussian()
    guide = lambda x, reversed_x: oracle.guide(reversed_x.flip(-1))  # noqa: E731
    bounds = sandwich(
        lambda x, reversed_x: oracle.model(x),
        guide,
        oracle.data(2000),
        reversed_x=oracle.data(2000),
        data_args=lambda generated, args, kwargs: (
            args,
            {**kwargs, "reversed_x": generated["x"].flip(-1)},
        ),
        num_samples=5,
    )
    check(bounds, oracle.information(), gap=1e-9)


# Interface.


def test_several_numbers_of_samples_come_from_one_pass():
    oracle = LinearGaussian(exact=False)
    both = sandwich(oracle.model, oracle.guide, oracle.data(50), num_samples=[40, 5], parallel=1)
    one = sandwich(oracle.model, oracle.guide, oracle.data(50), num_samples=5, parallel=1)
    assert both.num_samples == (5, 40)
    torch.testing.assert_close(both.lower_per_datum[0], one.lower_per_datum[0])
    torch.testing.assert_close(both.upper_per_datum[0], one.upper_per_datum[0])


def test_two_calls_agree_and_the_random_state_is_left_alone():
    oracle = LinearGaussian(exact=False)
    before = torch.get_rng_state()
    one, two, other = (
        sandwich(oracle.model, oracle.guide, oracle.data(20), num_samples=7, seed=seed)
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.lower_per_datum, two.lower_per_datum)
    assert not torch.equal(one.lower_per_datum, other.lower_per_datum)


class Largest(TorchDispatchMode):
    """The largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes() > 0:
            # An expanded tensor takes the memory of its storage.
            storage = out.untyped_storage().nbytes() // out.element_size()
            self.elements = max(self.elements, storage)
        return out


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples():
    """784 pixels: at K = 5,000 all of them at once would be 400 million numbers for 100 data."""
    torch.manual_seed(0)
    decoder, encoder = nn.Linear(2, 784), nn.Linear(784, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        loc, scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    with Largest() as seen:
        sandwich(model, guide, torch.zeros(100, 784), num_samples=200)
    assert seen.elements <= 2**21
    with Largest() as seen:
        sandwich(model, guide, torch.zeros(4000, 784), num_samples=3)
    assert seen.elements <= 4000 * 784


def test_large_parameters_count_as_memory():
    """A covariance for each draw: 40 dimensions have 1,600 numbers, and few draws run at once."""

    def wide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            scale = (1 + z.square())[..., None, None] * torch.eye(40)
            pyro.sample("x", dist.MultivariateNormal(torch.zeros(40), scale), obs=x)

    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    with pytest.warns(UserWarning, match="ignores its data"), Largest() as seen:
        sandwich(wide, narrow, torch.zeros(200, 40), num_samples=np.int64(40))
    assert seen.elements <= 2**21


def test_intervals_and_text():
    oracle = LinearGaussian()
    bounds = sandwich(oracle.model, oracle.guide, oracle.data(400), num_samples=2)
    low, high = bounds.interval(0.9)
    assert (
        low
        == bounds.lower.interval(0.9)[0]
        == pytest.approx(bounds.lower.mean - 1.6449 * bounds.lower.standard_error, abs=1e-4)
    )
    assert high == bounds.upper.interval(0.9)[1]
    text = str(bounds)
    assert f"{bounds.lower.mean:.3f} ± " in text
    assert "(K = 2)" in text
    with pytest.raises(ValueError, match="level must be a finite number, above 0 and below 1"):
        bounds.interval(1.0)


# What it refuses.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, found 0"),
        ({"num_samples": []}, "num_samples must be one or more values"),
        ({"num_dual_particles": 0}, "num_dual_particles must be at least 1, found 0"),
        ({"parallel": 0}, "parallel must be at least 1, found 0"),
        ({"codes": "nothing"}, "codes names the site 'nothing'"),
        ({"observed": "x"}, "generates no data"),
    ],
)
def test_bad_settings(settings, message):
    oracle = LinearGaussian()
    with pytest.raises(ValueError, match=message):
        sandwich(oracle.model, oracle.guide, oracle.data(3), **settings)


def test_codes_have_to_be_at_the_root():
    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            c = pyro.sample("c", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(c + u, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(x / 2, 1.0))
            pyro.sample("u", dist.Normal(c, 1.0))

    with pytest.raises(ValueError, match="code site 'c' depends on \\['u'\\] in the model"):
        sandwich(model, guide, torch.zeros(5), codes="c")
    # All of them, or the root alone, are fine.
    everything = sandwich(model, guide, torch.zeros(2000), num_samples=500)
    covariance = torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    signal = torch.ones(2) @ covariance @ torch.ones(2)
    check(everything, 0.5 * torch.log(1 + signal), gap=0.1)
    root = sandwich(model, guide, torch.zeros(2000), codes="u", num_samples=1000)
    # x = 2 u + N(0, 1) + N(0, 1)
    check(root, 0.5 * math.log(1 + 4 / 2), gap=0.1)


def test_a_part_of_a_datum_is_refused():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), subsample_size=2) as i:
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        pyro.sample("z", dist.Normal(x.mean(), 1.0))

    with pytest.raises(ValueError, match="the plate without subsampling"):
        sandwich(model, guide, torch.zeros(5), num_samples=3)


def test_nan_weights_are_an_error():
    oracle = LinearGaussian()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((len(x), 2), torch.nan), 1.0).to_event(1))

    with pytest.raises(ValueError, match="log-weights are NaN"):
        sandwich(oracle.model, guide, oracle.data(3), num_samples=2)
