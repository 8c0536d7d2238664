"""vae, vae_comparison, ss_vae_M2 and cvae, small."""

import pyro
import pyro.distributions as dist
import torch
from structure import Net, Pair, Structure, bernoulli_table, hermite, information_of_table
from torch import nn

PIXELS, CLASSES = 4, 3


def images(size):
    return torch.bernoulli(torch.full((size, 1, 2, 2), 0.5))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Net(PIXELS, 2, 2)
        self.decoder = Net(2, PIXELS, gain=3)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            probs = self.decoder(z).sigmoid()
            likelihood = dist.Bernoulli(probs, validate_args=False).to_event(1)
            pyro.sample("obs", likelihood, obs=x.reshape(-1, PIXELS))
            return probs

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x.reshape(-1, PIXELS))
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))


def build_vae(size):
    vae = VAE()
    return Pair(vae.model, vae.guide, (images(size),), size, {"decoder": vae.decoder})


def build_comparison(size):
    """Two modules that know nothing of Pyro; the encoder gives a variance."""
    encoder, decoder = Net(PIXELS, 2, 2), nn.Sequential(Net(2, PIXELS, gain=3), nn.Sigmoid())

    def model(data):
        network = pyro.module("decoder", decoder)
        with pyro.plate("data", data.size(0)):
            zeros = torch.zeros(data.size(0), 2)
            z = pyro.sample("latent", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            pixels = dist.Bernoulli(network.forward(z), validate_args=False)
            pyro.sample("obs", pixels.to_event(1), obs=data.reshape(-1, PIXELS))

    def guide(data):
        network = pyro.module("encoder", encoder)
        with pyro.plate("data", data.size(0)):
            loc, log_var = network.forward(data.reshape(-1, PIXELS))
            pyro.sample("latent", dist.Normal(loc, log_var.exp().sqrt()).to_event(1))

    return Pair(model, guide, (images(size),), size, {"decoder": decoder[0]})


@torch.no_grad()
def exact_vae(pair):
    nodes, weights = hermite(2)
    return information_of_table(bernoulli_table(pair.known["decoder"](nodes)), weights).item(), 0.0


def place_images(generated, args):
    return (generated["obs"].reshape(args[0].shape),)


class SSVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder_y = Net(PIXELS, CLASSES)
        self.encoder_z = Net(PIXELS + CLASSES, 2, 2)
        self.decoder = Net(2 + CLASSES, PIXELS, gain=3)

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        size = xs.size(0)
        with pyro.plate("data"):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(size, 2), 1.0).to_event(1))
            alpha = xs.new_ones(size, CLASSES) / CLASSES
            ys = pyro.sample("y", dist.OneHotCategorical(alpha), obs=ys)
            zs, ys = both(zs, ys)
            probs = self.decoder(torch.cat((zs, ys), -1)).sigmoid()
            pyro.sample("x", dist.Bernoulli(probs, validate_args=False).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            if ys is None:
                probs = self.encoder_y(xs).softmax(-1)
                ys = pyro.sample("y", dist.OneHotCategorical(probs))
            loc, log_scale = self.encoder_z(torch.cat(both(xs, ys), -1))
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def model_classify(self, xs, ys=None):
        pyro.module("ss_vae", self)
        with pyro.plate("data"):
            probs = self.encoder_y(xs).softmax(-1)
            if ys is not None:
                with pyro.poutine.scale(scale=46):
                    pyro.sample("y_aux", dist.OneHotCategorical(probs), obs=ys)

    def guide_classify(self, xs, ys=None):
        """Draws nothing, as Pyro's."""


def both(*values):
    shape = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
    return tuple(value.expand(*shape, value.shape[-1]) for value in values)


def build_unlabelled(size):
    vae = SSVAE()
    guide = pyro.infer.config_enumerate(vae.guide, "parallel", expand=True)
    return Pair(vae.model, guide, (images(size).reshape(size, PIXELS),), size, {"vae": vae})


def build_labelled(size):
    pair = build_unlabelled(size)
    labels = torch.eye(CLASSES)[torch.arange(size) % CLASSES]
    return Pair(pair.model, pair.guide, (*pair.args, labels), size, pair.known)


@torch.no_grad()
def tables(vae):
    """log p(x|z, y) of nodes of z, for each class; and the weights of the nodes."""
    nodes, weights = hermite(2)
    labels = torch.eye(CLASSES).to(nodes)
    return [bernoulli_table(vae.decoder(torch.cat(both(nodes, y), -1))) for y in labels], weights


def exact_label(pair):
    """I(y; x), the noise z summed out."""
    each, weights = tables(pair.known["vae"])
    log_lik = torch.stack([(table.exp() * weights[:, None]).sum(0).log() for table in each])
    uniform = torch.full((CLASSES,), 1 / CLASSES)
    return information_of_table(log_lik, uniform).item(), 0.0


def exact_style(pair):
    """I(z; x|y) of the labels of the data."""
    each, weights = tables(pair.known["vae"])
    values = torch.stack([information_of_table(table, weights) for table in each])
    return (pair.args[1].mean(0) @ values).item(), 0.0


class CVAE(nn.Module):
    """Completes images, of which three of four pixels are hidden (-1)."""

    def __init__(self):
        super().__init__()
        self.prior_net = Net(2 * PIXELS, 2, 2)
        self.decoder = Net(2, PIXELS, gain=3)
        self.recognition_net = Net(2 * PIXELS, 2, 2)
        self.baseline = Net(PIXELS, PIXELS)

    @staticmethod
    def read(net, xs, ys):
        loc, log_scale = net(torch.cat((xs, torch.where(xs == -1, ys, xs)), -1))
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def prior(self, xs):
        with torch.no_grad():
            first = self.baseline(xs).sigmoid()
        return self.read(self.prior_net, xs, first)

    def model(self, xs, ys=None):
        pyro.module("cvae", self)
        with pyro.plate("data"):
            probs = self.decoder(pyro.sample("z", self.prior(xs))).sigmoid()
            if ys is None:
                return pyro.deterministic("y", probs.detach())
            hidden = xs == -1
            probs_hidden = probs[hidden].view(len(xs), -1)
            hidden_ys = ys[hidden].view(len(xs), -1)
            pyro.sample("y", dist.Bernoulli(probs_hidden).to_event(1), obs=hidden_ys)

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            posterior = self.prior(xs) if ys is None else self.read(self.recognition_net, xs, ys)
            pyro.sample("z", posterior)


def build_cvae(size):
    cvae = CVAE()
    ys = images(size).reshape(size, PIXELS)
    shown = torch.arange(size) % PIXELS
    xs = torch.where(torch.arange(PIXELS) == shown[:, None], ys, -torch.ones(()))
    return Pair(cvae.model, cvae.guide, (xs, ys), size, {"cvae": cvae})


def place_hidden(generated, args):
    xs, ys = args
    hidden = xs == -1
    return xs, ys.to(generated["y"].dtype).masked_scatter(hidden, generated["y"])


@torch.no_grad()
def exact_cvae(pair):
    nodes, weights = hermite(2)
    cvae, xs = pair.known["cvae"], pair.args[0]
    values = []
    for x in xs.unique(dim=0):
        prior = cvae.prior(x).base_dist
        logits = cvae.decoder(prior.loc + prior.scale * nodes)[:, x == -1]
        value = information_of_table(bernoulli_table(logits), weights)
        values.append(value * (xs == x).all(-1).double().mean())
    return sum(values).item(), 0.0


STRUCTURES = [
    Structure("vae", build_vae, place_images, ("obs",), exact=exact_vae, codes="latent"),
    Structure(
        "vae_comparison", build_comparison, place_images, ("obs",), exact=exact_vae, codes="latent"
    ),
    Structure(
        "ss_vae_M2, unlabelled",
        build_unlabelled,
        lambda generated, args: (generated["x"],),
        ("x",),
        codes="y",
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        exact=exact_label,
    ),
    Structure(
        "ss_vae_M2, labelled",
        build_labelled,
        lambda generated, args: (generated["x"], args[1]),
        ("x",),
        codes="z",
        observed=("y",),
        base="TraceEnum",
        fallback="TraceEnum_ELBO reads values",
        exact=exact_style,
        silent="encoder_y",
    ),
    Structure(
        "cvae",
        build_cvae,
        place_hidden,
        ("y",),
        codes="z",
        data_args="callable",
        exact=exact_cvae,
        silent="baseline",
    ),
]
