"""TraceMI_GAN: its two losses and their gradients, against formulas written out by hand."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from opponents import Game, backward, gradients
from oracles import Categorical, expectation
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.nn import functional as F

from pyro_mivae.distributions import IntervalUniform, LogitNormal
from pyro_mivae.infer import ADVERSARIES, TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.dual.scoring import Scoring
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def game(float64):
    return Game()


def objective(game, **options):
    return TraceMI_GAN(game.discriminator, **{"codes": ("c", "d"), **options})


def seeded(function, seed=7):
    pyro.set_rng_seed(seed)
    return function()


# Both losses, by hand.


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize(
    ("channel", "scale"), [("mean", None), ("sample", 0.7), ("straight-through", 1.0)]
)
def test_losses_and_gradients_by_hand(game, adversary, channel, scale):
    """Values, each player's gradient, and none in the other's parameters."""
    gan = objective(
        game,
        adversary=adversary,
        gradient_penalty=0.0,
        channel=channel,
        mi_weight={"c": 0.3, "d": 2.0},
        code_scale=None if scale is None else {"c": scale},
    )
    gan.terms(*game.pair)  # the first look is not a part of the draws
    reader, model = game.losses(7, channel, adversary, (0.3, 2.0), scale)
    turns = seeded(lambda: gan.steps(*game.pair))
    assert [turn.player for turn in turns] == ["reader", "model"]
    own = {"reader": game.reader_names()}
    own["model"] = [n for n, _ in game.named_parameters() if n not in own["reader"]]
    for turn, expected in zip(turns, (reader, model), strict=True):
        terms, loss = turn()
        torch.testing.assert_close(loss.detach(), expected.detach())
        torch.testing.assert_close(terms[f"loss/{turn.player}"], expected.detach())
        by_hand, left = gradients(expected, game), backward(loss, game)
        for name, gradient in left.items():
            if name in own[turn.player]:
                torch.testing.assert_close(gradient, by_hand[name], rtol=1e-10, atol=1e-12)
                # One of D's bias is 0 where each datum has the same slope.
                assert gradient.abs().max() > 0 or name == "discriminator.1.bias"
            else:
                assert gradient is None, name


def test_the_models_turn_asks_the_discriminator_as_it_then_is(game):
    gan = objective(game)
    gan.terms(*game.pair)
    reader, model = seeded(lambda: gan.steps(*game.pair))
    reader()
    with torch.no_grad():
        game.discriminator[1].bias += 3.0
        game.guide.head.weight *= 0.5
    terms, _ = model()
    expected = game.losses(7, "mean", "non-saturating", (1.0, 1.0), None)[1]
    torch.testing.assert_close(terms["loss/model"], expected.detach())


def test_both_gradients_at_once(game):
    """As SVI takes them: each parameter has that of its own player's loss."""
    gan = objective(game)
    gan.terms(*game.pair)
    expected = [
        gradients(loss, game)
        for loss in game.losses(7, "mean", *("non-saturating",), (1.0, 1.0), None)
    ]
    game.zero_grad()
    value = seeded(lambda: gan.loss_and_grads(*game.pair))
    for name, parameter in game.named_parameters():
        by_hand = expected[0 if name in game.reader_names() else 1][name]
        torch.testing.assert_close(parameter.grad, by_hand, rtol=1e-10, atol=1e-12)
    assert gan.step == 1
    terms = seeded(lambda: gan.terms(*game.pair))
    assert value == pytest.approx(float(terms["loss/reader"] + terms["loss/model"]))
    assert value == pytest.approx(seeded(lambda: gan.loss(*game.pair)))
    assert gan.step == 1


def test_terms_add_up(game):
    gan = objective(game, adversary="wasserstein", mi_weight={"c": 0.5, "d": 2.0})
    terms = gan.terms(*game.pair)
    assert list(terms) == [
        *("discriminator", "discriminator/real", "discriminator/generated"),
        *("discriminator/penalty", "generator", "mi", "mi/c", "mi/d", "loss/reader", "loss/model"),
    ]
    parts = sum(terms[f"discriminator/{name}"] for name in ("real", "generated", "penalty"))
    weighted = 0.5 * terms["mi/c"] + 2 * terms["mi/d"]
    torch.testing.assert_close(terms["discriminator"], parts)
    torch.testing.assert_close(terms["mi"], terms["mi/c"] + terms["mi/d"])
    torch.testing.assert_close(terms["loss/reader"], parts - weighted)
    torch.testing.assert_close(terms["loss/model"], terms["generator"] - weighted)
    assert not any(term.requires_grad for term in terms.values())


def test_forward_runs_are_averaged(game):
    one, two = objective(game), objective(game, num_dual_particles=2)
    for gan in (one, two):
        gan.terms(*game.pair)
    pyro.set_rng_seed(3)
    single = [one.terms(*game.pair) for _ in range(2)]
    both = seeded(lambda: two.terms(*game.pair), 3)
    for name, value in both.items():
        torch.testing.assert_close(value, (single[0][name] + single[1][name]) / 2)


# The information is TraceMI_ELBO's.


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("channel", ["mean", "sample", "straight-through"])
def test_information_is_the_dual_term(game, channel, scale):
    """Of the pair with noise that the guide lacks, and through TraceMI_ELBO where it has none."""
    gan = objective(game, channel=channel, code_scale=scale)
    dual = DualPass(channel=channel, codes=gan.codes, observed=(), data_args=None)
    call = Call(game.model, game.guide, (game.x,))
    for run in (lambda: gan.terms(*game.pair), lambda: dual(call, Scoring(code_scale=scale))):
        run()  # the first looks
    expected = seeded(lambda: dual(call, Scoring(code_scale=scale)))
    terms = seeded(lambda: gan.terms(*game.pair))
    torch.testing.assert_close(terms["mi"], expected.value.detach() / 8, rtol=1e-10, atol=0)
    for site, share in expected.per_site.items():
        torch.testing.assert_close(terms[f"mi/{site}"], share.detach() / 8, rtol=1e-10, atol=1e-14)


def test_information_is_that_of_the_elbo():
    class Without(nn.Module):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(c.tanh(), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x, 0.6).to_event(1))

    x = torch.randn(9, 2)
    elbo = TraceMI_ELBO(channel="sample", codes="c", elbo=Trace_ELBO())
    gan = TraceMI_GAN(nn.Linear(2, 1), codes="c", channel="sample")
    model = Without()
    elbo.terms(model, guide, x)
    gan.terms(model, guide, x)
    expected = seeded(lambda: elbo.terms(model, guide, x))["mi"] / 9

    def after_the_base():
        guide(x)  # what the base draws
        return gan.terms(model, guide, x)

    torch.testing.assert_close(seeded(after_the_base)["mi"], expected, rtol=1e-10, atol=0)


TOP = math.log(2) - 0.5 * math.log(2 * math.pi)


def code_model(x):
    """x' is the code itself."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", IntervalUniform(-1, 1, torch.zeros(1)).to_event(1))
        pyro.sample("x", dist.Normal(c, 1e-9).to_event(1), obs=x)


def reads(x):
    with pyro.plate("data", len(x)):
        pyro.sample("c", LogitNormal(torch.log1p(x) - torch.log1p(-x), 1.0, -1, 1).to_event(1))


def ignores(x):
    with pyro.plate("data", len(x)):
        pyro.sample("c", LogitNormal(0 * x, 1.0, -1, 1).to_event(1))


def knows_nothing(x):
    with pyro.plate("data", len(x)):
        pyro.sample("c", IntervalUniform(-1, 1, 0 * x).to_event(1))


def information(guide, **options):
    gan = TraceMI_GAN(nn.Linear(1, 1), codes="c", **options)
    return float(gan.terms(code_model, guide, torch.zeros(20_000, 1))["mi"])


def test_infogans_form_of_a_uniform_code():
    """-0.226 nats where it is read exactly, -0.392 where it is ignored."""
    assert pytest.approx(-0.2258, abs=1e-4) == TOP
    assert information(reads, code_scale=1.0) == pytest.approx(TOP, abs=1e-9)
    error = math.sqrt((1 / 5 - 1 / 9) / 4 / 20_000)  # of the mean of c^2 / 2
    assert abs(information(ignores, code_scale=1.0) - (TOP - 1 / 6)) < 5 * error
    assert pytest.approx(-0.392, abs=1e-3) == TOP - 1 / 6


def test_the_proper_bound_of_an_ignored_code():
    """0 for the best guide that knows nothing, below for any other."""
    assert information(knows_nothing) == pytest.approx(0, abs=1e-12)
    assert information(ignores) < -0.01
    assert information(reads) > 0


# A discrete model, where all is known.


class Table(nn.Module):
    """One of three values, drawn by learnable logits, is the mean of x."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.2, -0.5, 0.9]))
        self.values = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            d = pyro.sample("d", Categorical(logits=self.logits.expand(len(x), 3)))
            pyro.sample("x", dist.Normal(self.values[d], 1.0), obs=x)


class Through(nn.Module):
    """A discriminator with given logits at -1, 0 and 1; `across` reads the rest of the batch."""

    def __init__(self, at, across=0.0):
        super().__init__()
        low, middle, high = at
        self.factors = nn.Parameter(
            torch.stack([middle, (high - low) / 2, (high + low) / 2 - middle])
        )
        self.across = across

    def forward(self, x):
        a, b, c = self.factors
        return a + b * x + c * x**2 + self.across * (x.sum() - x).sin()


class TableReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5, -0.3, 1.0]))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("d", Categorical(logits=x[..., None] * self.slope))


DATA = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def best(model):
    """The logits of the optimal discriminator, log p_data - log p."""
    return (DATA.log() - model.logits.log_softmax(-1)).detach()


@pytest.mark.parametrize("across", [0.0, 0.8])
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("size", [1, 2])
def test_the_generators_gradient_on_a_discrete_model(size, weight, across):
    """Its expectation over all draws, of the logits (score function) and values (pathwise)."""
    model, guide = Table(), TableReader()
    discriminator = Through(best(model), across if size > 1 else 0.0)
    gan = TraceMI_GAN(discriminator, codes="d", mi_weight=weight)
    x = torch.tensor([-1.0, 1.0])[:size]
    gan.terms(model, guide, x)
    if across and size > 1:
        gan.steps(model, guide, x)[1]()  # looks whether the data are coupled

    def gradient():
        _, loss = gan.steps(model, guide, x)[1]()
        grads = torch.autograd.grad(loss, [model.logits, model.values], allow_unused=True)
        return torch.cat([torch.zeros(3) if g is None else g for g in grads])

    log_p = model.logits.log_softmax(-1)
    grid = torch.cartesian_prod(*[torch.arange(3)] * size).reshape(-1, size)
    inputs = model.values[grid]
    made = torch.stack([F.softplus(-discriminator(row)).mean() for row in inputs])
    log_q = (inputs[..., None] * guide.slope).log_softmax(-1)
    told = (log_q.gather(-1, grid[..., None])[..., 0] - log_p[grid]).mean(-1)
    value = (log_p[grid].sum(-1).exp() * (made - weight * told)).sum()
    expected = torch.cat(torch.autograd.grad(value, [model.logits, model.values]))
    torch.testing.assert_close(expectation(gradient), expected, rtol=1e-9, atol=1e-12)
    if size == 1 and not weight:
        p, cost = log_p.exp(), F.softplus(-best(model))
        torch.testing.assert_close(expected[:3], (p * (cost - (p * cost).sum())).detach())


def test_jensen_shannon_at_the_optimum():
    """The discriminator's loss is 2 log 2 - 2 JS there, and has no slope."""
    model = Table()
    p = model.logits.softmax(-1).detach()
    middle = (p + DATA) / 2
    divergence = 0.5 * sum((r * (r / middle).log()).sum() for r in (p, DATA))
    discriminator = Through(best(model))
    gan = TraceMI_GAN(discriminator, codes="d", mi_weight=0.0)
    guide = TableReader()
    gan.terms(model, guide, torch.zeros(1))

    def value_and_slope(x):
        terms, loss = gan.steps(model, guide, x)[0]()
        [slope] = torch.autograd.grad(loss, [discriminator.factors])
        return torch.cat([terms["discriminator"][None], slope])

    each = [
        expectation(lambda x=x: value_and_slope(x)) for x in torch.tensor([[-1.0], [0.0], [1.0]])
    ]
    value, *slope = (DATA[:, None] * torch.stack(each)).sum(0)
    torch.testing.assert_close(value, 2 * math.log(2) - 2 * divergence)
    torch.testing.assert_close(torch.stack(slope), torch.zeros(3))


# The gradient penalty.


class Still(nn.Module):
    """Generates zeros; the codes are of no use."""

    def __init__(self, **sizes):
        super().__init__()
        self.sizes = sizes or {"x": 2}
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, *data):
        with pyro.plate("data", len(data[0])):
            c = pyro.sample("c", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            for (name, size), x in zip(self.sizes.items(), data, strict=True):
                loc = self.bias + 0 * c + torch.zeros(size)
                pyro.sample(name, dist.Normal(loc, 1.0).to_event(1), obs=x)


def code_guide(x, *others):
    with pyro.plate("data", len(x)):
        pyro.sample("c", dist.Normal(x[..., :1], 1.0).to_event(1))


class Half(nn.Module):
    """A discriminator of slope x."""

    def forward(self, x):
        return 0.5 * x.square().sum(-1)


def test_penalty_of_a_linear_discriminator():
    """weight (|w| - 1)^2, whatever the data, and its gradient, which is a second derivative."""
    discriminator = nn.Linear(2, 1)
    gan = TraceMI_GAN(discriminator, codes="c", adversary="wasserstein", mi_weight=0.0)
    terms, loss = gan.steps(Still(), code_guide, torch.randn(5, 2))[0]()
    w = discriminator.weight.detach()
    torch.testing.assert_close(terms["discriminator/penalty"], 10 * (w.norm() - 1) ** 2)
    plain = terms["discriminator/real"] + terms["discriminator/generated"]
    torch.testing.assert_close(terms["discriminator"], plain + terms["discriminator/penalty"])
    x = torch.randn(5, 2)
    [slope] = torch.autograd.grad(gan.steps(Still(), code_guide, x)[0]()[1], [discriminator.weight])
    torch.testing.assert_close(slope, -x.mean(0, keepdim=True) + 20 * (w.norm() - 1) * w / w.norm())
    torch.testing.assert_close(loss.detach(), terms["loss/reader"])


def test_penalty_between_real_and_generated_data():
    """Slope e u at a share e of data at u, uniform for each datum: u^2 / 3 - u + 1 on average."""
    size, u = 20_000, 3.0
    x = torch.zeros(size, 2)
    x[:, 0] = u
    gan = TraceMI_GAN(Half(), codes="c", gradient_penalty=1.0)
    penalty = float(gan.terms(Still(), code_guide, x)["discriminator/penalty"])
    spread = torch.linspace(0, 1, 10_001).mul(u).sub(1).square().std()
    assert abs(penalty - (u**2 / 3 - u + 1)) < 5 * float(spread) / size**0.5
    assert abs(penalty - (u**2 / 3 - u + 1)) > 0


def test_penalty_takes_the_sites_of_a_datum_as_one_vector():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.x, self.y = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, data):
            return self.x(data["x"]) + self.y(data["y"])

    both = Both()
    gan = TraceMI_GAN(both, codes="c", adversary="wasserstein", gradient_penalty=3.0)
    data = torch.randn(4, 2), torch.randn(4, 3)
    terms = gan.terms(Still(x=2, y=3), code_guide, *data)
    norm = (both.x.weight.square().sum() + both.y.weight.square().sum()).sqrt().detach()
    torch.testing.assert_close(terms["discriminator/penalty"], 3 * (norm - 1) ** 2)


# Weights, schedules, SVI.


def test_weight_zero_leaves_the_guide_alone(game):
    runs = []

    def guide(x):
        runs.append(1)
        game.guide(x)

    gan = objective(game, mi_weight=0.0)
    gan.terms(game.model, guide, game.x)
    runs.clear()
    for turn in gan.steps(game.model, guide, game.x):
        assert "mi" not in turn()[0]
    assert not runs
    assert "mi/c" in gan.terms(game.model, guide, game.x)
    assert len(runs) == 2


def test_schedules(game):
    gan = objective(
        game, mi_weight={"c": lambda step: 0.5 * step, "d": 0.0}, code_scale=lambda s: 1.0 + s
    )
    for step in range(3):
        assert gan.weights() == {"c": 0.5 * step, "d": 0.0}
        terms = gan.terms(*game.pair)
        torch.testing.assert_close(
            terms["loss/model"], terms["generator"] - 0.5 * step * terms["mi/c"]
        )
        fixed = objective(game, code_scale=1.0 + step)
        fixed.terms(*game.pair)
        same = [seeded(lambda gan=gan: gan.terms(*game.pair)) for gan in (gan, fixed)]
        torch.testing.assert_close(same[0]["mi/c"], same[1]["mi/c"])
        gan.loss_and_grads(*game.pair)
    assert gan.state_dict() == {"step": 3}
    other = objective(game)
    other.load_state_dict(gan.state_dict())
    assert other.step == 3


def test_svi_moves_both_players(game):
    before = {name: p.detach().clone() for name, p in game.named_parameters()}

    def model(x):
        pyro.module("model", game.model)
        game.model(x)

    def guide(x):
        pyro.module("guide", game.guide)
        game.guide(x)

    names = []

    def rate(name):
        names.append(name)
        return {"lr": 0.1}

    gan = objective(game)
    svi = SVI(model, guide, pyro.optim.SGD(rate), gan)
    gan.terms(model, guide, game.x)
    expected = [
        gradients(loss, game) for loss in game.losses(7, "mean", "non-saturating", (1.0, 1.0), None)
    ]
    value = seeded(lambda: svi.step(game.x))
    assert isinstance(value, float)
    assert gan.step == 1
    for name, parameter in game.named_parameters():
        slope = expected[0 if name in game.reader_names() else 1][name]
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * slope)
    assert sum(name.startswith("discriminator") for name in names) >= 2
    assert svi.evaluate_loss(game.x) != 0
    assert gan.step == 1
