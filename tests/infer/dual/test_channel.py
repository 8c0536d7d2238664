"""How each channel generates x', site by site."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import GaussianBernoulli, bit_model
from pyro import poutine
from pyro.poutine.do_messenger import DoMessenger
from pyro.poutine.messenger import Messenger

from pyro_mivae.infer import CHANNELS, straight_through
from pyro_mivae.infer.dual.channel import generate, has_useful_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def oracle():
    return GaussianBernoulli()


X = torch.zeros(4, 3, dtype=torch.float64)


def test_there_are_four():
    assert CHANNELS == ("mean", "sample", "straight-through", "sleep")


def test_mean_is_the_mean_given_the_draw_of_the_latent(oracle):
    forward = generate(oracle.model, (X,), {}, channel="mean")
    z = forward.trace.nodes["z"]["value"]
    expected = torch.sigmoid(z @ oracle.W.T + oracle.b)
    torch.testing.assert_close(forward.generated["x"], expected)
    (slope,) = torch.autograd.grad(forward.generated["x"].sum(), oracle.b)
    torch.testing.assert_close(slope, (expected * (1 - expected)).sum(0))


@pytest.mark.parametrize("channel", ["sample", "straight-through", "sleep"])
def test_draws_are_the_models_own(oracle, channel):
    """The draws of Pyro's own unconditioned run, under the same seed; latents from the prior."""
    pyro.set_rng_seed(5)
    expected = poutine.trace(poutine.uncondition(oracle.model)).get_trace(X)
    pyro.set_rng_seed(5)
    forward = generate(oracle.model, (X,), {}, channel=channel)
    for site in ("z", "x"):
        assert torch.equal(forward.trace.nodes[site]["value"], expected.nodes[site]["value"])
        assert not forward.trace.nodes[site]["is_observed"]
    assert torch.equal(forward.originals["x"], X)
    assert forward.generated["x"].unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("channel", "scored"),
    [("mean", []), ("sample", ["x"]), ("straight-through", []), ("sleep", ["x"])],
)
def test_sites_that_need_a_score_function(oracle, channel, scored):
    assert generate(oracle.model, (X,), {}, channel=channel).score_sites == scored


def test_straight_through_is_exact_forward_and_the_mean_backward():
    mean = torch.rand(1000, requires_grad=True)
    draw = torch.bernoulli(mean.detach())
    value = straight_through(draw, mean)
    assert torch.equal(value, draw)
    weight = torch.randn(1000)
    (slope,) = torch.autograd.grad((weight * value).sum(), mean)
    assert torch.equal(slope, weight)
    scalar = torch.tensor(0.5, requires_grad=True)  # a mean that is broadcast
    (slope,) = torch.autograd.grad((weight * straight_through(draw, scalar)).sum(), scalar)
    torch.testing.assert_close(slope, weight.sum())


def test_straight_through_leaves_reparameterised_sites_alone():
    scale = torch.tensor(2.0, requires_grad=True)

    def model(x):
        pyro.sample("x", dist.Normal(torch.zeros(5), scale).to_event(1), obs=x)

    value = generate(model, (torch.zeros(5),), {}, channel="straight-through").generated["x"]
    (slope,) = torch.autograd.grad(value.sum(), scale)
    torch.testing.assert_close(slope, (value / scale).sum())  # through the draw, not the mean


def test_sleep_carries_no_gradient(oracle):
    forward = generate(oracle.model, (X,), {}, channel="sleep")
    assert not any(forward.trace.nodes[site]["value"].requires_grad for site in ("z", "x"))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("channel", CHANNELS)
def test_sites_that_only_look_observed(channel):
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.deterministic("twice", 2 * z)
        pyro.factor("penalty", z.sum())
        pyro.sample("hint", dist.Normal(z, 1.0).to_event(1), obs=x, infer={"is_auxiliary": True})
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    x = torch.ones(3)
    forward = generate(model, (x,), {}, channel=channel)
    nodes = forward.trace.nodes
    assert list(forward.generated) == ["x"]
    assert torch.equal(nodes["twice"]["value"], 2 * nodes["z"]["value"])
    assert nodes["hint"]["value"] is x


def test_covariates_keep_their_data():
    def model(x, y):
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
        pyro.sample("x", dist.Normal(y, 1.0), obs=x)

    args = torch.tensor(3.0), torch.tensor(5.0)
    forward = generate(model, args, {}, channel="sample", observed=("y",))
    assert list(forward.generated) == ["x"]
    assert forward.trace.nodes["y"]["value"] is args[1]
    with pytest.raises(ValueError, match=r"observed=\['w'\]: the model has no site \['w'\]; its"):
        generate(model, args, {}, channel="sample", observed=("w",))


def test_conditioned_model_generates():
    """Data set by poutine.condition are replaced as those set by obs are."""
    pyro.set_rng_seed(3)
    expected = generate(bit_model, (torch.zeros(9),), {}, channel="sample").generated["x"]

    def model(x):
        conditioned = poutine.condition(lambda: bit_model(torch.ones(9)), data={"x": x})
        conditioned()

    pyro.set_rng_seed(3)
    forward = generate(model, (torch.zeros(9),), {}, channel="sample")
    assert torch.equal(forward.generated["x"], expected)
    assert torch.equal(forward.originals["x"], torch.zeros(9))
    conditioned_code = poutine.condition(bit_model, data={"c": torch.ones(9)})
    forward = generate(conditioned_code, (torch.zeros(9),), {}, channel="sample")
    assert set(forward.generated) == {"c", "x"}  # observed, so data


class _Ones(Messenger):
    def _pyro_sample(self, msg):
        if msg["name"] == "c":
            msg["value"] = torch.ones(9)


@pytest.mark.parametrize("handler", [_Ones(), DoMessenger({"c": torch.ones(9)})])
def test_values_set_by_a_handler_stay(handler):
    forward = generate(handler(bit_model), (torch.zeros(9),), {}, channel="sample")
    assert torch.equal(forward.generated["x"], torch.ones(9))


@pytest.mark.parametrize(
    ("fn", "useful"),
    [
        (dist.Bernoulli(0.5).expand([2]).to_event(1), True),
        (dist.Bernoulli(0.5).expand([2]).mask(torch.ones(2).bool()).to_event(1), True),
        (dist.OneHotCategorical(torch.ones(3)), True),
        (dist.Poisson(2.0), True),
        (dist.LogNormal(0.0, 1.0), True),
        (dist.Categorical(torch.ones(3)), False),
        (dist.Categorical(torch.ones(2, 3)).to_event(1), False),
        (dist.OrderedLogistic(torch.zeros(()), torch.zeros(1)), False),
        (dist.Cauchy(0.0, 1.0), False),
        (dist.HalfCauchy(1.0), False),
        (dist.RelaxedBernoulli(torch.tensor(1.0), probs=torch.tensor(0.5)), False),
        (
            dist.MixtureSameFamily(
                dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)
            ),
            True,
        ),
        (
            dist.MixtureSameFamily(
                dist.Categorical(torch.ones(2)), dist.Categorical(torch.ones(2, 3))
            ),
            False,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_distributions_have_a_mean(fn, useful):
    assert has_useful_mean(fn) is useful
    if useful:
        assert torch.isfinite(fn.mean).all()


def test_grid_of_channels_and_meanless_likelihoods():
    def model(x):
        pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Categorical(torch.ones(5)), obs=x)

    x = torch.tensor(1)
    for channel in ("sample", "sleep"):
        assert generate(model, (x,), {}, channel=channel).generated["x"].dtype == torch.long
    for channel in ("mean", "straight-through"):
        with pytest.raises(ValueError, match="'x' is a Categorical, which has no useful mean: use"):
            generate(model, (x,), {}, channel=channel)


def test_straight_through_needs_no_mean_of_reparameterised_sites():
    def model(x):
        pyro.sample("x", dist.Cauchy(torch.zeros(()), 1.0), obs=x)

    x = torch.tensor(1.0)
    assert generate(model, (x,), {}, channel="straight-through").score_sites == []
    with pytest.raises(ValueError, match="needs the mean of every observed site, but site 'x' is"):
        generate(model, (x,), {}, channel="mean")


def test_discrete_codes_under_straight_through():
    """A Bernoulli code passes its gradient on; a Categorical one, without a mean, is scored."""
    logit, logits = torch.tensor(0.3, requires_grad=True), torch.zeros(3, requires_grad=True)

    def model(x):
        c = pyro.sample("c", dist.Bernoulli(logits=logit))
        d = pyro.sample("d", dist.Categorical(logits=logits))
        pyro.sample("x", dist.Normal(c + d, 1.0), obs=x)

    forward = generate(model, (torch.tensor(0.0),), {}, channel="straight-through")
    assert forward.score_sites == ["d"]
    (slope,) = torch.autograd.grad(forward.generated["x"], logit)
    probs = torch.sigmoid(logit)
    torch.testing.assert_close(slope, probs * (1 - probs))
