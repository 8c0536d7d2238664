"""Models and guides of all kinds under the measurements, against values that are known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import Bernoulli, Bits, LinearGaussian, expectation, flat, gradients
from pyro import poutine
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.information import (
    LogEvidence,
    log_evidence,
    mi_per_dimension,
    per_dimension,
    sandwich,
)
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def gauss(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.8 * x, 0.5))


def test_deterministic_sites_are_no_data():
    def model(x):
        scale = pyro.deterministic("scale", torch.tensor(0.5))  # in no plate
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = pyro.deterministic("loc", z)  # its value is each draw's own
            pyro.sample("x", dist.Normal(loc, scale), obs=x)

    x = torch.randn(50)
    truth = dist.Normal(0.0, math.sqrt(1.25)).log_prob(x)
    found = log_evidence(model, gauss, x, num_samples=500)
    assert (found.per_datum - truth).abs().max() < 0.2
    assert per_dimension(model, gauss, x)["resampling_loss_z"] > 0


def test_masks_inside_of_distributions():
    """Of two pixels the sharp one is masked: the guide must not read it."""

    def model(x, mask):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            fn = dist.Normal(z[..., None], torch.tensor([2.0, 0.1])).mask(mask).to_event(1)
            pyro.sample("x", fn, obs=x)

    def guide(x, mask):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.99 * x[:, 1], 0.1))

    mask = torch.tensor([True, False]).expand(500, 2)
    bounds = sandwich(model, guide, torch.zeros(500, 2), mask, num_samples=[1, 10])
    assert bounds.lower.mean < 0.5 * math.log(1 + 1 / 4) + 5 * bounds.lower.standard_error


def test_draws_outside_of_the_priors_support_have_no_weight():
    """torch's Exponential has a density below 0, too."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Exponential(1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - 1).clamp(min=0), 1.5))

    x = torch.linspace(-1, 4, 50)
    truth = 0.5 - x + dist.Normal(0.0, 1.0).cdf(x - 1).log()
    found = log_evidence(model, guide, x, num_samples=3000).per_datum
    assert (found - truth).abs().max() < 0.2


def test_an_observed_site_keeps_its_value_whatever_the_guide_draws():
    def model(x, y):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(0.5), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + 4 * y, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(torch.full((len(x),), 0.5)))
            pyro.sample("z", dist.Normal((x - 4) / 2, 1.0))

    y, x = torch.ones(50), 4 + torch.randn(50)
    truth = math.log(0.5) + dist.Normal(4.0, math.sqrt(2)).log_prob(x)
    found = log_evidence(model, guide, [x, y], num_samples=1000).per_datum
    assert (found - truth).abs().max() < 0.3


class Wobbly(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.norm(self.drop(z)), 0.5).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, 0.5).to_event(1))


def test_bound_methods_are_in_evaluation_mode():
    module = Wobbly()
    bounds = sandwich(module.model, module.guide, torch.zeros(2000, 1), num_samples=20)
    assert abs(bounds.lower.mean - 0.5 * math.log(5)) < 5 * bounds.lower.standard_error + 0.01
    assert module.norm.num_batches_tracked == 0
    assert module.training
    assert module.drop.training


def test_data_before_a_code_are_refused():
    def model(y, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            c = pyro.sample("c", dist.Normal(y, 0.1))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(y, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal((100 * y + x) / 101, 101**-0.5))

    data = torch.randn(2000), torch.zeros(2000)
    with pytest.raises(ValueError, match=r"code site 'c' depends on \['y'\] in the model"):
        sandwich(model, guide, *data, num_samples=10)
    given = sandwich(model, guide, *data, observed="y", num_samples=10)
    assert abs(given.lower.mean - 0.5 * math.log(1.01)) < 5 * given.lower.standard_error


def test_a_slice_whose_code_the_guide_cannot_reach():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(x / 2 - 1, x / 2 + 1).to_event(1))

    bounds = sandwich(model, guide, torch.zeros(300, 2), codes={"z": 0}, num_samples=20)
    assert bounds.lower.mean == -math.inf
    assert bounds.upper.mean > 0.5 * math.log(2) - 5 * bounds.upper.standard_error


def test_parallel_draws_are_compared_closely_on_large_data():
    """12,288 pixels: a log-weight is about -17,000, and an error of a nat is one all the same."""
    weight = 3 * torch.randn(12288, 2) / math.sqrt(12288)
    precision = torch.eye(2) + weight.T @ weight
    covariance = torch.linalg.inv(precision)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z = z.reshape(-1, 2)[: len(x)]  # the first draws only
            pyro.sample("x", dist.Normal(z @ weight.T, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            fn = dist.MultivariateNormal(x @ weight @ covariance, covariance)
            pyro.sample("z", fn)

    bounds = sandwich(model, guide, torch.zeros(10, 12288), num_samples=[1, 8])
    one, many = bounds.lower_per_datum  # the guide is exact
    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)


def test_equal_weights_in_single_precision_have_no_tail():
    torch.set_default_dtype(torch.float32)
    weight = torch.randn(100, 3)
    covariance = torch.linalg.inv(torch.eye(3) + weight.T @ weight)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(x @ weight @ covariance, covariance))

    x = torch.randn(60, 3) @ weight.T + torch.randn(60, 100)
    assert not log_evidence(model, guide, x, num_samples=200).unreliable.any()


# What each part is for.


def test_the_worst_cell_of_a_datum_is_reported():
    """Of two parts the guide knows one exactly and misses the other."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 2, dim=-1):
            pyro.sample("z", dist.Normal(x / 2, torch.tensor([0.5**0.5, 0.15])))

    found = log_evidence(model, guide, torch.randn(20, 2), num_samples=500)
    assert found.effective_samples.max() < 450
    assert (found.pareto_k > -math.inf).all()
    assert found.pareto_k.median() > 0.4


def test_threshold_at_many_samples_and_nan_shapes():
    one = torch.zeros(1)
    assert LogEvidence(one, 10**6, one, one).threshold == 0.7
    assert LogEvidence(one, 100, one, torch.tensor([math.nan])).unreliable.all()


def test_the_seed_and_parallel_reach_the_draws():
    def wide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, 0.9))

    shapes = set()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            shapes.add(tuple(z.shape))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    x = torch.randn(5)
    one, other = (log_evidence(model, wide, x, num_samples=6, seed=s, parallel=1) for s in (1, 2))
    assert not torch.equal(one.per_datum, other.per_datum)
    assert shapes == {(5,)}
    log_evidence(model, wide, x, num_samples=6, parallel=3)
    assert (3, 5) in shapes
    assert (6, 5) not in shapes
    first, second = (per_dimension(model, wide, x, seed=s)["resampling_loss_z"] for s in (1, 2))
    assert first != second


def test_latents_inside_of_a_datum_are_summed_by_dimension():
    """Two parts of a datum: twice the information and twice the KL of one."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 2, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 2, dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))

    found = mi_per_dimension(model, guide, torch.zeros(4000, 2, 1), channel="sample")["z"]
    assert abs(float(found) - math.log(2)) < 0.07


def test_a_model_with_sites_in_fewer_plates_than_the_first():
    """Two z for each datum, of which x is the sum: a datum is no (datum, part)."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            with pyro.plate("part", 2, dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("part", 2, dim=-1):
            pyro.sample("z", dist.Normal(x / 3, 0.9))

    bounds = sandwich(model, guide, torch.zeros(1500, 1), num_samples=300)
    assert bounds.lower_per_datum.shape == (1, 1500)
    truth = 0.5 * math.log(3)
    assert bounds.lower.mean - 5 * bounds.lower.standard_error < truth
    assert truth < bounds.upper.mean + 5 * bounds.upper.standard_error
    assert bounds.gap.mean < 0.05


def test_the_first_draw_is_compared_too():
    """A model that takes the last draws for all: only the first comparison can tell."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z = z.reshape(-1, 2)[-len(x) :]
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))

    one, many = sandwich(model, guide, torch.zeros(200, 2), num_samples=[1, 8]).lower_per_datum
    torch.testing.assert_close(one, many)


@pytest.mark.parametrize("order", ["c,z", "z,c"])
def test_one_draw_of_code_and_noise_by_enumeration(order):
    """L_1 and U_1 with noise: which of the draws is the true one shows at K = 1."""
    oracle = Bits(order, sharpness=1.5).requires_grad_(False)
    c, z, x, log_p = oracle.outcomes()
    p_c = dist.Bernoulli(logits=oracle.p_c)

    def log_q(c, z):
        if order == "c,z":
            return oracle.posterior_c(x).log_prob(c), oracle.posterior_z(x, c).log_prob(z)
        return oracle.posterior_c(x, z).log_prob(c), oracle.posterior_z(x).log_prob(z)

    def log_v(z):
        """p(z) p(x|c, z) / q(z|..) at the code of the outcome."""
        joint = oracle.prior_z(c).log_prob(z) + oracle.likelihood(c, z).log_prob(x)
        return joint - log_q(c, z)[1]

    def log_w(c, z):
        joint = p_c.log_prob(c) + oracle.prior_z(c).log_prob(z)
        return joint + oracle.likelihood(c, z).log_prob(x) - sum(log_q(c, z))

    fresh_v = fresh_w = 0.0
    for bit in (0.0, 1.0):
        own = torch.full_like(z, bit)
        fresh_v = fresh_v + log_q(c, own)[1].exp() * log_v(own)
        for other in (0.0, 1.0):
            code = torch.full_like(c, other)
            fresh_w = fresh_w + sum(log_q(code, own)).exp() * log_w(code, own)
    p = log_p.exp()
    lower = (p * (fresh_v - log_w(c, z))).sum().item()
    upper = (p * (log_v(z) - fresh_w)).sum().item()
    bounds = sandwich(oracle.model, oracle.guide, oracle.data(20_000), codes="c", num_samples=1)
    assert abs(bounds.lower.mean - lower) < 4 * bounds.lower.standard_error
    assert abs(bounds.upper.mean - upper) < 4 * bounds.upper.standard_error


def test_the_barber_agakov_bound_is_not_scaled():
    oracle = LinearGaussian(exact=False)
    scaled = [poutine.scale(fn, scale=0.01) for fn in (oracle.model, oracle.guide)]
    bounds = sandwich(*scaled, oracle.data(20), num_samples=1)
    torch.testing.assert_close(bounds.barber_agakov_per_datum, bounds.lower_per_datum[0])


def test_sandwich_draws_as_many_at_once_as_it_is_told():
    sizes = set()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            sizes.add(z.numel())
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    sandwich(model, gauss, torch.zeros(5), num_samples=9, parallel=1)
    assert sizes == {5}
    sandwich(model, gauss, torch.zeros(5), num_samples=9, parallel=3)
    assert max(sizes) == 15


def test_the_bound_of_single_sites_needs_a_guide_that_knows_them_alone():
    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(top, 0.1))
            pyro.sample("x", dist.Normal(z, 3.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x / 10, 1.0))
            pyro.sample("top", dist.Normal(z, 0.1))

    with pytest.raises(ValueError, match=r"code site 'top' depends on \['z'\] in the guide"):
        mi_per_dimension(model, guide, torch.zeros(10), channel="sample")


@pytest.mark.parametrize("batch_size", [3, 7])
def test_a_plate_as_large_as_the_batch_is_not_the_datas(batch_size):
    """Three parts of a datum on the left of the data: in a batch of three both look alike."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("part", 3, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("part", 3, dim=-2):
            pyro.sample("z", dist.Normal(x.T / 2, 0.5**0.5))

    x = torch.randn(7, 3)
    found = log_evidence(model, guide, x, num_samples=5, batch_size=batch_size)
    truth = dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum(-1)
    torch.testing.assert_close(found.per_datum, truth)
    kl = per_dimension(model, guide, x, batch_size=batch_size)["kl_z"]
    exact = 0.5 * (x.square() / 4 + 0.5 - 1 + math.log(2))
    assert float(kl) == pytest.approx(float(exact.sum(-1).mean()))


def test_plates_without_a_size():
    def model(x):
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x = torch.randn(9)
    found = log_evidence(model, guide, x, num_samples=5, batch_size=4)
    torch.testing.assert_close(found.per_datum, dist.Normal(0.0, math.sqrt(2)).log_prob(x))
    assert per_dimension(model, guide, x, batch_size=4)["kl_z"] > 0
    bounds = sandwich(model, guide, torch.zeros(2000), num_samples=2)
    assert bounds.lower_per_datum.shape == (1, 2000)
    assert abs(bounds.lower.mean - 0.5 * math.log(2)) < 5 * bounds.lower.standard_error


@pytest.mark.slow
def test_a_subsample_keeps_its_indices():
    """The mean of x depends on which datum it is: with other indices the weights are wrong."""
    offsets = 10.0 * torch.arange(50)

    def model(x):
        with pyro.plate("data", 50, subsample_size=20) as i:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + offsets[i], 1.0), obs=x[i])

    def guide(x):
        with pyro.plate("data", 50, subsample_size=20) as i:
            pyro.sample("z", dist.Normal((x[i] - offsets[i]) / 2, 0.5**0.5))

    x = torch.zeros(50)
    bounds = sandwich(model, guide, x, num_samples=[1, 6], num_dual_particles=50)
    torch.testing.assert_close(bounds.lower_per_datum[0], bounds.upper_per_datum[1])
    dual = DualPass(channel="sample", codes=None, observed=(), data_args=None, num_samples=4)
    with torch.no_grad():
        values = [float(dual(Call(model, guide, (x,))).value) / 50 for _ in range(200)]
    assert abs(sum(values) / 200 - 0.5 * math.log(2)) < 0.05


def test_single_precision_weights_are_added_in_double():
    torch.set_default_dtype(torch.float32)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    found = log_evidence(model, gauss, torch.randn(5), num_samples=6)
    assert found.per_datum.dtype == torch.float64
    bounds = sandwich(model, gauss, torch.zeros(5), num_samples=6)
    assert bounds.lower_per_datum.dtype == bounds.upper_per_datum.dtype == torch.float64


@pytest.mark.parametrize("event_dim", [0, 1, 2])
@pytest.mark.parametrize("inside", [False, True])
def test_masked_data_tell_nothing_in_training_either(event_dim, inside):
    """The guide knows z from x' where x' is drawn; where it is masked it reads the data, 0."""
    mask = torch.arange(400) % 2 == 0
    shape = (1,) * event_dim

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            fn = dist.Normal(z.reshape(-1, *shape), 0.5).to_event(event_dim)
            if inside:
                pyro.sample("x", fn.mask(mask), obs=x)
            else:
                with poutine.mask(mask=mask):
                    pyro.sample("x", fn, obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x.reshape(len(x)), 0.2**0.5))

    elbo = TraceMI_ELBO(channel="sample", num_dual_samples=2)
    with torch.no_grad():
        terms = [elbo.terms(model, guide, torch.zeros(400, *shape))["mi"] for _ in range(40)]
    # Half of the data: ½ log 5 by an exact guide. The others: -log mean of p(z_k) / q(z_k|0).
    prior, blind = dist.Normal(0.0, 1.0), dist.Normal(0.0, 0.2**0.5)
    draws = torch.stack([torch.randn(400_000), blind.sample((400_000,))])
    weights = prior.log_prob(draws) - blind.log_prob(draws)
    expected = 0.5 * (0.5 * math.log(5) - (weights.logsumexp(0) - math.log(2)).mean())
    found = torch.stack(terms) / 400
    assert abs(found.mean() - expected) < 5 * found.std() / 40**0.5


@pytest.mark.slow
def test_masked_bits_are_no_draws():
    """The gradient of L_2 by enumeration, with one of two bits of the data masked."""
    oracle = Bits("c", data_dim=2)
    mask = torch.tensor([[True, False]])

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=oracle.p_c))
            logits = oracle.p_x + oracle.p_x_c * c[..., None]
            pyro.sample("x", Bernoulli(logits=logits).mask(mask).to_event(1), obs=x)

    term = DualPass(channel="sample", codes=None, observed=(), data_args=None, num_samples=2)
    call = lambda: term(Call(model, oracle.guide, (torch.ones(1, 2),)))  # noqa: E731
    found = expectation(lambda: flat(gradients(call().differentiable, oracle)))
    step, numerical = 1e-5, []
    with torch.no_grad():
        for parameter in oracle.parameters():
            for entry in range(parameter.numel()):
                ends = []
                for sign in (1, -2):
                    parameter.view(-1)[entry] += sign * step
                    ends.append(expectation(lambda: call().value))
                parameter.view(-1)[entry] += step
                numerical.append((ends[0] - ends[1]) / (2 * step))
    torch.testing.assert_close(found, torch.stack(numerical), rtol=0, atol=1e-9)


def test_equal_scales_that_are_tensors():
    oracle = LinearGaussian(exact=False)
    scaled = [poutine.scale(fn, scale=torch.tensor(0.5)) for fn in (oracle.model, oracle.guide)]
    dual = DualPass(channel="sample", codes=None, observed=(), data_args=None, num_samples=3)
    values = []
    for pair, factor in ((scaled, 2.0), ((oracle.model, oracle.guide), 1.0)):
        pyro.set_rng_seed(3)
        values.append(factor * dual(Call(*pair, (oracle.data(9),))).value.detach())
    torch.testing.assert_close(*values)
