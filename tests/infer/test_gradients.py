"""Gradients of the dual term, at three depths.

One replayed seed against the formula written out by hand; many draws against the closed
form; and the exact expectation, over every possible draw, against enumeration.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import (
    Bernoulli,
    Bits,
    Categorical,
    GaussianBernoulli,
    LinearGaussian,
    OneHotCategorical,
    expectation,
    flat,
    gradients,
    mean_and_error,
)
from pyro import poutine
from pyro.infer import ReweightedWakeSleep, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

from pyro_mivae.infer import CHANNELS, TraceMI_ELBO
from pyro_mivae.infer.dual.channel import generate
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.dual.guide_run import gathering
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def dual_pass(channel, **kwargs):
    return DualPass(
        **{"channel": channel, "codes": None, "observed": (), "data_args": None} | kwargs
    )


def exact(surrogate, module, **kwargs):
    """The expected gradient over every draw: equal to autograd's of the exact value."""
    return expectation(lambda: flat(gradients(surrogate(), module)))


# Depth 1: one seed, by hand.


@pytest.mark.parametrize("channel", CHANNELS)
def test_one_seed_by_hand(channel):
    oracle, x = GaussianBernoulli(), torch.zeros(7, 3)
    pyro.set_rng_seed(11)
    trace = generate(oracle.model, (x,), {}, channel=channel).trace
    z, draw = (trace.nodes[site]["value"].detach() for site in ("z", "x"))
    pyro.set_rng_seed(11)
    term = dual_pass(channel)(Call(oracle.model, oracle.guide, (x,)))
    found, by_hand = gradients(term.differentiable, oracle), oracle.by_hand(channel, z, draw)
    for name in by_hand:
        torch.testing.assert_close(found[name], by_hand[name], rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("channel", CHANNELS)
def test_loss_subtracts_lambda_times_the_dual_gradient(channel):
    oracle, x, weight = GaussianBernoulli(), torch.zeros(5, 3), 2.5

    def gradient(mi_weight):
        pyro.set_rng_seed(4)
        elbo = TraceMI_ELBO(channel=channel, mi_weight=mi_weight)
        return flat(gradients(elbo.differentiable_loss(oracle.model, oracle.guide, x), oracle))

    def state_after_base():
        pyro.set_rng_seed(4)
        TraceMeanField_ELBO().differentiable_loss(oracle.model, oracle.guide, x)

    state_after_base()
    dual = dual_pass(channel)(Call(oracle.model, oracle.guide, (x,)))
    expected = gradient(0) - weight * flat(gradients(dual.differentiable, oracle))
    torch.testing.assert_close(gradient(weight), expected)


def test_sleep_equals_wake_sleep():
    """The guide's gradient is that of Pyro's sleep phase on the same draws."""
    for oracle in (LinearGaussian(exact=False), GaussianBernoulli()):

        def guide(x, observations=None, oracle=oracle):
            return oracle.guide(x if observations is None else observations["x"])

        x = torch.ones(5, 3)
        pyro.set_rng_seed(7)
        elbo = TraceMI_ELBO(channel="sleep")
        loss = elbo.differentiable_loss(oracle.model, guide, x)
        pyro.set_rng_seed(7)
        base = TraceMeanField_ELBO().differentiable_loss(oracle.model, guide, x)
        wake_sleep = ReweightedWakeSleep(
            insomnia=0, model_has_params=False, num_sleep_particles=1, vectorize_particles=False
        )
        _, sleep_loss = wake_sleep._loss(oracle.model, guide, (x,), {})  # goes on with the seed
        found = flat(gradients(loss, oracle))
        theirs = flat(gradients(base, oracle)) + flat(gradients(sleep_loss, oracle))
        torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-10)


# Depth 2: many draws, against the closed form.


@pytest.mark.parametrize("channel", CHANNELS)
def test_linear_gaussian_closed_form(channel):
    oracle, batch = LinearGaussian(exact=False), 200
    x = oracle.data(batch)
    expected = gradients(oracle.bound("mean" if channel == "mean" else "sample"), oracle)
    if channel == "sleep":
        expected |= {n: torch.zeros_like(expected[n]) for n in oracle.model_parameters}
    term = dual_pass(channel)
    draws = [
        flat(gradients(term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)) / batch
        for _ in range(150)
    ]
    mean, error = mean_and_error(draws)
    assert ((mean - flat(expected)).abs() <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("baseline", [True, False])
def test_bernoulli_many_draws(baseline):
    oracle, batch = Bits(), 100
    expected = flat(gradients(oracle.bound(), oracle))
    term = dual_pass("sample", baseline=baseline)
    draws = [
        flat(
            gradients(
                term(Call(oracle.model, oracle.guide, (oracle.data(batch),))).differentiable, oracle
            )
        )
        for _ in range(200)
    ]
    mean, error = mean_and_error([d / batch for d in draws])
    assert ((mean - expected).abs() <= 5 * error + 1e-12).all()


def test_baseline_lowers_the_variance():
    oracle = GaussianBernoulli()
    with torch.no_grad():
        oracle.a.add_(10.0)  # a bound far below 0

    def variance(baseline):
        term = dual_pass("sample", baseline=baseline)
        args = (torch.zeros(20, 3),)
        draws = [
            gradients(term(Call(oracle.model, oracle.guide, args)).differentiable, oracle)["b"]
            for _ in range(100)
        ]
        return torch.stack(draws).var(0).sum()

    assert variance(True) < 0.2 * variance(False)


# Depth 3: every draw, against enumeration.


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("baseline", [True, False])
def test_sample_is_unbiased(batch, baseline):
    oracle = Bits(data_dim=2 if batch < 3 else 1)
    term, x = dual_pass("sample", baseline=baseline), oracle.data(batch)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    torch.testing.assert_close(found, batch * flat(gradients(oracle.bound(), oracle)))


@pytest.mark.parametrize("order", ["independent", "c,z", "z,c"])
@pytest.mark.parametrize("baseline", [True, False])
def test_sample_is_unbiased_with_noise(order, baseline):
    """The guide's own draws of noise need score-function terms as well."""
    oracle = Bits(order, data_dim=1, z_from_c=0.0)
    term, x = dual_pass("sample", codes={"c": None}, baseline=baseline), oracle.data(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    torch.testing.assert_close(found, 2 * flat(gradients(oracle.bound(), oracle)))


@pytest.mark.parametrize("order", ["c", "z,c"])
def test_sleep_is_the_guides_gradient_only(order):
    oracle = Bits(order, data_dim=1)
    term, x = dual_pass("sleep", codes={"c": None}), oracle.data(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    expected = gradients(2 * oracle.bound(), oracle)
    expected |= {n: torch.zeros_like(expected[n]) for n in oracle.model_parameters}
    torch.testing.assert_close(found, flat(expected))


def test_mean_with_a_discrete_code():
    """x' = E[x|c] is pathwise; the learnable prior's gradient comes by the score function."""
    oracle = Bits()
    term, x = dual_pass("mean"), oracle.data(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    score, prior = 0.0, dist.Bernoulli(logits=oracle.p_c)
    for c in torch.tensor([[0.0], [1.0]]):
        log_p, x_mean = prior.log_prob(c), oracle.likelihood(c, torch.zeros(1)).mean
        score = score + (log_p.exp() * (oracle.posterior_c(x_mean).log_prob(c) - log_p)).sum()
    torch.testing.assert_close(found, 2 * flat(gradients(score, oracle)))


def test_masked_and_scaled_draws():
    """The mask and scale weigh the cost, once; the draws' own density keeps its full weight."""
    oracle = Bits(data_dim=1)
    mask = torch.tensor([True, False, True])

    def dressed(fn):
        return poutine.scale(poutine.mask(fn, mask=mask), scale=3.0)

    term = dual_pass("sample")
    args = (oracle.data(3),)
    model, guide = dressed(oracle.model), dressed(oracle.guide)
    found = exact(lambda: term(Call(model, guide, args)).differentiable, oracle)
    torch.testing.assert_close(found, 3 * 2 * flat(gradients(oracle.bound(), oracle)))


def test_a_masked_entry_of_the_data_is_no_draw():
    """The guide reads the data there, here 0, and the density leaves the entry out."""
    oracle = Bits(data_dim=2)

    class Masked(Bits):
        def likelihood(self, c, z):
            return super().likelihood(c, z).base_dist.mask(torch.tensor([True, False])).to_event(1)

    oracle.__class__ = Masked
    term, x = dual_pass("sample"), oracle.data(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    oracle.__class__ = Bits
    c, _, generated, log_p = oracle.outcomes()
    read = generated * torch.tensor([1.0, 0.0])
    term = oracle.posterior_c(read).log_prob(c) - dist.Bernoulli(logits=oracle.p_c).log_prob(c)
    expected = gradients((log_p.exp() * term).sum(), oracle)
    torch.testing.assert_close(found, 2 * flat(expected))


def test_mask_of_the_guides_noise_hides_no_draw():
    oracle = Bits("z,c", data_dim=1)

    class Masked(Bits):
        def posterior_z(self, x, c=None):
            return super().posterior_z(x, c).mask(torch.tensor([True, False]))

    oracle.__class__ = Masked
    term, x = dual_pass("sleep", codes={"c": None}), oracle.data(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    oracle.__class__ = Bits
    expected = gradients(2 * oracle.bound(), oracle)
    expected |= {n: torch.zeros_like(expected[n]) for n in oracle.model_parameters}
    torch.testing.assert_close(found, flat(expected))


def test_subsampled_plate_scales_once():
    oracle = Bits(data_dim=1)

    def subsampled(fn):
        return lambda x: _in_plate(fn, x)

    def _in_plate(fn, x):
        with pyro.plate("all", 6, subsample_size=2) as indices:
            fn(x[indices])

    def model(x):
        c = pyro.sample("c", Bernoulli(logits=oracle.p_c))
        pyro.sample("x", oracle.likelihood(c, torch.zeros_like(c)), obs=x)

    def guide(x):
        pyro.sample("c", oracle.posterior_c(x))

    term, x = dual_pass("sample"), torch.rand(6, 1).round()
    found = exact(
        lambda: term(Call(subsampled(model), subsampled(guide), (x,))).differentiable, oracle
    )
    torch.testing.assert_close(found, 6 * flat(gradients(oracle.bound(), oracle)))


class DiscretePrior(nn.Module):
    """A learnable discrete code of three letters, seen through a learnable channel."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(5)
        self.kind = kind
        self.prior = nn.Parameter(torch.randn(3))
        self.x = nn.Parameter(torch.randn(3, 2))
        self.q = nn.Parameter(torch.randn(2, 3))

    def letters(self, c):
        return c if self.kind is OneHotCategorical else nn.functional.one_hot(c.long(), 3) * 1.0

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", self.kind(logits=self.prior))
            pyro.sample("x", Bernoulli(logits=self.letters(c) @ self.x).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", self.kind(logits=x @ self.q))

    def bound(self):
        p_c = torch.log_softmax(self.prior, -1)
        xs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        p_x = dist.Bernoulli(logits=self.x[:, None]).to_event(1).log_prob(xs)
        log_q = torch.log_softmax(xs @ self.q, -1).T
        return ((p_c[:, None] + p_x).exp() * (log_q - p_c[:, None])).sum()


@pytest.mark.parametrize("kind", [Categorical, OneHotCategorical])
@pytest.mark.parametrize("batch", [1, 2])
def test_learnable_discrete_prior(kind, batch):
    """(The Bernoulli prior is in every test of `Bits`.)"""
    oracle = DiscretePrior(kind)
    term, x = dual_pass("sample"), torch.zeros(batch, 2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    expected = batch * flat(gradients(oracle.bound(), oracle))
    torch.testing.assert_close(found, expected)
    assert expected[:3].abs().min() > 1e-3  # the prior's part is no accident of zeros


@pytest.mark.parametrize("base", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_whole_loss_with_discrete_latents(base, beta):
    """beta and lambda together, the base's draws summed over as well."""
    if base is TraceGraph_ELBO and beta != 1:
        return
    oracle, x = Bits(data_dim=1), torch.tensor([[1.0], [0.0]])
    elbo = TraceMI_ELBO(channel="sample", kl_weight=beta, mi_weight=0.7, elbo=base())
    loss = lambda: elbo.differentiable_loss(oracle.model, oracle.guide, x)  # noqa: E731
    expected = oracle.negative_elbo(x, beta) - 0.7 * 2 * oracle.bound()
    torch.testing.assert_close(expectation(lambda: loss().detach()), expected.detach())
    torch.testing.assert_close(exact(loss, oracle), flat(gradients(expected, oracle)))


class SharedNoise(nn.Module):
    """The guide reads all data in one noise bit outside the plate, and each code leans on it."""

    def __init__(self, reads):
        super().__init__()
        torch.manual_seed(6)
        self.reads = reads
        self.p_c, self.p_z, self.w = (nn.Parameter(torch.randn(())) for _ in range(3))
        self.q_z, self.q_c, self.q_cz = (nn.Parameter(torch.randn(())) for _ in range(3))

    def model(self, x):
        pyro.sample("z", Bernoulli(logits=self.p_z))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=self.p_c))
            pyro.sample("x", Bernoulli(logits=self.w * (2 * c - 1)), obs=x)

    def posterior_z(self, x):
        return Bernoulli(logits=self.q_z * ((x.sum(-1) - 1) if self.reads else 1.0))

    def posterior_c(self, x, z):
        return Bernoulli(logits=self.q_c * (x - 0.5) + self.q_cz * z)

    def guide(self, x):
        z = pyro.sample("z", self.posterior_z(x))
        with pyro.plate("data", len(x)):
            pyro.sample("c", self.posterior_c(x, z))

    def bound(self, *, z_is_code):
        total, bits = 0.0, torch.tensor([0.0, 1.0])
        for c in torch.cartesian_prod(bits, bits):
            for x in torch.cartesian_prod(bits, bits):
                for z in bits:
                    log_c = Bernoulli(logits=self.p_c).log_prob(c)
                    log_x = Bernoulli(logits=self.w * (2 * c - 1)).log_prob(x)
                    q_z = self.posterior_z(x).log_prob(z)
                    p_z = Bernoulli(logits=self.p_z).log_prob(z)
                    p = (log_c.sum() + log_x.sum() + (p_z if z_is_code else q_z)).exp()
                    score = (self.posterior_c(x, z).log_prob(c) - log_c).sum()
                    total = total + p * (score + (q_z - p_z if z_is_code else 0))
        return total


@pytest.mark.parametrize("reads", [True, False])
def test_guide_noise_outside_the_plate(reads):
    """A datum's x' then moves the other data's terms too: they belong to its cost."""
    oracle = SharedNoise(reads)
    term, x = dual_pass("sample", codes={"c": None}), torch.zeros(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    expected = oracle.bound(z_is_code=False)
    torch.testing.assert_close(found, flat(gradients(expected, oracle)))


@pytest.mark.parametrize(
    ("reads", "codes", "expected"),
    [(True, {"c": None}, ["z"]), (False, {"c": None}, []), (True, None, [])],
)
def test_only_noise_that_reads_the_data_gathers_it(reads, codes, expected):
    """Other sites outside the plate, replayed or blind, cost no variance."""
    oracle, term = SharedNoise(reads), dual_pass("sample", codes=codes)
    call = Call(oracle.model, oracle.guide, (torch.zeros(2),))
    _, trace, codes = term.traces(call)
    blind = term.memories(call).blind
    assert [site["name"] for site in gathering(trace, codes, blind)] == expected


def test_code_outside_the_plate():
    """Every x' moves the score of a global code, so no other datum's cost is a baseline."""
    oracle = SharedNoise(reads=True)
    term, x = dual_pass("sample"), torch.zeros(2)
    found = exact(lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable, oracle)
    torch.testing.assert_close(found, flat(gradients(oracle.bound(z_is_code=True), oracle)))


class Normed(nn.Module):
    """A guide that normalises over the batch: x' of one datum moves the other's q."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.p_c, self.w, self.q = (nn.Parameter(torch.randn(())) for _ in range(3))
        self.norm = nn.BatchNorm1d(1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=self.p_c))
            pyro.sample("x", Bernoulli(logits=self.w * (2 * c - 1)), obs=x)

    def posterior(self, x):
        return Bernoulli(logits=self.q * self.norm(x[:, None])[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", self.posterior(x))

    def bound(self):
        total, bits = 0.0, torch.tensor([0.0, 1.0])
        for c in torch.cartesian_prod(bits, bits):
            for x in torch.cartesian_prod(bits, bits):
                log_c = Bernoulli(logits=self.p_c).log_prob(c)
                log_x = Bernoulli(logits=self.w * (2 * c - 1)).log_prob(x)
                p = (log_c + log_x).sum().exp()
                total = total + p * (self.posterior(x).log_prob(c) - log_c).sum()
        return total


@pytest.mark.parametrize("mode", ["training", "evaluation", "no statistics"])
def test_batch_normalisation(mode):
    oracle = Normed()
    if mode == "no statistics":
        oracle.norm = nn.BatchNorm1d(1, track_running_stats=False)
    oracle.train(mode == "training")
    term, x = dual_pass("sample"), torch.zeros(2)
    run = lambda: term(Call(oracle.model, oracle.guide, (x,))).differentiable  # noqa: E731
    if mode == "evaluation":
        run()
    else:
        with pytest.warns(UserWarning, match="batch normalisation .* high variance"):
            run()
    found = exact(run, oracle)
    torch.testing.assert_close(found, flat(gradients(oracle.bound(), oracle)))


def test_sleep_detaches_distributions_that_hold_parameters():
    """The whole forward run is detached, also densities that are only computed afterwards."""
    weight = nn.Parameter(torch.tensor(0.3))

    class Shift(dist.transforms.AffineTransform):
        def _call(self, x):
            return x + weight

        def _inverse(self, y):
            return y - weight

    class Held(dist.Bernoulli):
        def log_prob(self, value):
            return value * weight - nn.functional.softplus(weight)

    def model(x):
        with pyro.plate("data", len(x)):
            normal = dist.Normal(torch.zeros(()), 1.0)
            pyro.sample("z", dist.TransformedDistribution(normal, [Shift(0.0, 1.0)]))
            pyro.sample("x", Held(0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    for channel in ("sleep", "sample"):
        term = dual_pass(channel)(Call(model, guide, (torch.zeros(3),)))
        assert term.differentiable.requires_grad is (channel == "sample")


def test_sliced_discrete_code():
    """The dimensions that are no code are drawn by the guide, and carry its score function."""
    torch.manual_seed(8)
    p, w, q, v = (nn.Parameter(torch.randn(2)) for _ in range(4))
    module = nn.ParameterList([p, w, q, v])

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=p).to_event(1))
            pyro.sample("d", Bernoulli(logits=p[0]))
            pyro.sample("x", Bernoulli(logits=c @ w), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=x[:, None] * q).to_event(1))
            pyro.sample("d", Bernoulli(logits=v[0] * c.sum(-1) + v[1] * x))

    term, x = dual_pass("sample", codes={"c": [0], "d": None}), torch.zeros(1)
    found = exact(lambda: term(Call(model, guide, (x,))).differentiable, module)
    bits, total = torch.tensor([0.0, 1.0]), 0.0
    for c0, c1, x0, d, own in torch.cartesian_prod(bits, bits, bits, bits, bits):
        log_c = Bernoulli(logits=p).log_prob(torch.stack([c0, c1]))
        log_d = Bernoulli(logits=p[0]).log_prob(d)
        log_x = Bernoulli(logits=c0 * w[0] + c1 * w[1]).log_prob(x0)
        q_c = Bernoulli(logits=x0 * q).log_prob(torch.stack([c0, own]))
        q_d = Bernoulli(logits=v[0] * (c0 + own) + v[1] * x0).log_prob(d)
        weight = (log_c.sum() + log_d + log_x + q_c[1]).exp()
        total = total + weight * (q_c[0] - log_c[0] + q_d - log_d)
    torch.testing.assert_close(found, flat(gradients(total, module)))
