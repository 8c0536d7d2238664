"""TraceMI_GAN: what is refused, before a step and with what to do."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_mivae.infer import MinibatchDiscrimination, TraceMI_GAN


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def latents(self, x):
        c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        return self.net(torch.cat([c, z], -1))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.latents(x), 0.5).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, noise=False):
        super().__init__()
        self.net, self.noise = nn.Linear(2, 2), noise

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(self.net(x), 1.0).to_event(1))
            if self.noise:
                pyro.sample("z", dist.Normal(x[:, :1], 1.0).to_event(1))


X = torch.linspace(-1, 1, 10).reshape(5, 2)
CALLS = ("terms", "loss", "loss_and_grads", "steps", "reader_step", "players", "__call__")


def gan(discriminator=None, **options):
    return TraceMI_GAN(discriminator or nn.Linear(2, 1), **{"codes": "c", **options})


def refused(match, model=None, guide=None, discriminator=None, args=(X,), **options):
    with pytest.raises(ValueError, match=match):
        gan(discriminator, **options).terms(model or Model(), guide or Guide(), *args)


# When it is made.


def test_codes_have_no_default():
    with pytest.raises(TypeError, match="codes has no default: name the latent sites"):
        TraceMI_GAN(nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channel": "sleep"}, "channel 'sleep' cuts x' off from the model"),
        ({"channel": "mode"}, "unknown channel 'mode'"),
        ({"adversary": "least-squares"}, "unknown adversary 'least-squares': expected one of non"),
        ({"gradient_penalty": -1.0}, "gradient_penalty must be a finite number >= 0"),
        ({"gradient_penalty": lambda step: 1.0}, "gradient_penalty must be a number"),
        ({"num_dual_particles": 0}, "num_dual_particles must be at least 1, found 0"),
        ({"mi_weight": -1.0}, r"mi_weight \(lambda\) must be a finite number >= 0"),
        ({"mi_weight": {"c": 1.0, "e": 1.0}}, r"names the sites \['e'\], but the code sites"),
        ({"mi_weight": {}}, "is an empty mapping"),
        ({"code_scale": {"z": 1.0}}, r"code_scale names the sites \['z'\]"),
        ({"code_scale": 0.0}, "code_scale must be a positive number"),
        ({"codes": ()}, "codes is empty"),
        ({"data_args": 3}, "data_args: expected a mapping"),
    ],
)
def test_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        gan(**options)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (nn.Identity, r"found Identity: call it, Identity\(...\)"),
        (lambda x: x.sum(-1), "expected a torch.nn.Module that maps data to one logit"),
        (None, "found NoneType"),
    ],
)
def test_a_discriminator_is_a_module(wrong, words):
    with pytest.raises(ValueError, match=words):
        TraceMI_GAN(wrong, codes="c")


# At the first call, of every method.


@pytest.mark.parametrize("name", CALLS)
def test_every_call_looks_first(name):
    guide = Guide(noise=True)
    with pytest.raises(ValueError, match="the guide has the sites"):
        getattr(gan(), name)(Model(), guide, X)
    assert guide.net.weight.grad is None


def test_a_guide_with_noise():
    refused(
        r"the guide has the sites \['z'\], which are no codes.*codes=\['c', 'z'\]",
        guide=Guide(noise=True),
    )


def test_auxiliary_sites_of_the_guide_are_its_own():
    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(x[:, 0], 1.0), infer={"is_auxiliary": True})
            pyro.sample("c", dist.Normal(x + u[:, None], 1.0).to_event(1))

    assert gan().terms(Model(), guide, X)["mi"].isfinite()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ((nn.Linear(2, 3),), r"\(5, 3\)"),
        ((nn.Identity(),), r"\(5, 2\)"),
        ((nn.Flatten(0), nn.Linear(10, 1)), r"\(1,\)"),
    ],
)
def test_a_discriminator_of_the_wrong_shape(layers, shape):
    words = rf"the discriminator gave shape {shape} for data of .*expected a tensor with one logit"
    refused(words, discriminator=nn.Sequential(*layers))


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.net = function, nn.Linear(2, 1)

    def forward(self, x):
        return self.function(x, self.net)


def test_a_discriminator_that_gives_no_tensor():
    refused("the discriminator gave tuple", discriminator=Returns(lambda x, net: (net(x), x)))


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: x.round().detach()])
def test_a_discriminator_without_a_gradient(cut):
    refused(
        "the discriminator's output has no gradient in the data",
        discriminator=Returns(lambda x, net: net(cut(x))),
    )


def test_a_sigmoid_at_the_end():
    with pytest.warns(UserWarning, match="the discriminator ends with a sigmoid"):
        gan(nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())).terms(Model(), Guide(), X)


def test_a_gradient_penalty_across_the_batch():
    discriminator = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    with pytest.warns(UserWarning, match="the discriminator normalises by the batch"):
        gan(discriminator, adversary="wasserstein").terms(Model(), Guide(), X)


def test_a_model_without_data():
    def nothing(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    refused("the model generates no data in this call", model=nothing)


def test_a_model_whose_data_are_covariates():
    refused("the model generates no data in this call", observed="x")


def test_a_call_that_observes_all_codes_needs_data():
    def labelled(x, c=None):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=c)

    refused(
        "the model generates no data",
        model=labelled,
        guide=lambda x, c=None: None,
        args=(X, X.clone()),
        observed="c",
    )


def test_draws_that_no_gradient_passes():
    class Bits(Model):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Bernoulli(logits=self.latents(x)).to_event(1), obs=x)

    x = (X > 0).float()
    words = "site 'x' is a Bernoulli, which has no reparameterised sampler: use channel='mean'"
    refused(words, model=Bits(), args=(x,), channel="sample")
    for channel in ("mean", "straight-through"):
        gan(channel=channel).terms(Bits(), Guide(), x)


def test_a_site_without_a_mean():
    class Class(Model):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Categorical(logits=self.latents(x)), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(x[:, None].float().expand(-1, 2), 1.0).to_event(1))

    x = torch.tensor([0, 1, 1])
    words = "site 'x' is a Categorical, which has no useful mean: give it a distribution that has"
    refused(words, model=Class(), guide=guide, args=(x,))


def test_codes_that_model_or_guide_lack():
    refused("the guide has no site for the code 'z'", codes=("c", "z"))
    refused("codes names the site 'e', which the model does not have", codes=("c", "e"))


class Shared(Model):
    def __init__(self, net):
        super().__init__()
        self.net = net


def test_players_that_share_a_module_that_both_use():
    net = nn.Linear(3, 2)
    discriminator = nn.Sequential(nn.ConstantPad1d((0, 1), 0.0), net, nn.Linear(2, 1))
    words = r"model and its opponent share the parameters \['model.net.weight', 'model.net.bias'\]"
    refused(words, model=Shared(net), discriminator=discriminator)
    for name in CALLS:
        with pytest.raises(ValueError, match=words):
            getattr(gan(discriminator), name)(Shared(net), Guide(), X)


def test_players_that_hold_a_module_of_the_other():
    model, guide = Model(), Guide()
    guide.unused = model.net
    refused(r"share the parameters \['model.net.weight'", model=model, guide=guide)


def test_functions_that_share_a_module():
    net = nn.Linear(2, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(net(c), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(net(x), 1.0).to_event(1))

    refused(r"share the parameters \['Linear.weight', 'Linear.bias'\]", model=model, guide=guide)


def test_what_is_frozen_may_be_shared():
    net = nn.Linear(3, 2).requires_grad_(requires_grad=False)
    model = Shared(net)
    model.scale = nn.Parameter(torch.ones(()))
    guide = Guide()
    guide.other = net
    assert gan().terms(model, guide, X)["mi"].isfinite()


class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def forward(self, data, y):
        return self.net(data)


def test_arguments_that_a_discriminator_asks_for():
    refused(r"takes 'y', which is no argument of the call.*\['x'\]", discriminator=Asks())

    class Other(Model):
        def forward(self, y):
            super().forward(y)

    refused("'y' holds the data of site 'x'", model=Other(), discriminator=Asks())


def test_sites_with_other_numbers_of_data():
    class Two(Model):
        def forward(self, x, y):
            super().forward(x)
            with pyro.plate("other", len(y)):
                pyro.sample("y", dist.Normal(self.net.bias[0], 1.0), obs=y)

    def guide(x, y):
        Guide()(x)

    words = r"different numbers of data, \{'x': 5, 'y': 3\}"
    refused(words, model=Two(), guide=guide, args=(X, torch.zeros(3)))


def test_minibatch_discrimination_asks_for_flat_features():
    layer = MinibatchDiscrimination(4)
    with pytest.raises(ValueError, match=r"expected features of shape \(batch, 4\), found \(2, 2"):
        layer(torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match="kernels must be a whole number of at least 1"):
        MinibatchDiscrimination(4, kernels=0)
