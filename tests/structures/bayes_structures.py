"""Eight schools, the toy mixture and Bayesian regression: few latents, of all data."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import config_enumerate
from pyro.nn import PyroModule, PyroSample
from pyro.ops.indexing import Vindex
from structure import DRAWN, Net, Pair, Structure, information_of_table
from torch import nn
from torch.distributions import constraints

SCHOOLS = torch.tensor(
    [[28.0, 15.0], [8, 10], [-3, 16], [7, 11], [-1, 9], [1, 11], [18, 10], [12, 18]]
)
"""Effects and their standard errors (Rubin 1981)."""


def effects():
    return SCHOOLS.to(torch.get_default_dtype())


def schools(known, read):
    """Pyro's model; `known` are hyperparameters that are given, `read` makes the guide's values."""

    def model(data):
        y, sigma = data[:, 0], data[:, 1]
        eta = pyro.sample("eta", dist.Normal(torch.zeros(len(y)), 1.0).to_event(1))
        mu, tau = known or (
            pyro.sample("mu", dist.Normal(0.0, 10.0)),
            pyro.sample("tau", dist.HalfCauchy(torch.tensor(25.0))),
        )
        pyro.sample("obs", dist.Normal(mu + tau * eta, sigma).to_event(1), obs=y)

    def guide(data):
        loc, scale, hyper = read(data)
        pyro.sample("eta", dist.Normal(loc, scale).to_event(1))
        if not known:
            pyro.sample("mu", dist.Normal(hyper[0], hyper[1].exp()))
            pyro.sample("tau", dist.LogNormal(hyper[2], hyper[3].exp()))

    return model, guide


def build_schools(size):
    net = Net(8, 8, 8, 4)

    def read(data):
        loc, log_scale, hyper = pyro.module("net", net)((data[:, 0] / 20).tanh())
        return loc, log_scale.exp(), hyper + 2.0

    model, guide = schools(None, read)
    return Pair(model, guide, (effects(),), 1)


MU, TAU = 8.0, 10.0


def build_schools_fixed(size):
    def read(data):
        unit = pyro.param("unit", torch.ones(()))
        y, sigma = data[:, 0], data[:, 1]
        precision = 1 + TAU**2 / sigma**2
        return unit * TAU * (y - MU) / sigma**2 / precision, precision.rsqrt(), None

    return Pair(*schools((MU, TAU), read), (effects(),), 1)


def exact_schools_fixed(pair):
    return 0.5 * (1 + TAU**2 / effects()[:, 1] ** 2).log().sum().item(), 0.0


def place_effects(generated, args):
    return (torch.stack((generated["obs"], args[0][:, 1]), 1),)


@config_enumerate
def toy_mixture(obs, size):
    p_a = pyro.sample("p_A", dist.Beta(1.0, 1.0))
    p_b = pyro.sample("p_B", dist.Beta(torch.ones(2), torch.ones(2)).to_event(1))
    p_c = pyro.sample("p_C", dist.Beta(torch.ones(2), torch.ones(2)).to_event(1))
    with pyro.plate("data_plate", size):
        a = pyro.sample("A", dist.Bernoulli(p_a.expand(size)), obs=obs["A"])
        b = pyro.sample("B", dist.Bernoulli(Vindex(p_b)[a.long()]))
        pyro.sample("C", dist.Bernoulli(Vindex(p_c)[b.long()]), obs=obs["C"])


def toy_guide(obs, size):
    """The exact posterior of p_A; B is summed out."""
    one = pyro.param("a", torch.ones(()), constraint=constraints.positive)
    b = pyro.param("b", torch.ones(2, 2), constraint=constraints.positive)
    c = pyro.param("c", torch.ones(2, 2), constraint=constraints.positive)
    pyro.sample("p_A", dist.Beta(one + obs["A"].sum(), one + (1 - obs["A"]).sum()))
    pyro.sample("p_B", dist.Beta(b[:, 0], b[:, 1]).to_event(1))
    pyro.sample("p_C", dist.Beta(c[:, 0], c[:, 1]).to_event(1))


FLIPS = 3


def build_toy(size):
    obs = {"A": torch.arange(FLIPS) % 2.0, "C": torch.arange(FLIPS) % 3 % 2.0}
    return Pair(toy_mixture, toy_guide, (obs, FLIPS), 1)


def exact_toy(pair):
    """Minus the mean entropy of the posteriors, since all counts are equally probable."""
    count = torch.arange(FLIPS + 1.0)
    entropy = torch.distributions.Beta(1 + count, 1 + FLIPS - count).entropy()
    return -entropy.mean().item(), 0.0


P_B, P_C = (0.2, 0.7), (0.1, 0.8)


def build_toy_labels(size):
    """The same with known tables, and B drawn by the guide from its exact posterior."""

    p_b, p_c = torch.tensor(P_B), torch.tensor(P_C)

    def model(obs, size):
        with pyro.plate("data_plate", size):
            a = pyro.sample("A", dist.Bernoulli(0.5 * torch.ones(size)), obs=obs["A"])
            b = pyro.sample("B", dist.Bernoulli(p_b[a.long()]))
            pyro.sample("C", dist.Bernoulli(Vindex(p_c)[b.long()]), obs=obs["C"])

    def guide(obs, size):
        unit = pyro.param("unit", torch.ones(()))
        prior = p_b[obs["A"].long()]
        each = [torch.where(obs["C"] > 0.5, p, 1 - p) for p in p_c]
        probs = prior * each[1] / (prior * each[1] + (1 - prior) * each[0])
        with pyro.plate("data_plate", size):
            pyro.sample("B", dist.Bernoulli(logits=unit * probs.logit()))

    obs = {"A": (torch.arange(size) % 4 == 0) * 1.0, "C": torch.arange(size) % 2.0}
    return Pair(model, guide, (obs, size), size)


def exact_toy_labels(pair):
    """I(B; C|A) of the data's A."""
    c = torch.tensor(P_C)
    table = torch.stack((1 - c, c), -1).log()
    values = [information_of_table(table, torch.tensor([1 - p, p])) for p in P_B]
    return ((3 * values[0] + values[1]) / 4).item(), 0.0


NOISE = 0.5


class Regression(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, torch.ones(())).expand([1, 2]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, torch.ones(())).expand([1]).to_event(1))

    def forward(self, x, y=None):
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            return pyro.sample("obs", dist.Normal(mean, NOISE), obs=y)


def posterior_precision(x):
    design = torch.cat((x, x.new_ones(len(x), 1)), -1)
    return design, torch.eye(3).to(x) + design.T @ design / NOISE**2


def regression_guide(x, y=None):
    """The exact posterior, as a normal of the weight and one of the bias given the weight."""
    unit = pyro.param("unit", torch.ones(()))
    design, precision = posterior_precision(x)
    covariance = precision.inverse()
    loc = unit * covariance @ design.T @ y / NOISE**2
    own = dist.MultivariateNormal(loc[:2], covariance[:2, :2])
    own = dist.TransformedDistribution(
        own, torch.distributions.transforms.ReshapeTransform((2,), (1, 2))
    )
    weight = pyro.sample("linear.weight", own)
    gain = covariance[2, :2] @ covariance[:2, :2].inverse()
    scale = (covariance[2, 2] - gain @ covariance[:2, 2]).sqrt()
    loc = loc[2] + gain @ (weight.reshape(2) - loc[:2])
    pyro.sample("linear.bias", dist.Normal(loc, scale).expand([1]).to_event(1))


def build_regression(size):
    x = torch.randn(10, 2)
    return Pair(Regression(), regression_guide, (x, torch.randn(10)), 1)


def exact_regression(pair):
    return 0.5 * posterior_precision(pair.args[0])[1].logdet().item(), 0.0


STRUCTURES = [
    Structure(
        "eight schools",
        build_schools,
        place_effects,
        ("obs",),
        base="Trace",
        decoder=None,
        repeats=40,
    ),
    Structure(
        "eight schools, known hyperparameters",
        build_schools_fixed,
        place_effects,
        ("obs",),
        exact=exact_schools_fixed,
        attained=True,
        decoder=None,
        repeats=40,
    ),
    Structure(
        "toy mixture",
        build_toy,
        lambda generated, args: (generated, args[1]),
        ("A", "C"),
        codes="p_A",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        channels=DRAWN,
        exact=exact_toy,
        attained=True,
        decoder=None,
        repeats=40,
    ),
    Structure(
        "toy mixture, known tables",
        build_toy_labels,
        lambda generated, args: ({**args[0], "C": generated["C"]}, args[1]),
        ("C",),
        codes="B",
        observed=("A",),
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        exact=exact_toy_labels,
        attained=True,
        decoder=None,
    ),
    Structure(
        "Bayesian regression",
        build_regression,
        lambda generated, args: (args[0], generated["obs"]),
        ("obs",),
        exact=exact_regression,
        attained=True,
        decoder=None,
        repeats=40,
    ),
]
