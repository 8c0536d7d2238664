"""The K-sample bound of the dual pass: values, gradients at three depths, and what it refuses."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import (
    Bits,
    CodeAndNoise,
    GaussianBernoulli,
    LinearGaussian,
    expectation,
    flat,
    gradients,
    mean_and_error,
)
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def dual(samples, channel="sample", codes=None, **settings):
    settings = {"observed": (), "data_args": None, **settings}
    return DualPass(channel=channel, codes=codes, num_samples=samples, **settings)


def bound(oracle, samples, size, **settings):
    with torch.no_grad():
        return dual(samples, **settings)(Call(oracle.model, oracle.guide, (oracle.data(size),)))


# Values.


def test_one_sample_is_the_bound_of_barber_and_agakov():
    oracle = LinearGaussian(exact=False)
    values = []
    for samples in (1, 2):
        pyro.set_rng_seed(1)
        elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_samples=samples)
        values.append(elbo.terms(oracle.model, oracle.guide, oracle.data(50)))
    assert values[0]["log_likelihood"] == values[1]["log_likelihood"]
    assert values[0]["mi"] != values[1]["mi"]
    pyro.set_rng_seed(1)
    plain = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    assert plain.terms(oracle.model, oracle.guide, oracle.data(50))["mi"] == values[0]["mi"]


def test_exact_guide_gives_the_same_for_every_number_of_samples():
    """All weights are p(x'): L_K is log p(x'|z) - log p(x') on each draw."""
    oracle = LinearGaussian()
    values = []
    for samples in (1, 4):
        pyro.set_rng_seed(2)
        values.append(bound(oracle, samples, 20).value)
    torch.testing.assert_close(values[0], values[1])


def test_grows_with_the_number_of_samples_and_stays_below_the_information():
    oracle = LinearGaussian(exact=False)
    size, truth = 2000, oracle.information().item()
    means, errors = zip(
        *(
            mean_and_error(bound(oracle, samples, size).value / size for _ in range(10))
            for samples in (1, 3, 30)
        ),
        strict=True,
    )
    assert abs(means[0] - oracle.bound()) < 5 * errors[0]
    assert means[0] + 5 * errors[0] < means[1] < means[1] + 5 * errors[1] < means[2]
    assert truth - 0.1 < means[2] < truth + 5 * errors[2]


def by_hand(oracle, size, samples, scale=1.0):
    """L_K in plain torch, drawing in the library's order."""
    z = dist.Normal(oracle.m, oracle.log_t.exp()).expand([size, 2]).to_event(1).rsample()
    likelihood = lambda z: dist.Normal(  # noqa: E731
        z @ oracle.W.T + oracle.b, oracle.log_s.exp()
    ).to_event(1)
    x = likelihood(z).rsample()
    q = dist.MultivariateNormal(x @ oracle.A.T + oracle.a, scale_tril=oracle.L.tril())
    prior = dist.Normal(oracle.m, oracle.log_t.exp()).to_event(1)
    draws = [z, *(q.rsample() for _ in range(samples - 1))]
    weights = [prior.log_prob(d) + likelihood(d).log_prob(x) - q.log_prob(d) for d in draws]
    total = torch.stack(weights).exp().mean(0).log()
    return scale * (likelihood(z).log_prob(x) - total).sum()


@pytest.mark.parametrize("samples", [2, 5])
def test_value_and_pathwise_gradient_by_hand(samples):
    oracle = LinearGaussian(exact=False)
    pyro.set_rng_seed(3)
    terms = dual(samples)(Call(oracle.model, oracle.guide, (oracle.data(7),)))
    pyro.set_rng_seed(3)
    expected = by_hand(oracle, 7, samples)
    torch.testing.assert_close(terms.value, expected)
    found, wanted = (gradients(value, oracle) for value in (terms.differentiable, expected))
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])


def test_sleep_has_the_guides_gradient_along_its_own_draws_only():
    """z_0 and x' are constants then, and so are all parameters of the model."""
    oracle = LinearGaussian(exact=False)
    pyro.set_rng_seed(3)
    terms = dual(4, "sleep")(Call(oracle.model, oracle.guide, (oracle.data(7),)))
    found = gradients(terms.differentiable, oracle)
    for name in oracle.model_parameters:
        oracle.get_parameter(name).requires_grad_(False)
    pyro.set_rng_seed(3)
    expected = by_hand(oracle, 7, 4)
    torch.testing.assert_close(terms.value, expected.detach())
    for name, parameter in oracle.named_parameters():
        if name in oracle.model_parameters:
            assert not found[name].any()
        else:
            wanted = torch.autograd.grad(expected, parameter, retain_graph=True)[0]
            torch.testing.assert_close(found[name], wanted)


# Gradients against exact enumeration.


def numerical_gradient(oracle, value, step=1e-5):
    columns = []
    with torch.no_grad():
        for parameter in oracle.parameters():
            for entry in range(parameter.numel()):
                ends = []
                for sign in (1, -2):
                    parameter.view(-1)[entry] += sign * step
                    ends.append(value())
                parameter.view(-1)[entry] += step
                columns.append((ends[0] - ends[1]) / (2 * step))
    return torch.stack(columns)


class TestEnumerated:
    """One bit of code, one of data, two data: every outcome of all draws is visited."""

    oracle = None
    truth = None
    """The gradient of the enumerated expectation, computed once."""

    def run(self, **settings):
        oracle = self.oracle
        term = dual(2, **settings)
        return expectation(
            lambda: flat(
                gradients(
                    term(Call(oracle.model, oracle.guide, (oracle.data(2),))).differentiable, oracle
                )
            )
        )

    @pytest.fixture(autouse=True)
    def prepare(self, float64):
        self.oracle = Bits("c", data_dim=1)
        if TestEnumerated.truth is None:
            term = dual(2)
            value = lambda: expectation(  # noqa: E731
                lambda: (
                    term(Call(self.oracle.model, self.oracle.guide, (self.oracle.data(2),))).value
                )
            )
            TestEnumerated.truth = numerical_gradient(self.oracle, value)
            assert value() < 2 * self.oracle.information()

    @pytest.mark.parametrize("baseline", [True, False])
    def test_sample_is_unbiased(self, baseline):
        found = self.run(baseline=baseline)
        torch.testing.assert_close(found, self.truth, rtol=0, atol=1e-9)

    def test_sleep_is_unbiased_for_the_guide(self):
        found = self.run(channel="sleep")
        models = [n in self.oracle.model_parameters for n, _ in self.oracle.named_parameters()]
        sizes = torch.tensor([p.numel() for p in self.oracle.parameters()])
        of_model = torch.tensor(models).repeat_interleave(sizes)
        assert not found[of_model].any()
        expected = self.truth[~of_model]
        torch.testing.assert_close(found[~of_model], expected, rtol=0, atol=1e-9)
        assert expected.abs().max() > 0.01


@pytest.mark.slow
def test_two_sites_as_code_are_unbiased():
    oracle = Bits("z,c", data_dim=1)
    term = dual(2, baseline=False)
    call = lambda: term(Call(oracle.model, oracle.guide, (oracle.data(1),)))  # noqa: E731
    truth = numerical_gradient(oracle, lambda: expectation(lambda: call().value))
    found = expectation(lambda: flat(gradients(call().differentiable, oracle)))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_every_fresh_draw_has_its_score():
    oracle = Bits("c", data_dim=1)
    term = dual(3, baseline=False)
    call = lambda: term(Call(oracle.model, oracle.guide, (oracle.data(1),)))  # noqa: E731
    truth = numerical_gradient(oracle, lambda: expectation(lambda: call().value))
    found = expectation(lambda: flat(gradients(call().differentiable, oracle)))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-9)


def test_many_particles_agree_with_the_expectation():
    """Reparameterised code, data without a path: score-function and pathwise terms together."""
    oracle = GaussianBernoulli(code_dim=1, data_dim=2)
    size = 400
    args = (torch.zeros(size, 2),)
    term, plain = dual(3), dual(3, baseline=False)
    found = mean_and_error(
        flat(gradients(term(Call(oracle.model, oracle.guide, args)).differentiable / size, oracle))
        for _ in range(60)
    )
    # The expectation over x' in closed form: each of its four values, weighed.
    bits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])

    def exact():
        z = oracle.m + oracle.t * torch.randn(20_000, 1)
        log_x = dist.Bernoulli(logits=z @ oracle.W.T + oracle.b).to_event(1)
        total = 0.0
        for x in bits:
            q = dist.Normal(x @ oracle.A.T + oracle.a, oracle.s).to_event(1)
            prior = dist.Normal(oracle.m, oracle.t).to_event(1)
            draws = [z, *(q.rsample((len(z),)) for _ in range(2))]
            weights = []
            for d in draws:
                given = dist.Bernoulli(logits=d @ oracle.W.T + oracle.b).to_event(1)
                weights.append(prior.log_prob(d) + given.log_prob(x) - q.log_prob(d))
            f = log_x.log_prob(x) - torch.stack(weights).logsumexp(0) + math.log(3)
            total = total + (log_x.log_prob(x).exp() * f).mean()
        return total

    truth = mean_and_error(flat(gradients(exact(), oracle)) for _ in range(8))
    error = (found[1] ** 2 + truth[1] ** 2).sqrt()
    assert ((found[0] - truth[0]).abs() < 5 * error).all()
    pyro.set_rng_seed(0)
    noisy = mean_and_error(
        flat(gradients(plain(Call(oracle.model, oracle.guide, args)).differentiable / size, oracle))
        for _ in range(20)
    )
    assert ((noisy[0] - truth[0]).abs() < 5 * (noisy[1] ** 2 + truth[1] ** 2).sqrt()).all()


def test_straight_through_is_biased_and_reaches_the_decoder():
    oracle = GaussianBernoulli()
    size, args = 500, (torch.zeros(500, 3),)
    means = {}
    for channel in ("sample", "straight-through"):
        term = dual(3, channel)
        means[channel] = mean_and_error(
            gradients(term(Call(oracle.model, oracle.guide, args)).differentiable / size, oracle)[
                "W"
            ]
            for _ in range(30)
        )
    difference = means["sample"][0] - means["straight-through"][0]
    error = (means["sample"][1] ** 2 + means["straight-through"][1] ** 2).sqrt()
    assert means["straight-through"][0].abs().min() > 0
    assert (difference.abs() > 5 * error).any()


# In the ELBO.


@pytest.mark.parametrize("channel", ["sample", "straight-through", "sleep"])
def test_losses_agree_under_one_seed(channel):
    oracle = GaussianBernoulli()
    x = torch.ones(6, 3)
    elbo = TraceMI_ELBO(channel=channel, num_dual_samples=3, num_dual_particles=2)
    found = []
    for method in (elbo.loss, elbo.differentiable_loss, elbo.loss_and_grads):
        pyro.set_rng_seed(5)
        loss = method(oracle.model, oracle.guide, x)
        found.append(loss.item() if isinstance(loss, torch.Tensor) else loss)
    pyro.set_rng_seed(5)
    terms = elbo.terms(oracle.model, oracle.guide, x)
    found.append(terms["loss"].item())
    assert found == pytest.approx([found[0]] * 4)
    assert terms["mi"] == terms["mi/z"]


def test_shares_of_several_sites_are_left_out():
    oracle = CodeAndNoise("c,u")
    elbo = TraceMI_ELBO(channel="sample", num_dual_samples=2)
    terms = elbo.terms(oracle.model, oracle.guide, oracle.data(5))
    assert "mi" in terms
    assert not [name for name in terms if name.startswith("mi/")]


@pytest.mark.slow
def test_trains_a_guide_to_the_information():
    """From a poor guide, L_5 rises."""
    oracle = LinearGaussian(exact=False)
    guides = [p for n, p in oracle.named_parameters() if n not in oracle.model_parameters]
    optimizer = torch.optim.Adam(guides, lr=0.01)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_samples=5, mi_weight=20.0)
    before = bound(oracle, 5, 2000).value / 2000
    for _ in range(150):
        optimizer.zero_grad()
        elbo.differentiable_loss(oracle.model, oracle.guide, torch.randn(100, 3)).backward()
        optimizer.step()
    after = bound(oracle, 5, 2000).value / 2000
    assert before + 0.02 < after < oracle.information() + 0.1


def test_trains_through_svi():
    oracle = LinearGaussian(exact=False)

    def guide(x):
        pyro.module("oracle", oracle)
        oracle.guide(x)

    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_samples=3)
    before = oracle.A.detach().clone()
    SVI(oracle.model, guide, pyro.optim.Adam({"lr": 0.01}), elbo).step(torch.randn(100, 3))
    assert (before != oracle.A).all()


def test_discrete_base_and_graph():
    oracle = Bits("c")
    elbo = TraceMI_ELBO(channel="sample", elbo=TraceGraph_ELBO(), num_dual_samples=3)
    terms = elbo.terms(oracle.model, oracle.guide, torch.zeros(4, 2))
    assert set(terms) == {"elbo", "mi", "mi/c", "loss"}


# Plates, scales, masks.


def test_scale_of_a_subsample_counts_once():
    oracle = LinearGaussian(exact=False)
    model, guide = oracle.subsampled(5)
    values = [
        dual(3)(Call(model, guide, (torch.randn(20, 3),))).value.detach() / 20 for _ in range(80)
    ]
    mean, error = mean_and_error(values)
    whole, whole_error = mean_and_error(bound(oracle, 3, 500).value / 500 for _ in range(20))
    assert abs(mean - whole) < 5 * math.hypot(error, whole_error)


def test_inner_plates_belong_to_the_datum():
    """A datum of three independent measurements: the weights multiply before they are added."""
    oracle = GaussianBernoulli(code_dim=1, data_dim=3)

    def nested(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(oracle.m, oracle.t))
            with pyro.plate("pixel", 3, dim=-1):
                logits = z * oracle.W[:, 0] + oracle.b
                pyro.sample("x", dist.Bernoulli(logits=logits), obs=x)

    def nested_guide(x):
        with pyro.plate("data", len(x), dim=-2):
            loc = (x @ oracle.A.T + oracle.a)[:, :1]
            pyro.sample("z", dist.Normal(loc, oracle.s))

    found = []
    for pair in ((nested, nested_guide), (oracle.model, oracle.guide)):
        pyro.set_rng_seed(6)
        found.append(dual(4)(Call(*pair, (torch.zeros(6, 3),))))
    torch.testing.assert_close(found[0].value, found[1].value)
    first, second = (flat(gradients(terms.differentiable, oracle)) for terms in found)
    torch.testing.assert_close(first, second)


def test_masked_data_tell_nothing():
    """With everything masked but the first datum, the bound is that of one datum."""
    oracle = LinearGaussian()
    mask = torch.tensor([True, False, False])
    masked = poutine.mask(oracle.model, mask=mask), poutine.mask(oracle.guide, mask=mask)
    x = torch.full((3, 3), 100.0)
    with torch.no_grad():
        mean, error = mean_and_error(dual(2)(Call(*masked, (x,))).value for _ in range(100))
    assert abs(mean - oracle.information()) < 5 * error


# What it refuses.


def test_channel_mean_is_refused():
    with pytest.raises(ValueError, match="num_dual_samples > 1 weighs draws of x'"):
        TraceMI_ELBO(channel="mean", num_dual_samples=2)


@pytest.mark.parametrize("number", [0, -1, 2.0])
def test_numbers_are_checked(number):
    with pytest.raises(ValueError, match=r"num_dual_samples must be .* 1.*, found"):
        TraceMI_ELBO(channel="sample", num_dual_samples=number)


def test_codes_have_to_be_all_latents():
    oracle = CodeAndNoise()
    for codes in ("c", {"c": 0, "u": None}):
        elbo = TraceMI_ELBO(channel="sample", num_dual_samples=2, codes=codes)
        with pytest.raises(ValueError, match="needs all latent sites of the model as codes"):
            elbo.loss(oracle.model, oracle.guide, oracle.data(3))


def test_one_scale_for_all_sites():
    oracle = LinearGaussian()

    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.5):
                z = pyro.sample("z", dist.Normal(oracle.m, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ oracle.W.T, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="one scale for all sites"):
        dual(2)(Call(model, oracle.guide, (oracle.data(3),)))


def test_a_part_of_the_datum_is_refused():
    def model(x):
        with pyro.plate("data", 4, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixel", 6, subsample_size=2, dim=-1) as i:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, i])

    def guide(x):
        with pyro.plate("data", 4, dim=-2):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 1.0))

    with pytest.raises(
        ValueError,
        match=r"the plate 'pixel' takes 2 of 6 data, but the code site 'z' is outside of it",
    ):
        dual(2)(Call(model, guide, (torch.zeros(4, 6),)))


def test_batch_normalisation_weighs_by_the_whole_batch():
    class Coupled(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Bernoulli(logits=self.norm(z)).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    module = Coupled()
    with pytest.warns(UserWarning, match="batch normalisation"):
        dual(2)(Call(module.model, module.guide, (torch.zeros(8, 2),)))
