"""One pair with batch normalisation and dropout, written in each of the styles of Pyro's users."""

import functools

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import nn


def networks():
    encoder = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4)
    )
    return encoder, nn.Linear(2, 3)


def model_of(decoder, x, register=True):
    if register:
        pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)


def guide_of(encoder, x, register=True):
    if register:
        pyro.module("encoder", encoder)
    loc, log_scale = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def modules():
    encoder, decoder = networks()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = decoder

        def forward(self, x):
            model_of(self.net, x, register=False)

    class Guide(Model):
        def __init__(self):
            super().__init__()
            self.net = encoder

        def forward(self, x):
            guide_of(self.net, x, register=False)

    return Model(), Guide(), (encoder, decoder)


def closures():
    encoder, decoder = networks()

    def model(x):
        model_of(decoder, x)

    def guide(x):
        guide_of(encoder, x)

    return model, guide, (encoder, decoder)


def lambdas():
    encoder, decoder = networks()
    return lambda x: model_of(decoder, x), lambda x: guide_of(encoder, x), (encoder, decoder)


def partials():
    encoder, decoder = networks()
    return (
        functools.partial(model_of, decoder),
        functools.partial(guide_of, encoder),
        (encoder, decoder),
    )


class Tutorial(nn.Module):
    """The VAE of Pyro's tutorial."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = networks()

    def model(self, x):
        model_of(self.decoder, x)

    def guide(self, x):
        guide_of(self.encoder, x)


class Unregistered(Tutorial):
    """Without ``pyro.module``: its owner says which parameters there are."""

    def model(self, x):
        model_of(self.decoder, x, register=False)

    def guide(self, x):
        guide_of(self.encoder, x, register=False)


class Plain:
    """No module, its networks in a dict."""

    def __init__(self):
        encoder, decoder = networks()
        self.networks = {"encoder": encoder, "decoder": [decoder]}

    def model(self, x):
        model_of(self.networks["decoder"][0], x)

    def guide(self, x):
        guide_of(self.networks["encoder"], x)


class Callable_(Plain):
    """Instances that are called."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __call__(self, x):
        getattr(self.owner, self.name)(x)


def of_methods(cls):
    owner = cls()
    parts = owner.networks if isinstance(owner, Plain) else vars(owner)["_modules"]
    decoder = parts["decoder"]
    decoder = decoder[0] if isinstance(decoder, list) else decoder
    return owner.model, owner.guide, (parts["encoder"], decoder)


def callables():
    owner = Plain()
    networks_ = owner.networks["encoder"], owner.networks["decoder"][0]
    return Callable_(owner, "model"), Callable_(owner, "guide"), networks_


GLOBAL = {}


def global_model(x):
    model_of(GLOBAL["decoder"], x)


def global_guide(x):
    guide_of(GLOBAL["encoder"], x)


def globals_():
    GLOBAL["encoder"], GLOBAL["decoder"] = networks()
    return global_model, global_guide, (GLOBAL["encoder"], GLOBAL["decoder"])


def handled():
    model, guide, parts = closures()
    return pyro.poutine.scale(model, scale=1.0), pyro.poutine.mask(guide, mask=True), parts


def pyro_modules():
    """Functions that call PyroModules made under Pyro's default settings."""
    encoder, decoder = networks()
    encoder, decoder = PyroModule[nn.Sequential](*encoder), decoder
    return lambda x: model_of(decoder, x), lambda x: guide_of(encoder, x), (encoder, decoder)


STYLES = {
    "modules": modules,
    "closures": closures,
    "lambdas": lambdas,
    "partials": partials,
    "tutorial": functools.partial(of_methods, Tutorial),
    "unregistered": functools.partial(of_methods, Unregistered),
    "plain": functools.partial(of_methods, Plain),
    "callables": callables,
    "globals": globals_,
    "handled": handled,
    "pyro_modules": pyro_modules,
}
