"""Draws that move the costs of other cells of a plate: their gradients against enumeration."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import Bernoulli, expectation, flat, gradients
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN, compile_elbo
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(autouse=True)
def looks(request, caplog):
    """No look of these tests fails, but where that is the test."""
    with caplog.at_level("DEBUG", "pyro_mivae"):
        yield
        said = any("could not look" in r.getMessage() for r in caplog.get_records("call"))
        assert said == ("cannot_be_run_again" in request.node.name)


BITS = torch.tensor([0.0, 1.0], dtype=torch.float64)


class Neighbours(nn.Module):
    """Bits of code and data; q of a code, or the density of x', reads the cell to the left, too."""

    def __init__(self, *, q_across, p_across, plate="time"):
        super().__init__()
        torch.manual_seed(6)
        self.p_c, self.w, self.q = (nn.Parameter(torch.randn(())) for _ in range(3))
        self.left_q, self.left_p = (nn.Parameter(torch.randn(())) for _ in range(2))
        self.q_across, self.p_across, self.plate = q_across, p_across, plate

    def likelihood(self, c):
        left = self.left_p * (2 * c.roll(1, -1) - 1) if self.p_across else 0.0
        return Bernoulli(logits=self.w * (2 * c - 1) + left)

    def posterior(self, x):
        left = self.left_q * (x.roll(1, -1) - 0.5) if self.q_across else 0.0
        return Bernoulli(logits=self.q * (x - 0.5) + left)

    def model(self, x):
        with pyro.plate(self.plate, len(x)):
            c = pyro.sample("c", Bernoulli(logits=self.p_c))
            pyro.sample("x", self.likelihood(c), obs=x)

    def guide(self, x):
        with pyro.plate(self.plate, len(x)):
            pyro.sample("c", self.posterior(x))

    def grid(self, size):
        """All codes and data, their log-probabilities, and those of the codes alone."""
        cells = torch.cartesian_prod(*[BITS] * size)
        c, x = cells.repeat_interleave(len(cells), 0), cells.repeat(len(cells), 1)
        log_c = Bernoulli(logits=self.p_c).log_prob(c).sum(-1)
        return c, x, log_c + self.likelihood(c).log_prob(x).sum(-1), log_c

    def bound(self, size):
        c, x, log_p, log_c = self.grid(size)
        return (log_p.exp() * (self.posterior(x).log_prob(c).sum(-1) - log_c)).sum()


def looked_at(module, size=3, **settings):
    settings = {"channel": "sample", "codes": None, "observed": (), "data_args": None} | settings
    term, call = DualPass(**settings), Call(module.model, module.guide, (torch.zeros(size),))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        term(call)
    return term, call, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("p_across", [True, False])
@pytest.mark.parametrize("q_across", [True, False])
def test_the_gradient_is_unbiased(q_across, p_across, baseline):
    module = Neighbours(q_across=q_across, p_across=p_across)
    term, call, words = looked_at(module, baseline=baseline)
    crossed = q_across or p_across
    assert [text for text in words if "plates [time]" in text and "to_event" in text] == words
    assert len(words) == crossed
    found = expectation(lambda: flat(gradients(term(call).differentiable, module)))
    torch.testing.assert_close(found, flat(gradients(module.bound(3), module)))


def test_independent_cells_keep_their_baseline():
    """The variance of the gradient is that of the cells' own costs."""
    module = Neighbours(q_across=False, p_across=False)
    with torch.no_grad():
        module.q.mul_(20)  # a bound far below 0

    def variance(crossed):
        term, call, _ = looked_at(module, size=20)
        term.memories(call).crossed[True] = frozenset(crossed)
        draws = [gradients(term(call).differentiable, module)["w"] for _ in range(200)]
        return torch.stack(draws).var()

    assert variance([]) < 0.2 * variance(["time"])


def test_several_draws():
    """The K-sample bound of a guide that reads across: a draw moves the bounds of all cells."""
    module = Neighbours(q_across=True, p_across=False)
    term, call, words = looked_at(module, size=2, num_samples=2)
    assert len(words) == 1
    found = expectation(lambda: flat(gradients(term(call).differentiable, module)))

    def value():
        with torch.enable_grad():
            c, x, log_p, _ = module.grid(2)
            other = torch.cartesian_prod(BITS, BITS)
            total = 0.0
            for k in other:  # the second draw, of both cells
                log_q = module.posterior(x).log_prob(k)
                prior = Bernoulli(logits=module.p_c)
                weights = torch.stack(
                    [
                        prior.log_prob(z)
                        + module.likelihood(z).log_prob(x)
                        - module.posterior(x).log_prob(z)
                        for z in (c, k.expand_as(c))
                    ]
                )
                given = module.likelihood(c).log_prob(x)
                bound = (given - weights.logsumexp(0) + torch.tensor(2.0).log()).sum(-1)
                total = total + ((log_p + log_q.sum(-1)).exp() * bound).sum()
            return total

    torch.testing.assert_close(found, flat(gradients(value(), module)))


class Reading(nn.Module):
    """A guide of noise and codes: the noise of a cell reads the cells before it by an RNN."""

    def __init__(self, noise):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.noise = nn.GRU(1, 4, batch_first=True).double(), noise
        self.weight = nn.Parameter(torch.tensor(0.7))

    def model(self, x):
        with pyro.plate("series", len(x), dim=-2), pyro.plate("time", x.shape[-1], dim=-1):
            c = pyro.sample("c", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", self.noise(torch.zeros(())))
            pyro.sample("x", dist.Bernoulli(logits=self.weight * (c + z)), obs=x)

    def guide(self, x):
        states, _ = self.rnn(x[..., None])
        with pyro.plate("series", len(x), dim=-2), pyro.plate("time", x.shape[-1], dim=-1):
            z = pyro.sample("z", self.noise(states[..., 0]))
            pyro.sample("c", dist.Normal(self.weight * x + z, 1.0))


@pytest.mark.parametrize("noise", [lambda a: dist.Normal(a, 1.0), lambda a: dist.Poisson(a.exp())])
def test_the_plate_alone_that_is_read_along(noise):
    """The series stay independent of each other."""
    module = Reading(noise)
    term = DualPass(channel="sample", codes={"c": None}, observed=(), data_args=None)
    call = Call(module.model, module.guide, (torch.zeros(4, 5),))
    with pytest.warns(UserWarning, match=r"plates \[time\]"):
        term(call)
    assert term.memories(call).crossed == {True: frozenset({"time"})}


def test_a_path_through_the_mean():
    """A code without a gradient moves the mean image, which the guide reads across."""
    module = Neighbours(q_across=True, p_across=False)
    term, call, words = looked_at(module, channel="mean")
    assert len(words) == 1
    found = expectation(lambda: flat(gradients(term(call).differentiable, module)))
    c = torch.cartesian_prod(BITS, BITS, BITS)
    log_c = Bernoulli(logits=module.p_c).log_prob(c).sum(-1)
    told = module.posterior(module.likelihood(c).mean).log_prob(c).sum(-1)
    value = (log_c.exp() * (told - log_c)).sum()
    torch.testing.assert_close(found, flat(gradients(value, module)))


@pytest.mark.parametrize("channel", ["mean", "straight-through", "sleep"])
def test_no_look_where_all_draws_have_a_pathwise_gradient(channel):
    module = Reading(lambda a: dist.Normal(a, 1.0))
    term = DualPass(channel=channel, codes={"c": None}, observed=(), data_args=None)
    call = Call(module.model, module.guide, (torch.zeros(4, 5),))
    term(call)
    assert term.memories(call).crossed == {}


def test_masked_cells_are_no_draws():
    """What a guide reads of the data where x' is masked moves nothing."""
    mask = torch.tensor([True, False, True, False])
    module = Neighbours(q_across=True, p_across=False)

    def masked(program):
        return poutine.mask(program, mask=mask)

    term = DualPass(channel="sample", codes=None, observed=(), data_args=None)
    call = Call(masked(module.model), masked(module.guide), (torch.zeros(4),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        term(call)
    assert term.memories(call).crossed == {True: frozenset()}


def test_a_model_that_cannot_be_run_again_is_trained_as_before():
    module = Neighbours(q_across=True, p_across=False)
    calls = []

    def guide(x):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("no more")
        module.guide(x)

    term = DualPass(channel="sample", codes=None, observed=(), data_args=None)
    call = Call(module.model, guide, (torch.zeros(4),))
    term(call)
    assert term.memories(call).crossed == {True: frozenset()}


def test_the_look_leaves_the_draws_alone():
    module = Neighbours(q_across=True, p_across=True)
    values = []
    for known in (False, True):
        elbo = TraceMI_ELBO(channel="sample", elbo=TraceGraph_ELBO())
        if known:
            with pytest.warns(UserWarning, match="to_event"):
                elbo.terms(module.model, module.guide, torch.zeros(4))
        pyro.set_rng_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values.append(elbo.terms(module.model, module.guide, torch.zeros(4))["mi"])
    assert values[0] == values[1]


def test_compiled_after_a_call_without_gradients():
    """The look is made before the capture, in which it could see nothing."""
    module = Neighbours(q_across=True, p_across=False)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    recorded = compile_elbo(elbo, module.model, module.guide, backend=None)
    x = torch.zeros(4)
    with torch.no_grad(), pytest.warns(UserWarning, match=r"plates \[time\]"):
        recorded(x)
    pyro.set_rng_seed(5)
    loss = recorded(x)
    assert recorded.fallback is None
    found = flat(gradients(loss, module))
    pyro.set_rng_seed(5)
    eager = elbo.differentiable_loss(module.model, module.guide, x)
    torch.testing.assert_close(found, flat(gradients(eager, module)))


@pytest.mark.parametrize("weight", [0.0, 0.6])
def test_the_generators_cost_reads_across(weight):
    """A GAN's model whose draws move the data of other cells; the discriminator reads each."""
    module = Neighbours(q_across=False, p_across=True, plate="data")

    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(0.9))

        def forward(self, x):
            return (self.slope * (x - 0.3))[:, None]

    score, x = Score(), torch.zeros(2)
    gan = TraceMI_GAN(score, codes="c", mi_weight=weight)
    with pytest.warns(UserWarning, match=r"plates \[data\]"):
        gan.steps(module.model, module.guide, x)[1]()
    names = ("p_c", "w", "left_p")

    def gradient():
        _, loss = gan.steps(module.model, module.guide, x)[1]()
        grads = torch.autograd.grad(loss, [getattr(module, n) for n in names], allow_unused=True)
        return torch.stack([torch.zeros(()) if g is None else g for g in grads])

    c = torch.cartesian_prod(BITS, BITS)
    made, log_c = module.likelihood(c).mean, Bernoulli(logits=module.p_c).log_prob(c).sum(-1)
    cost = nn.functional.softplus(-score.slope * (made - 0.3)).mean(-1)
    told = (module.posterior(made).log_prob(c).sum(-1) - log_c) / 2
    value = (log_c.exp() * (cost - weight * told)).sum()
    expected = torch.stack(torch.autograd.grad(value, [getattr(module, n) for n in names]))
    torch.testing.assert_close(expectation(gradient), expected)
