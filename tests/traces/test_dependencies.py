"""The sites that each site depends on, in the model's program or the guide's."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_mivae.traces.dependencies import dependencies


def test_dependencies():
    def model(x):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.deterministic("b", 2 * a)
        point = pyro.sample("point", dist.Delta(b + 1))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(point, 1.0))
            d = pyro.sample("d", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(c + d, 1.0), obs=x)

    def foreign(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Bernoulli(0.5))
            if type(u) is not torch.Tensor:
                raise TypeError("only tensors")
            v = pyro.sample("v", dist.Normal(0.0, 1.0))
            pyro.sample("c", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(pyro.sample("point", dist.Delta(v)), 1.0), obs=x)

    def numpy(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.sample("v", dist.Normal(0.0, 1.0))
            moved = torch.from_numpy(np.array(u.tolist()))
            pyro.sample("c", dist.Normal(moved, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    none = frozenset()
    x = torch.randn(4)
    before = torch.get_rng_state()
    expected = {"a": none, "c": {"a"}, "d": none, "x": {"a", "c", "d"}}
    assert dependencies(model, (x,), {}) == expected
    assert dependencies(foreign, (x,), {}) == {"u": none, "v": none, "c": {"u"}, "x": {"v"}}
    assert dependencies(numpy, (), {"x": x}) == {"u": none, "v": none, "c": {"u"}, "x": none}
    assert torch.equal(torch.get_rng_state(), before)
