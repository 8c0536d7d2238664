"""NumPyro: `SVI` with a jitted update, and an epoch as one compiled loop."""

from __future__ import annotations

import os
from typing import Any

# Or JAX takes three quarters of a GPU that others use, too, and its peak is unknown.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array, random
from numpyro.infer import SVI, Trace_ELBO
from numpyro.optim import Adam

from benchmarks.contenders import (
    CODE,
    LATENT,
    PIXELS,
    SCALE_FLOOR,
    SCALE_SHIFT,
    Layers,
    Problem,
    cycle,
    weights,
)


def _network(name: str, layers: Layers, x: Array) -> Array:
    for i, (weight, bias) in enumerate(layers):
        x = x @ numpyro.param(f"{name}{i}.weight", jnp.asarray(weight.T))
        x = x + numpyro.param(f"{name}{i}.bias", jnp.asarray(bias))
        if i < len(layers) - 1:
            x = jax.nn.softplus(x)
    return x


class NumPyroSVI:
    """See the module."""

    def __init__(self, problem: Problem) -> None:
        self.layers, self.mi = weights(), problem.mi
        self.batch_size = problem.batch_size
        self.images = jnp.asarray(problem.images.reshape(-1, PIXELS))
        parts = [jnp.asarray(p.reshape(-1, PIXELS)) for p in problem.batches()]
        self.next = cycle(parts)
        svi = SVI(self.model, self.guide, Adam(problem.learning_rate), Trace_ELBO())
        # The state is donated: its memory is used again, as torch's updates in place do.
        self.update = jax.jit(svi.update, donate_argnums=0)

        # As in NumPyro's own example of a VAE: the loop over the batches is compiled, too.
        def whole(state: Any, images: Array, key: Array, number: int) -> Any:
            order = random.permutation(key, len(images)).reshape(-1, self.batch_size)

            def body(i: Any, state: Any) -> Any:
                grey = images[order[i]] / 255.0
                x = random.bernoulli(random.fold_in(key, i), grey).astype(jnp.float32)
                return svi.update(state, x)[0]

            return jax.lax.fori_loop(0, number, body, state)

        self.whole = jax.jit(whole, donate_argnums=0)
        self.state = svi.init(random.PRNGKey(0), parts[0])
        self.key = random.PRNGKey(1)

    def encode(self, x: Array) -> tuple[Array, Array]:
        """Returns mean and standard deviation of q(z|x)."""
        loc, raw = jnp.split(_network("encoder", self.layers[:3], x), 2, -1)
        return loc, jax.nn.softplus(raw + SCALE_SHIFT) + SCALE_FLOOR

    def model(self, x: Array) -> None:
        """Defines p(z) p(x|z)."""
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            logits = _network("decoder", self.layers[3:], z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)
            if self.mi:
                numpyro.factor("mi", self.information(len(x)))

    def information(self, size: int) -> Array:
        """Returns log q(c|x') - log p(c) at a draw of the prior; x' is the decoder's mean."""
        drawn = random.normal(numpyro.prng_key(), (size, LATENT))
        logits = _network("decoder", self.layers[3:], drawn)
        loc, scale = self.encode(jax.nn.sigmoid(logits))
        code = drawn[:, :CODE]
        posterior = dist.Normal(loc[:, :CODE], scale[:, :CODE])
        return (posterior.log_prob(code) - dist.Normal(0.0, 1.0).log_prob(code)).sum(-1)

    def guide(self, x: Array) -> None:
        """Defines q(z|x)."""
        with numpyro.plate("data", len(x)):
            loc, scale = self.encode(x)
            numpyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def step(self) -> Array:
        """Makes one update on a batch in memory."""
        self.state, loss = self.update(self.state, self.next())
        return loss / self.batch_size

    def epoch(self, limit: int | None = None) -> None:
        """Passes over all images, by index within the compiled loop."""
        self.key, key = random.split(self.key)
        number = len(self.images) // self.batch_size
        self.state = self.whole(self.state, self.images, key, min(number, limit or number))

    def wait(self) -> None:
        """Waits for the device: JAX returns before the work is done."""
        jax.block_until_ready(self.state.optim_state)


def make(problem: Problem) -> NumPyroSVI:
    """Makes the contender."""
    return NumPyroSVI(problem)


def peak_memory() -> float | None:
    """Returns the peak of the GPU's memory, MiB; None on a CPU."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] / 2**20 if stats else None
