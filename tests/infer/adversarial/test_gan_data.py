"""TraceMI_GAN: what the discriminator sees, plates and masks, running statistics, the players."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from opponents import Game, backward
from pyro import poutine
from torch import nn
from torch.nn import functional as F

from pyro_mivae.infer import MinibatchDiscrimination, TraceMI_ELBO, TraceMI_GAN

pytestmark = pytest.mark.usefixtures("float64")


class Seen(nn.Module):
    """A discriminator that notes its arguments; its logit is the sum of a datum's numbers."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.calls = []

    def forward(self, data):
        self.calls.append(data)
        parts = data.values() if isinstance(data, dict) else [data]
        return self.factor * sum(part.reshape(len(part), -1).sum(-1) for part in parts)


def guide(x, *others, **more):
    with pyro.plate("data", len(x)):
        pyro.sample("c", dist.Normal(x[..., :2], 1.0).to_event(1))


def drawn(size):
    return pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.net(drawn(len(x))), 0.5).to_event(1), obs=x)


def test_one_site_is_a_tensor_and_real_data_are_as_given():
    seen, x = Seen(), torch.randn(5, 2)
    TraceMI_GAN(seen, codes="c").terms(Model(), guide, x)
    assert all(isinstance(data, torch.Tensor) for data in seen.calls)
    assert any(data is x for data in seen.calls)
    assert all(data.shape == (5, 2) for data in seen.calls)


class Kinds(Model):
    """Images, a label, and a covariate; counts are integers in the data."""

    def forward(self, x, label, count, size):
        with pyro.plate("data", len(x)):
            c = drawn(len(x))
            pyro.sample("size", dist.Normal(0.0, 1.0), obs=size)
            pyro.sample("x", dist.Normal(self.net(c) + size[:, None], 0.5).to_event(1), obs=x)
            logits = self.net(c).repeat(1, 2)[:, :3]
            pyro.sample("label", dist.OneHotCategorical(logits=logits), obs=label)
            pyro.sample("count", dist.Poisson(self.net(c)[:, 0].exp()), obs=count)


def test_sites_of_several_kinds_are_a_mapping():
    seen, x = Seen(), torch.randn(4, 2)
    label, count = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 3, 1, 2])
    size = torch.rand(4)
    gan = TraceMI_GAN(seen, codes="c", observed="size", channel="straight-through")
    model = Kinds()
    _, loss = gan.steps(model, guide, x, label, count, size)[1]()
    loss.backward()
    assert model.net.weight.grad.abs().max() > 0
    assert all(list(data) == ["x", "label", "count", "size"] for data in seen.calls)
    seen.calls.clear()
    reader = gan.steps(model, guide, x, label, count, size)[0]
    reader()
    real, generated = seen.calls
    assert torch.equal(real["x"], x)
    assert torch.equal(real["count"], count.double())
    assert not torch.equal(generated["x"], x)
    assert torch.equal(generated["size"], size)  # a covariate is the same on both sides
    assert not generated["x"].requires_grad
    assert torch.equal(generated["label"].sum(-1), torch.ones(4))


class Conditional(Model):
    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            loc = self.net(drawn(len(x))) + y[:, None]
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


class Given(nn.Module):
    """A discriminator that asks for the covariate by the name that the model gives it."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = nn.Linear(3, 1), []

    def forward(self, data, y, missing=None):
        self.calls.append((data, y, missing))
        return self.net(torch.cat([data, y[:, None]], -1))


@pytest.mark.parametrize("keyword", [False, True])
def test_covariates_that_are_arguments(keyword):
    given, x, y = Given(), torch.randn(4, 2), torch.rand(4)
    gan = TraceMI_GAN(given, codes="c", adversary="wasserstein")
    args, kwargs = ((x,), {"y": y}) if keyword else ((x, y), {})
    model = Conditional()
    gan.loss_and_grads(model, guide, *args, **kwargs)
    assert all(seen is y and missing is None for _, seen, missing in given.calls)
    assert model.net.weight.grad is not None
    assert given.net.weight.grad is not None


def test_data_args_say_where_the_guide_reads():
    def other(a, b):
        with pyro.plate("data", len(a)):
            pyro.sample("c", dist.Normal(b, 1.0).to_event(1))

    class Of(Model):
        def forward(self, a, b):
            super().forward(2 * a)

    x = torch.randn(5, 2)
    gan = TraceMI_GAN(Seen(), codes="c", data_args={"x": "b"})
    terms = gan.terms(Of(), other, x, torch.zeros(5, 2))
    assert terms["mi"].isfinite()
    with pytest.raises(ValueError, match="the guide has to read the generated data"):
        TraceMI_GAN(Seen(), codes="c").terms(Of(), other, x, torch.zeros(5, 2))


# Plates and masks.


def test_a_subsample_counts_per_datum():
    """The information per datum is TraceMI_ELBO's, which is scaled up to all data."""

    class Part(Model):
        def forward(self, x):
            with pyro.plate("data", len(x), subsample_size=3) as index:
                loc = self.net(drawn(3))
                pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x[index])

    def part_guide(x):
        with pyro.plate("data", len(x), subsample_size=3) as index:
            pyro.sample("c", dist.Normal(x[index], 1.0).to_event(1))

    seen, x, model = Seen(), torch.randn(12, 2), Part()
    gan = TraceMI_GAN(seen, codes="c")
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    gan.terms(model, part_guide, x)
    for _ in range(2):
        pyro.set_rng_seed(2)
        expected = elbo.terms(model, part_guide, x)["mi"]
    pyro.set_rng_seed(2)
    part_guide(x)
    terms = gan.terms(model, part_guide, x)
    torch.testing.assert_close(terms["mi"], expected / 12)
    assert len(seen.calls[-1]) == 3


def test_subsampling_by_the_guide_alone():
    class Part(Model):
        def forward(self, x):
            with pyro.plate("data", len(x)) as index:
                x = x[index]
                loc = self.net(drawn(len(x)))
                pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def part_guide(x):
        with pyro.plate("data", len(x), subsample_size=3) as index:
            pyro.sample("c", dist.Normal(x[index], 1.0).to_event(1))

    seen = Seen()
    TraceMI_GAN(seen, codes="c").terms(Part(), part_guide, torch.randn(12, 2))
    assert len(seen.calls[-1]) == 3


def test_masked_data_do_not_count():
    mask = torch.tensor([True, True, False, True])

    class Masked(Model):
        def forward(self, x):
            with pyro.plate("data", len(x)), poutine.mask(mask=mask):
                loc = self.net(drawn(len(x)))
                pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)

    def masked_guide(x):
        with pyro.plate("data", len(x)), poutine.mask(mask=mask):
            pyro.sample("c", dist.Normal(x, 1.0).to_event(1))

    x = torch.randn(4, 2)
    gan = TraceMI_GAN(Seen(), codes="c")
    terms = gan.terms(Masked(), masked_guide, x)
    expected = F.softplus(-x.sum(-1))[mask].sum() / 4
    torch.testing.assert_close(terms["discriminator/real"], expected)


def test_masked_entries_are_the_datas_on_both_sides():
    mask = torch.tensor([[True, False], [True, True], [False, True]])

    class Holes(Model):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                fn = dist.Normal(self.net(drawn(len(x))), 0.5).mask(mask).to_event(1)
                pyro.sample("x", fn, obs=x)

    seen, x = Seen(), torch.randn(3, 2)
    terms = TraceMI_GAN(seen, codes="c").terms(Holes(), guide, x)
    generated = seen.calls[-1]
    assert torch.equal(generated[~mask], x[~mask])
    assert not (generated[mask] == x[mask]).any()
    torch.testing.assert_close(terms["discriminator/real"], F.softplus(-x.sum(-1)).mean())


def test_data_without_a_plate_are_one_datum_or_many():
    class Alone(Model):
        def forward(self, x):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.net(c).expand(3, 2), 0.5).to_event(2), obs=x)

    def alone(x):
        pyro.sample("c", dist.Normal(x.mean(0), 1.0).to_event(1))

    class One(nn.Module):
        def forward(self, x):
            return x.sum()

    x = torch.randn(3, 2)
    for discriminator, count, logits in ((One(), 1, x.sum()[None]), (Seen(), 3, x.sum(-1))):
        gan = TraceMI_GAN(discriminator, codes="c", adversary="wasserstein")
        model = Alone()
        gan.terms(model, alone, x)
        pyro.set_rng_seed(1)
        terms = gan.terms(model, alone, x)
        torch.testing.assert_close(terms["discriminator/real"], -logits.detach().mean())
        pyro.set_rng_seed(1)
        c = torch.randn(2)
        log_q = dist.Normal(model.net(c), 1.0).log_prob(c) - dist.Normal(0.0, 1.0).log_prob(c)
        torch.testing.assert_close(terms["mi"], log_q.sum().detach() / count)


# Running statistics.


class Normalised(nn.Module):
    """Batch normalisation in the model, in the discriminator's trunk, and in the guide's head."""

    def __init__(self):
        super().__init__()
        self.model = Model()
        self.model.net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.trunk = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.BatchNorm1d(2)
        self.discriminator = nn.Sequential(
            self.trunk, MinibatchDiscrimination(2, kernels=3), nn.Linear(5, 1)
        )

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(self.head(self.trunk(x)), 1.0).to_event(1))

    def batches(self):
        layers = (self.model.net[1], self.trunk[1], self.head)
        return [int(layer.num_batches_tracked) for layer in layers]


def test_running_statistics_are_written_once_by_their_player():
    parts = Normalised()
    gan, x = TraceMI_GAN(parts.discriminator, codes="c"), torch.randn(6, 2) + 4
    gan.terms(parts.model, parts.guide, x)
    gan.loss(parts.model, parts.guide, x)
    gan.players(parts.model, parts.guide, x)
    assert parts.batches() == [0, 0, 0]
    reader, model = gan.steps(parts.model, parts.guide, x)
    assert parts.batches() == [1, 0, 0]
    reader()
    assert parts.batches() == [1, 1, 1]
    # The trunk's are those of the real data, whatever the guide has read through it.
    expected = 0.1 * parts.trunk[0](x).mean(0).detach()
    torch.testing.assert_close(parts.trunk[1].running_mean, expected)
    model()
    assert parts.batches() == [1, 1, 1]
    gan.reader_step(parts.model, parts.guide, x)()
    assert parts.batches() == [1, 2, 2]


def test_a_turn_of_the_reader_alone_has_no_gradient_in_the_model(one_thread):
    game = Game()
    gan = TraceMI_GAN(game.discriminator, codes=("c", "d"))
    gan.terms(*game.pair)
    pyro.set_rng_seed(7)
    turn = gan.reader_step(*game.pair)
    assert turn.player == "reader"
    _, loss = turn()
    expected = game.losses(7, "mean", "non-saturating", (1.0, 1.0), None)[0]
    torch.testing.assert_close(loss.detach(), expected.detach())
    left = backward(loss, game)
    assert {name for name, gradient in left.items() if gradient is not None} == set(
        game.reader_names()
    )


def test_the_first_look_leaves_no_trace():
    game = Game()
    state = torch.get_rng_state()
    gan = TraceMI_GAN(game.discriminator, codes=("c", "d"))
    gan.players(*game.pair)
    assert torch.equal(torch.get_rng_state(), state)
    pyro.set_rng_seed(3)
    first = gan.terms(*game.pair)
    pyro.set_rng_seed(3)
    again = gan.terms(*game.pair)
    assert all(torch.equal(first[name], again[name]) for name in first)


# Who owns which parameter.


def test_a_shared_trunk_is_the_readers_and_once():
    game = Game()
    gan = TraceMI_GAN(game.discriminator, codes=("c", "d"))
    players = gan.players(*game.pair)
    for owned, prefix in ((players.model, True), (players.reader, False)):
        expected = [p for n, p in game.named_parameters() if n.startswith("model.") is prefix]
        assert {id(p) for p in owned.values()} == {id(p) for p in expected}
        assert len(owned) == len(expected)
    assert "model.logits" in players.model
    assert {"guide.trunk.0.weight", "discriminator.1.bias"} <= set(players.reader)


def test_parameters_of_functions_and_of_the_store():
    discriminator = nn.Linear(2, 1)
    hidden = nn.Linear(2, 2)

    def model(x):
        scale = pyro.param("scale", torch.ones(()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(scale * hidden(drawn(len(x))), 0.5).to_event(1), obs=x)

    def reading(x):
        shift = pyro.param("shift", torch.zeros(2))
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x + shift, 1.0).to_event(1))

    gan = TraceMI_GAN(discriminator, codes="c")
    players = gan.players(model, reading, torch.randn(3, 2))
    assert set(players.model) == {"scale", "Linear.weight", "Linear.bias"}
    assert set(players.reader) == {"shift", "discriminator.weight", "discriminator.bias"}
    gan.loss_and_grads(model, reading, torch.randn(3, 2))
    store = pyro.get_param_store()
    assert store._params["scale"].grad is not None
    assert store._params["shift"].grad is not None


def test_methods_of_one_module_are_told_apart_by_use():
    class Both(Model):
        def __init__(self):
            super().__init__()
            self.reading = nn.Linear(2, 2)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("c", dist.Normal(self.reading(x), 1.0).to_event(1))

        def model(self, x):
            self(x)

    both = Both()
    gan = TraceMI_GAN(nn.Linear(2, 1), codes="c")
    players = gan.players(both.model, both.guide, torch.randn(3, 2))
    assert {id(p) for p in players.model.values()} == {id(p) for p in both.net.parameters()}
    assert {id(p) for p in both.reading.parameters()} < {id(p) for p in players.reader.values()}


def test_calls_that_observe_all_codes():
    """The guide is looked at in the first call that has codes; no look is repeated."""
    runs = []

    class Labelled(Model):
        def forward(self, x, c=None):
            runs.append(1)
            with pyro.plate("data", len(x)):
                prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
                c = pyro.sample("c", prior, obs=c)
                pyro.sample("x", dist.Normal(self.net(c), 0.5).to_event(1), obs=x)

    def reading(x, c=None):
        with pyro.plate("data", len(x)):
            if c is None:
                pyro.sample("c", dist.Normal(x, 1.0).to_event(1))
                pyro.sample("u", dist.Normal(x, 1.0).to_event(1))

    x, model = torch.randn(4, 2), Labelled()
    gan = TraceMI_GAN(Seen(), codes="c", observed="c")
    for _ in range(2):
        terms = gan.terms(model, reading, x, torch.randn(4, 2))
        assert terms["mi"] == 0
    assert "mi/c" not in terms
    assert len(runs) == 3
    with pytest.raises(ValueError, match=r"the guide has the sites \['u'\]"):
        gan.terms(model, reading, x)


def test_an_infinite_bound_is_infinite():
    """As for TraceMI_ELBO, and no NaN."""

    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x, 1e-160).to_event(1))

    gan = TraceMI_GAN(Seen(), codes="c")
    terms = gan.terms(Model(), narrow, torch.randn(4, 2))
    assert terms["mi"] == -torch.inf
    assert terms["loss/model"] == terms["loss/reader"] == torch.inf
    off = TraceMI_GAN(Seen(), codes="c", mi_weight=0.0)
    assert off.terms(Model(), narrow, torch.randn(4, 2))["loss/model"].isfinite()
