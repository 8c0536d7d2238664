"""lambda and code_scale by site: sums of parts, in value and gradient, eager and compiled."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import Bits, expectation, flat, gradients
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from pyro.infer.reparam import LocScaleReparam
from torch import nn

from pyro_mivae.distributions import IntervalUniform, LogitNormal
from pyro_mivae.infer import CHANNELS, TraceMI_ELBO, compile_elbo
from pyro_mivae.infer.compiled.settings import StepSettings
from pyro_mivae.vae import MIVAE

pytestmark = pytest.mark.usefixtures("float64")


class Pair(nn.Module):
    """Two codes on (-1, 1) and a category."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.net, self.read = nn.Linear(6, 3), nn.Linear(3, 9)
        self.logits = nn.Parameter(torch.randn(3))
        self.x = torch.randn(5, 3)

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", IntervalUniform(-1, 1, torch.zeros(2)).to_event(1))
            e = pyro.sample("e", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            d = pyro.sample("d", dist.OneHotCategorical(logits=self.logits))
            loc = self.net(torch.cat([c, e, d], -1))
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def guide(self, x):
        raw = self.read(x)
        with pyro.plate("data", len(x)):
            pyro.sample("c", LogitNormal(raw[:, :2], raw[:, 2:4].exp(), -1, 1).to_event(1))
            pyro.sample("e", dist.Normal(raw[:, 4:5], raw[:, 5:6].exp()).to_event(1))
            pyro.sample("d", dist.OneHotCategorical(logits=raw[:, 6:]))


CODES = ("c", "d")


def loss_of(pair, seed=3, **options):
    """The loss, its gradients and the terms, under a seed."""
    elbo = TraceMI_ELBO(**{"channel": "sample", "codes": CODES, "elbo": Trace_ELBO(), **options})
    elbo.terms(pair.model, pair.guide, pair.x)
    pyro.set_rng_seed(seed)
    terms = elbo.terms(pair.model, pair.guide, pair.x)
    return terms["loss"].detach(), flat(gradients(terms["loss"], pair)), terms


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_loss_is_the_sum_of_the_parts(channel):
    """In value and gradient, the score-function terms among it."""
    pair = Pair()
    both = [loss_of(pair, channel=channel, mi_weight=w) for w in (0.0, {"c": 0.3, "d": 2.0})]
    alone = [
        loss_of(pair, channel=channel, mi_weight=w)
        for w in ({"c": 1.0, "d": 0.0}, {"c": 0.0, "d": 1.0})
    ]
    terms = both[1][2]
    base = -terms["log_likelihood"] + terms["kl"]
    torch.testing.assert_close(both[1][0], base - 0.3 * terms["mi/c"] - 2 * terms["mi/d"])
    torch.testing.assert_close(terms["mi"], terms["mi/c"] + terms["mi/d"])
    for place in range(2):
        zero = both[0][place]
        parts = [a[place] - zero for a in alone]
        torch.testing.assert_close(
            both[1][place], zero + 0.3 * parts[0] + 2 * parts[1], rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("channel", CHANNELS)
def test_equal_weights_are_one_number(channel):
    pair = Pair()
    results = [loss_of(pair, channel=channel, mi_weight=w) for w in (0.7, {"c": 0.7, "d": 0.7})]
    for one, other in zip(results[0][:2], results[1][:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_expected_gradient_is_that_of_the_expected_value():
    """Over all draws of two bits, each with a weight: no cost is left out of a score function."""
    bits = Bits("c,z")
    weights = {"c": 0.4, "z": 1.7}
    elbo = TraceMI_ELBO(channel="sample", codes=("c", "z"), mi_weight=weights, elbo=Trace_ELBO())
    plain = TraceMI_ELBO(channel="sleep", codes=("c", "z"), mi_weight=0.0, elbo=Trace_ELBO())
    x = bits.data(1)
    elbo.terms(bits.model, bits.guide, x)
    plain.terms(bits.model, bits.guide, x)
    gradient = lambda e: expectation(  # noqa: E731
        lambda: flat(gradients(e.differentiable_loss(bits.model, bits.guide, x), bits))
    )
    found = gradient(elbo) - gradient(plain)
    c, z, data, log_p = bits.outcomes()
    log_q_c = bits.posterior_c(data).log_prob(c)
    log_q_z = bits.posterior_z(data, c).log_prob(z)
    log_p_c = dist.Bernoulli(logits=bits.p_c).log_prob(c)
    log_p_z = bits.prior_z(c).log_prob(z)
    value = log_p.exp() * (0.4 * (log_q_c - log_p_c) + 1.7 * (log_q_z - log_p_z))
    expected = -flat(gradients(value.sum(), bits))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_a_site_of_weight_zero_may_have_no_bound():
    """0 times minus infinity is no number: its share is left out, and reported."""

    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Uniform(-1 + 0 * x[:, :2], 1.0).to_event(1))
            pyro.sample("e", dist.Normal(x[:, :1], 1e-160).to_event(1))
            pyro.sample("d", dist.OneHotCategorical(logits=x))

    pair = Pair()
    codes = ("c", "d", "e")
    weights = {"c": 1.0, "d": 1.0, "e": 0.0}
    elbo = TraceMI_ELBO(channel="mean", codes=codes, mi_weight=weights, elbo=Trace_ELBO())
    terms = elbo.terms(pair.model, narrow, pair.x)
    assert terms["mi/e"] == -torch.inf
    assert terms["loss"] == -terms["log_likelihood"] + terms["kl"] - terms["mi/c"] - terms["mi/d"]


def test_all_weights_zero_skip_the_dual_pass():
    pair, runs = Pair(), []

    def model(x):
        runs.append(1)
        pair.model(x)

    elbo = TraceMI_ELBO(
        channel="mean", codes=CODES, mi_weight={"c": 0.0, "d": 0}, elbo=Trace_ELBO()
    )
    elbo.loss(model, pair.guide, pair.x)
    assert len(runs) == 1


def test_schedules_by_site():
    pair = Pair()
    elbo = TraceMI_ELBO(
        channel="mean",
        codes=CODES,
        elbo=TraceGraph_ELBO(),
        mi_weight={"c": lambda step: 0.5 * step, "d": 2.0},
        code_scale={"c": lambda step: 1.0 + step},
    )
    for step in range(2):
        assert elbo.weights() == ({"c": 0.5 * step, "d": 2.0}, 1.0)
        assert elbo.settings()[2] == {"c": 1.0 + step}
        terms = elbo.terms(pair.model, pair.guide, pair.x)
        torch.testing.assert_close(
            terms["loss"].detach(),
            -terms["elbo"] - 0.5 * step * terms["mi/c"] - 2 * terms["mi/d"],
        )
        elbo.loss_and_grads(pair.model, pair.guide, pair.x)
    bad = TraceMI_ELBO(channel="mean", codes=CODES, mi_weight={"c": lambda s: -1.0, "d": 1.0})
    with pytest.raises(ValueError, match=r"mi_weight\['c'\] at step 0 must be a finite number"):
        bad.loss(pair.model, pair.guide, pair.x)
    bad = TraceMI_ELBO(channel="mean", codes="c", code_scale=lambda step: 0.0)
    with pytest.raises(ValueError, match="code_scale at step 0 must be a positive number"):
        bad.loss(pair.model, pair.guide, pair.x)


def test_scales_by_site():
    """A site that is left out has the guide's own density."""
    pair = Pair()
    codes = ("c", "d", "e")
    options = {"codes": codes, "channel": "mean"}
    scaled, plain, chosen = (
        loss_of(pair, code_scale=scale, **options)[2]
        for scale in (0.5, None, {"c": 0.5, "e": None})
    )
    assert scaled["mi/c"] != plain["mi/c"]
    assert torch.equal(chosen["mi/c"], scaled["mi/c"])
    assert torch.equal(chosen["mi/e"], plain["mi/e"])
    assert torch.equal(chosen["mi/d"], plain["mi/d"])


def test_codes_that_are_not_named():
    """codes=None: the names are compared with the call's."""
    pair = Pair()
    weights = {"c": 0.1, "d": 1.0, "e": 0.5}
    terms = loss_of(pair, codes=None, mi_weight=weights, channel="mean")[2]
    expected = sum(weight * terms[f"mi/{site}"] for site, weight in weights.items())
    base = -terms["log_likelihood"] + terms["kl"]
    torch.testing.assert_close(terms["loss"], base - expected)

    def refused(words, **options):
        elbo = TraceMI_ELBO(channel="mean", elbo=Trace_ELBO(), **options)
        with pytest.raises(ValueError, match=words):
            elbo.loss(pair.model, pair.guide, pair.x)

    refused(r"mi_weight has no weight for the code sites \['e'\]", mi_weight={"c": 1.0, "d": 1.0})
    refused(r"mi_weight names the sites \['f'\], but", mi_weight={**weights, "f": 1.0})
    refused("mi_weight names the site 'x', which is not latent", mi_weight={**weights, "x": 1.0})
    refused(r"code_scale names the sites \['f'\], but the code sites are", code_scale={"f": 1.0})


def test_a_label_that_some_calls_observe():
    """A weight of a code that a call observes is of no use in it, and no mistake."""
    pair = Pair()

    def model(x, d=None):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            d = pyro.sample("d", dist.OneHotCategorical(logits=torch.zeros(3)), obs=d)
            loc = pair.net(torch.cat([c, c[:, :1], d], -1))
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def guide(x, d=None):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x[:, :2], 1.0).to_event(1))
            if d is None:
                pyro.sample("d", dist.OneHotCategorical(logits=x))

    d = torch.eye(3)[[0, 1, 2, 0, 1]]
    for codes in (CODES, None):
        elbo = TraceMI_ELBO(
            channel="sample", codes=codes, mi_weight={"c": 0.5, "d": 2.0}, elbo=Trace_ELBO()
        )
        assert "mi/d" in elbo.terms(model, guide, pair.x)
        terms = elbo.terms(model, guide, pair.x, d)
        assert "mi/d" not in terms
        base = -terms["log_likelihood"] + terms["kl"]
        torch.testing.assert_close(terms["loss"].detach(), base - 0.5 * terms["mi/c"])


def test_a_code_that_is_reparameterised():
    """The weight of the site is that of the sites that poutine.reparam made of it."""
    pair = Pair()

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 2.0).to_event(1))
            pyro.sample("x", dist.Normal(pair.net.bias + c[:, :1], 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c_decentered", dist.Normal(x[:, :2], 1.0).to_event(1))

    turned = pyro.poutine.reparam(model, config={"c": LocScaleReparam(0.0)})
    elbo = TraceMI_ELBO(
        channel="sample", codes="c", mi_weight={"c": 3.0}, code_scale={"c": 1.0}, elbo=Trace_ELBO()
    )
    terms = elbo.terms(turned, guide, pair.x)
    base = -terms["log_likelihood"] + terms["kl"]
    torch.testing.assert_close(terms["loss"].detach(), base - 3 * terms["mi/c_decentered"])
    plain = TraceMI_ELBO(channel="sample", codes="c", elbo=Trace_ELBO())
    assert plain.terms(turned, guide, pair.x)["mi"].isfinite()


def test_a_latent_of_a_similar_name_is_no_part_of_a_reparameterised_code():
    def model(x):
        with pyro.plate("data", len(x)):
            width = pyro.sample("c_scale", dist.LogNormal(0.0, 0.3))
            c = pyro.sample("c", dist.Normal(0.0, 2.0))
            pyro.sample("x", dist.Normal(c, width), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c_scale", dist.LogNormal(0.1 * x, 0.3))
            pyro.sample("c_decentered", dist.Normal(x / 2, 1.0))

    turned = pyro.poutine.reparam(model, config={"c": LocScaleReparam(0.0)})
    terms = TraceMI_ELBO(channel="sample", codes="c").terms(turned, guide, torch.randn(5))
    assert [key for key in terms if key.startswith("mi/")] == ["mi/c_decentered"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mi_weight": {"c": 1.0}}, r"has no weight for the code sites \['d'\]: give each code"),
        ({"mi_weight": {"c": 1.0, "d": -1.0}}, r"mi_weight \(lambda\)\['d'\] must be a finite"),
        ({"mi_weight": {"c": 1.0, "d": 1.0, "z": 0.0}}, r"names the sites \['z'\], but the code"),
        ({"mi_weight": {}}, r"mi_weight \(lambda\) is an empty mapping"),
        ({"code_scale": {"x": 1.0}}, r"code_scale names the sites \['x'\], but the code sites are"),
        ({"code_scale": {"c": True}}, r"code_scale\['c'\] must be a positive number, or None"),
        ({"kl_weight": {"c": 1.0}}, r"kl_weight \(beta\) must be a finite number"),
        (
            {"mi_weight": {"c": 1.0, "d": 1.0}, "num_dual_samples": 2},
            "mi_weight by site weighs the shares of the sites",
        ),
        ({"code_scale": {"c": 1.0}, "num_dual_samples": 2}, "code_scale scores the code by anothe"),
    ],
)
def test_mappings_that_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TraceMI_ELBO(**{"channel": "sample", "codes": CODES, **options})


def test_a_scale_of_a_mass():
    pair = Pair()
    elbo = TraceMI_ELBO(channel="mean", codes=CODES, code_scale={"d": 1.0}, elbo=Trace_ELBO())
    with pytest.raises(ValueError, match=r"code_scale\['d'\] is 1.0, but the site 'd' is discrete"):
        elbo.loss(pair.model, pair.guide, pair.x)


def test_settings_of_a_graph():
    """None and a weight of 0 are its own; numbers and tensors are inputs."""
    settings = ({"c": 0.5, "d": 0.0}, 1.0, {"c": 1.0, "e": None})
    one = StepSettings(settings, weighted=True)
    assert one.inputs == [0.5, 1.0, 1.0]
    assert one.filled([2.0, 3.0, 4.0]) == ({"c": 2.0, "d": 0.0}, 3.0, {"c": 4.0, "e": None})
    other = StepSettings(({"c": 7.0, "d": 0.0}, 2.0, {"c": 3.0, "e": None}), weighted=True)
    assert one.key == other.key
    for changed in (
        ({"c": 0.0, "d": 0.0}, *settings[1:]),
        ({"c": 0.5, "d": 1.0}, *settings[1:]),
        (0.5, *settings[1:]),
        (*settings[:2], {"c": None, "e": None}),
        (*settings[:2], 1.0),
    ):
        assert StepSettings(changed, weighted=True).key != one.key
    plain = StepSettings((0.0, 1.0, None), weighted=False)
    assert plain.inputs == []
    assert plain.filled([]) == (0.0, 1.0, None)


@pytest.mark.slow
def test_compiled_and_in_our_vae():
    """Schedules of both are inputs of one graph."""
    vae = MIVAE(code_dim=2, noise_dim=1, image_shape=(4, 4), encoder=_flat, decoder=_image)
    x = torch.rand(3, 4, 4).round()
    elbo = TraceMI_ELBO(
        channel="mean",
        codes=("c", "z"),
        mi_weight={"c": lambda step: 0.5 + step, "z": 2.0},
        code_scale={"c": lambda step: 1.0 + step},
    )
    compiled = compile_elbo(elbo, vae.model, vae.guide, backend="eager")
    parameters = list(vae.parameters())
    for step in range(2):
        elbo.step = step
        compiled.forward(x)
        values = []
        for function in (compiled, lambda x: elbo.differentiable_loss(vae.model, vae.guide, x)):
            pyro.set_rng_seed(4)
            loss = function(x)
            values.append([loss.detach(), *torch.autograd.grad(loss, parameters)])
        for one, other in zip(*values, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert compiled.fallback is None
    assert len(compiled.graphs) == 1


def _flat(size):
    return nn.Sequential(nn.Flatten(-2), nn.Linear(16, size))


def _image(size):
    return nn.Sequential(nn.Linear(size, 16), nn.Unflatten(-1, (4, 4)))
