"""Oracle models: their information, bounds and gradients are known without sampling.

The discrete ones draw through scripted distributions: ``expectation(run)`` runs an estimator
once for every outcome of its draws and adds the results up by their probability, so that
unbiasedness can be held to rounding error.
"""

import itertools
import math
from contextlib import ExitStack, contextmanager
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_mivae.infer.dual import crossing_look, multisample


class Script:
    """Dictates the draws of scripted distributions, and notes their probability."""

    current = None

    def __init__(self, prefix):
        self.prefix, self.choices, self.sizes, self.weight = prefix, [], [], 1.0

    def choose(self, probs):
        """Indices along the last dimension of `probs`."""
        flat = probs.detach().reshape(-1, probs.shape[-1])
        chosen = []
        for row in flat:
            place = len(self.choices)
            choice = self.prefix[place] if place < len(self.prefix) else 0
            self.choices.append(choice)
            self.sizes.append(len(row))
            self.weight *= float(row[choice])
            chosen.append(choice)
        return torch.tensor(chosen).reshape(probs.shape[:-1])


@contextmanager
def unscripted_looks():
    """The looks at a pair's plates draw for themselves; the result depends on none of it."""

    def unscripted(look):
        def wrapped(*args):
            script, Script.current = Script.current, None
            try:
                return look(*args)
            finally:
                Script.current = script

        return wrapped

    places = ((crossing_look, "crossed_plates"), (multisample, "_dependent"))
    with ExitStack() as stack:
        for module, name in places:
            look = unscripted(getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, look))
        yield


def expectation(run):
    """The exact expectation of the tensor ``run()`` over all scripted draws that it makes."""
    total, pending, mass = 0.0, [()], 0.0
    while pending:
        prefix = pending.pop()
        Script.current = script = Script(prefix)
        try:
            with unscripted_looks():
                value = run()
        finally:
            Script.current = None
        total = total + script.weight * value
        mass += script.weight
        choices = tuple(script.choices)
        for place in range(len(prefix), len(choices)):
            pending += [(*choices[:place], v) for v in range(1, script.sizes[place])]
    assert abs(mass - 1) < 1e-9
    return total


class Bernoulli(dist.Bernoulli):
    def sample(self, sample_shape=()):
        if Script.current is None:
            return super().sample(sample_shape)
        probs = self.probs.expand(self._extended_shape(sample_shape))
        return Script.current.choose(torch.stack([1 - probs, probs], -1)).to(probs.dtype)


class Categorical(dist.Categorical):
    def sample(self, sample_shape=()):
        if Script.current is None:
            return super().sample(sample_shape)
        shape = self._extended_shape(sample_shape)
        return Script.current.choose(self.probs.expand(*shape, self.probs.shape[-1]))


class OneHotCategorical(dist.OneHotCategorical):
    def sample(self, sample_shape=()):
        if Script.current is None:
            return super().sample(sample_shape)
        probs = self.probs.expand(self._extended_shape(sample_shape))
        return nn.functional.one_hot(Script.current.choose(probs), probs.shape[-1]).to(probs.dtype)


def gradients(value, module):
    """The gradient of `value` for each parameter of `module`, zeros where there is none."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g.detach()
        for name, p, g in zip(names, parameters, found, strict=True)
    }


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def mean_and_error(values):
    """Mean over the first dimension and its standard error."""
    values = torch.stack(list(values))
    return values.mean(0), values.std(0) / math.sqrt(len(values))


class LinearGaussian(nn.Module):
    """z ~ N(m, t²), x ~ N(Wz + b, s²); guide N(Ax + a, LLᵀ). Everything in closed form."""

    def __init__(self, code_dim=2, data_dim=3, exact=True):
        super().__init__()
        torch.manual_seed(1)
        self.W = nn.Parameter(torch.randn(data_dim, code_dim))
        self.b = nn.Parameter(torch.randn(data_dim))
        self.log_s = nn.Parameter(torch.tensor(-0.3))
        self.m = nn.Parameter(torch.zeros(code_dim))
        self.log_t = nn.Parameter(torch.zeros(code_dim))
        with torch.no_grad():
            s2 = (2 * self.log_s).exp()
            covariance = torch.linalg.inv(torch.eye(code_dim) + self.W.T @ self.W / s2)
            self.A = nn.Parameter(covariance @ self.W.T / s2)
            self.a = nn.Parameter(-self.A @ self.b)
            self.L = nn.Parameter(torch.linalg.cholesky(covariance))
            if not exact:  # away from every stationary point
                for p in (self.m, self.log_t, self.A, self.a):
                    p.add_(0.2 * torch.randn_like(p))
                self.L.add_(0.2 * torch.eye(code_dim))

    model_parameters = ("W", "b", "log_s", "m", "log_t")

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.m, self.log_t.exp()).to_event(1))
            x_loc = z @ self.W.T + self.b
            pyro.sample("x", dist.Normal(x_loc, self.log_s.exp()).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc = x @ self.A.T + self.a
            pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.L.tril()))

    def subsampled(self, size):
        """Model and guide of data of which a call takes `size`."""

        def model(x):
            with pyro.plate("data", len(x), subsample_size=size) as i:
                z = pyro.sample("z", dist.Normal(self.m, self.log_t.exp()).to_event(1))
                loc = z @ self.W.T + self.b
                pyro.sample("x", dist.Normal(loc, self.log_s.exp()).to_event(1), obs=x[i])

        def guide(x):
            with pyro.plate("data", len(x), subsample_size=size) as i:
                loc = x[i] @ self.A.T + self.a
                pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.L.tril()))

        return model, guide

    def data(self, size):
        return torch.zeros(size, len(self.b))

    def information(self):
        """I(z; x) = ½ log det(I + t Wᵀ W t / s²)."""
        scaled = self.W * self.log_t.exp() / self.log_s.exp()
        return 0.5 * torch.logdet(torch.eye(len(self.m)) + scaled.T @ scaled)

    def bound(self, channel="sample"):
        """What one datum's term estimates, under x' drawn or (``"mean"``) its mean."""
        t2, s2 = torch.diag((2 * self.log_t).exp()), (2 * self.log_s).exp()
        if channel == "mean":
            s2 = torch.zeros(())
        gain = torch.eye(len(self.m)) - self.A @ self.W
        offset = gain @ self.m - self.A @ self.b - self.a
        second = gain @ t2 @ gain.T + s2 * self.A @ self.A.T + torch.outer(offset, offset)
        L = self.L.tril()
        log_q = -L.diagonal().log().sum() - 0.5 * torch.trace(torch.cholesky_solve(second, L))
        return log_q + self.log_t.sum() + 0.5 * len(self.m)


class CodeAndNoise(nn.Module):
    """c, u ~ N(0, I), x ~ N(Wc + Vu + b, s²): I(c; x) in closed form for a code among others.

    The guide has the exact means of the joint posterior, and its variances times `width`², as if
    the dimensions were independent; `order` is ``"c,u"``, ``"u,c"`` (c given x only in both) or
    ``"c|u"``, where the guide draws u first and c given it, as exact.
    """

    def __init__(self, order="c,u", dims=(1, 2, 3), width=1.2):
        super().__init__()
        torch.manual_seed(4)
        code, noise, data = dims
        self.order, self.code_dim, self.noise_dim, self.width = order, code, noise, width
        self.W, self.V = torch.randn(data, code), torch.randn(data, noise)
        self.b, self.s = torch.randn(data), torch.tensor(0.7)
        both = torch.cat([self.W, self.V], 1)
        self.precision = torch.eye(code + noise) + both.T @ both / self.s**2
        self.covariance = torch.linalg.inv(self.precision)
        self.gain = self.covariance @ both.T / self.s**2

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(self.code_dim), 1.0).to_event(1))
            u = pyro.sample("u", dist.Normal(torch.zeros(self.noise_dim), 1.0).to_event(1))
            loc = c @ self.W.T + u @ self.V.T + self.b
            pyro.sample("x", dist.Normal(loc, self.s).to_event(1), obs=x)

    def guide(self, x):
        mean = (x - self.b) @ self.gain.T
        c_mean, u_mean = mean[..., : self.code_dim], mean[..., self.code_dim :]
        scale = self.width * self.covariance.diagonal().sqrt()
        q_u = dist.Normal(u_mean, scale[self.code_dim :]).to_event(1)
        with pyro.plate("data", len(x)):
            if self.order != "c,u":
                u = pyro.sample("u", q_u)
            if self.order == "c|u":
                P = self.precision
                within, across = (
                    P[: self.code_dim, : self.code_dim],
                    P[: self.code_dim, self.code_dim :],
                )
                c_mean = c_mean - (u - u_mean) @ torch.linalg.solve(within, across).T
                c_scale = self.width * torch.linalg.inv(within).diagonal().sqrt()
            else:
                c_scale = scale[: self.code_dim]
            pyro.sample("c", dist.Normal(c_mean, c_scale).to_event(1))
            if self.order == "c,u":
                pyro.sample("u", q_u)

    def data(self, size):
        return torch.zeros(size, len(self.b))

    def information(self):
        """I(c; x) = ½ log det(I + Wᵀ (VVᵀ + s²I)⁻¹ W)."""
        noise = self.V @ self.V.T + self.s**2 * torch.eye(len(self.b))
        return 0.5 * torch.logdet(
            torch.eye(self.code_dim) + self.W.T @ torch.linalg.solve(noise, self.W)
        )


WEIGHTS = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)
"""x_d = w_d z_d + noise: dimensions of which each has a known information of its own."""


def by_dimension(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(WEIGHTS * z, 1.0).to_event(1), obs=x)


def by_dimension_guide(width=1.0, shift=0.0):
    """The posterior N(w x / (1 + w^2), 1 / (1 + w^2)), made wider and moved."""

    def guide(x):
        precision = 1 + WEIGHTS**2
        loc, scale = WEIGHTS * x / precision + shift, width * precision**-0.5
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return guide


class GaussianBernoulli(nn.Module):
    """z ~ N(m, t²), x ~ Bernoulli(sigmoid(Wz + b)); guide N(Ax + a, s²): gradients by hand."""

    def __init__(self, code_dim=2, data_dim=3):
        super().__init__()
        torch.manual_seed(2)
        self.W = nn.Parameter(torch.randn(data_dim, code_dim))
        self.b = nn.Parameter(torch.randn(data_dim))
        self.m = nn.Parameter(0.3 * torch.randn(code_dim))
        self.t = nn.Parameter(torch.rand(code_dim) + 0.5)
        self.A = nn.Parameter(torch.randn(code_dim, data_dim))
        self.a = nn.Parameter(torch.randn(code_dim))
        self.s = nn.Parameter(torch.rand(code_dim) + 0.5)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.m, self.t).to_event(1))
            logits = z @ self.W.T + self.b
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.A.T + self.a, self.s).to_event(1))

    def by_hand(self, channel, z, x):
        """The channel's gradient at the draws z, x, without automatic differentiation.

        The score of datum n is f_n = log q(z_n|x_n) - log p(z_n), z_n = m + t ε_n.
        """
        probs = torch.sigmoid(z @ self.W.T + self.b)
        x = probs if channel == "mean" else x
        residual = (z - x @ self.A.T - self.a) / self.s**2
        noise = (z - self.m) / self.t
        f = dist.Normal(x @ self.A.T + self.a, self.s).log_prob(z).sum(-1)
        f = f - dist.Normal(self.m, self.t).log_prob(z).sum(-1)
        guide = {
            "A": residual.T @ x,
            "a": residual.sum(0),
            "s": (residual**2 * self.s - 1 / self.s).sum(0),
        }
        # By the logits: through x' itself, or by the score function times f less the
        # mean of the other data's f.
        if channel == "sleep":
            zero = {name: torch.zeros_like(p) for name, p in self.named_parameters()}
            return {**zero, **guide}
        if channel == "sample":
            others = (f.sum() - f) / (len(f) - 1)
            by_logits = (x - probs) * (f - others)[:, None]
        else:
            by_logits = residual @ self.A * probs * (1 - probs)
        # z moves with m and t: directly in log q, in log p through noise, and in the logits.
        by_z = -residual + by_logits @ self.W
        return {
            **guide,
            "W": by_logits.T @ z,
            "b": by_logits.sum(0),
            "m": by_z.sum(0),
            "t": (by_z * noise).sum(0) + len(z) / self.t,
        }


class Bits(nn.Module):
    """Code c and noise z of one bit each, x of several; the guide's order of c and z is free.

    p(c) p(z|c) p(x|c,z) and q(c,z|x) = q(c|x) q(z|x,c), or q(z|x) q(c|x,z), or both independent.

    Args:
        order: ``"c"`` (no noise in the guide), ``"c,z"``, ``"z,c"`` (the guide's order) or
            ``"independent"``.
    """

    def __init__(self, order="c", data_dim=2, sharpness=1.0, z_from_c=0.0):
        super().__init__()
        torch.manual_seed(3)
        self.order, self.data_dim = order, data_dim
        draw = lambda *shape: nn.Parameter(sharpness * torch.randn(shape))  # noqa: E731
        self.p_c, self.p_z = draw(), draw()
        self.p_x_c, self.p_x_z, self.p_x = draw(data_dim), draw(data_dim), draw(data_dim)
        self.q_c_x, self.q_c_z, self.q_c = draw(data_dim), draw(), draw()
        self.q_z_x, self.q_z_c, self.q_z = draw(data_dim), draw(), draw()
        self.z_from_c = z_from_c

    model_parameters = ("p_c", "p_z", "p_x_c", "p_x_z", "p_x")

    @property
    def has_noise(self):
        return self.order != "c"

    def prior_z(self, c):
        return Bernoulli(logits=self.p_z + self.z_from_c * c)

    def likelihood(self, c, z):
        logits = self.p_x + self.p_x_c * c[..., None] + self.p_x_z * z[..., None]
        return Bernoulli(logits=logits).to_event(1)

    def posterior_c(self, x, z=None):
        logits = x @ self.q_c_x + self.q_c
        return Bernoulli(logits=logits if z is None else logits + self.q_c_z * z)

    def posterior_z(self, x, c=None):
        logits = x @ self.q_z_x + self.q_z
        return Bernoulli(logits=logits if c is None else logits + self.q_z_c * c)

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", Bernoulli(logits=self.p_c))
            z = pyro.sample("z", self.prior_z(c)) if self.has_noise else torch.zeros_like(c)
            pyro.sample("x", self.likelihood(c, z), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.posterior_z(x)) if self.order == "z,c" else None
            c = pyro.sample("c", self.posterior_c(x, z))
            if self.order == "c,z":
                pyro.sample("z", self.posterior_z(x, c))
            elif self.order == "independent":
                pyro.sample("z", self.posterior_z(x))

    def data(self, size):
        return torch.zeros(size, self.data_dim)

    def outcomes(self):
        """All (c, z, x) and their log-probabilities; z is 0 where there is no noise."""
        bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2 + self.data_dim)))
        c, z, x = bits[:, 0], bits[:, 1], bits[:, 2:]
        if not self.has_noise:
            c, z, x = (v[bits[:, 1] == 0] for v in (c, z, x))
        log_p = dist.Bernoulli(logits=self.p_c).log_prob(c) + self.likelihood(c, z).log_prob(x)
        return c, z, x, log_p + (self.prior_z(c).log_prob(z) if self.has_noise else 0)

    def information(self, *, with_noise=False):
        """I(c; x), or I(c; (x, z))."""
        c, z, x, log_p = self.outcomes()
        joint = {}
        for c_, z_, x_, p in zip(c.tolist(), z.tolist(), x.tolist(), log_p.exp(), strict=True):
            key = (c_, tuple(x_), z_ if with_noise else None)
            joint[key] = joint.get(key, 0.0) + p
        total = 0.0
        for (c_, *rest), p in joint.items():
            p_c = sum(v for k, v in joint.items() if k[0] == c_)
            p_rest = sum(v for k, v in joint.items() if list(k[1:]) == rest)
            total = total + p * (p / p_c / p_rest).log()
        return total

    def bound(self, *, replay_noise=False):
        """E[log q(c|x', ..) - log p(c)], the guide's own noise summed over too."""
        c, z, x, log_p = self.outcomes()
        prior = dist.Bernoulli(logits=self.p_c).log_prob(c)
        if self.order != "z,c":
            return (log_p.exp() * (self.posterior_c(x).log_prob(c) - prior)).sum()
        if replay_noise:
            return (log_p.exp() * (self.posterior_c(x, z).log_prob(c) - prior)).sum()
        total = 0.0
        for own in (torch.zeros_like(c), torch.ones_like(c)):
            q = self.posterior_z(x).log_prob(own).exp()
            total = total + (log_p.exp() * q * (self.posterior_c(x, own).log_prob(c) - prior)).sum()
        return total

    def negative_elbo(self, x, beta=1.0):
        """Of data x, for the guide without noise: by summing c out."""
        total = 0.0
        for value in (0.0, 1.0):
            c = torch.full(x.shape[:1], value)
            log_q = self.posterior_c(x).log_prob(c)
            log_p = dist.Bernoulli(logits=self.p_c).log_prob(c)
            log_x = self.likelihood(c, torch.zeros_like(c)).log_prob(x)
            total = total + (log_q.exp() * (beta * (log_q - log_p) - log_x)).sum()
        return total


class SymmetricChannel:
    """c uniform on K symbols; x is c, or another symbol with probability `flip`; exact guide."""

    def __init__(self, symbols, flip):
        off = flip / (symbols - 1)
        self.probs = torch.full((symbols, symbols), off)
        self.probs.fill_diagonal_(1 - flip)
        self.symbols = symbols
        log_ratio = self.probs[0].log() + math.log(symbols)
        self.information = float((self.probs[0] * log_ratio).sum())  # log K - H
        self.deviation = float((self.probs[0] * (log_ratio - self.information) ** 2).sum().sqrt())

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(self.symbols)))
            pyro.sample("x", dist.Categorical(self.probs[c]), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(self.probs[x]))


class UniformChannel:
    """c ~ U(-1, 1), x = c + U(-w, w), w <= 1, exact guide: I = w/2 - log w.

    x has a trapezium density of entropy log 2 + w/2; given c, of entropy log 2w.
    """

    def __init__(self, width):
        self.width = width
        self.information = width / 2 - math.log(width)

    def model(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(-torch.ones(()), torch.ones(())))
            pyro.sample("x", dist.Uniform(c - self.width, c + self.width), obs=x)

    def guide(self, x):
        edge = 1e-9  # a draw may leave the exact interval by rounding
        low = (x - self.width - edge).clamp(min=-1)
        high = (x + self.width + edge).clamp(max=1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Uniform(low, high))


RIGHT = 0.9
NATS = math.log(2 * RIGHT)
"""What `copy_bit` and `read_bit` give for each datum, whatever is drawn."""


def copy_bit(x, name="", prior=None):
    """A fair bit that the data repeat without noise."""
    c = pyro.sample(f"c{name}", dist.Bernoulli(0.5) if prior is None else prior)
    pyro.sample(f"x{name}", dist.Bernoulli(c), obs=x)


def read_bit(x, name=""):
    """Finds the bit in the data, with 90 % confidence."""
    pyro.sample(f"c{name}", dist.Bernoulli(1 - RIGHT + (2 * RIGHT - 1) * x))


def bit_model(x):
    with pyro.plate("data", len(x)):
        copy_bit(x)


def bit_guide(x):
    with pyro.plate("data", len(x)):
        read_bit(x)
