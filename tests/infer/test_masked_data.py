"""Masked data: x' keeps the data where no density counts, in the objective and all estimators."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

from pyro_mivae.infer import TraceMI_ELBO, dualize
from pyro_mivae.information import mi_per_dimension, sandwich

pytestmark = pytest.mark.usefixtures("float64")

N, NOISE = 2000, 0.5
LOADING = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


def table():
    mask = torch.rand(N, 4) > 0.5
    x = torch.randn(N, 2) @ LOADING.double().T + NOISE * torch.randn(N, 4)
    return torch.where(mask, x, 0.0), mask


def model(x, mask):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        fn = dist.Normal(z @ LOADING.to(z).T, NOISE)
        pyro.sample("x", fn.mask(mask).to_event(1), obs=x)


def guide(x, mask):
    """The exact posterior, which reads the stored zeros where data are missing."""
    counted = torch.stack([mask[:, :2].sum(1), mask[:, 2:].sum(1)], 1)
    precision = 1 + counted / NOISE**2
    with pyro.plate("data", len(x)):
        mean = x @ LOADING.to(x) / NOISE**2 / precision
        pyro.sample("z", dist.Normal(mean, precision**-0.5).to_event(1))


def exact(mask):
    counted = torch.stack([mask[:, :2].sum(1), mask[:, 2:].sum(1)], 1)
    return float((0.5 * (1 + counted / NOISE**2).log()).sum(1).mean())


@pytest.mark.parametrize("samples", [1, 3])
def test_the_term_is_the_information_of_what_is_counted(samples):
    x, mask = table()
    elbo = TraceMI_ELBO(channel="sample", num_dual_samples=samples, elbo=Trace_ELBO())
    with torch.no_grad():
        mi = float(elbo.terms(model, guide, x, mask)["mi"]) / N
    assert abs(mi - exact(mask)) < 5 * (2 / N) ** 0.5


def test_all_estimators_agree():
    x, mask = table()
    bounds = sandwich(model, guide, x, mask, num_samples=3, progress=False)
    by_dim = mi_per_dimension(model, guide, (x, mask), channel="sample")["z"].sum()
    for value in (bounds.lower.mean, bounds.upper.mean, float(by_dim)):
        assert abs(value - exact(mask)) < 5 * (2 / N) ** 0.5


@pytest.mark.parametrize("channel", ["mean", "sample", "straight-through", "sleep"])
@pytest.mark.parametrize("where", ["row", "entry"])
def test_the_guide_gets_the_data_where_they_are_masked(channel, where):
    x = torch.randn(6, 4)
    mask = torch.rand(6, 1 if where == "row" else 4) > 0.5
    seen = []

    def masked(x):
        with pyro.plate("data", 6):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = dist.Normal(z @ LOADING.to(z).T, NOISE)
            if where == "row":
                with poutine.mask(mask=mask[:, 0]):
                    pyro.sample("x", fn.to_event(1), obs=x)
            else:
                pyro.sample("x", fn.mask(mask).to_event(1), obs=x)

    def reading(x):
        seen.append(x.detach())
        with pyro.plate("data", 6):
            pyro.sample("z", dist.Normal(x @ LOADING.to(x), 1.0).to_event(1))

    TraceMI_ELBO(channel=channel).terms(masked, reading, x)
    generated = torch.Tensor(seen[-1].as_subclass(torch.Tensor))
    kept = (~mask).expand(6, 4)
    assert torch.equal(generated[kept], x[kept])
    assert not torch.isclose(generated[~kept], x[~kept]).any()


def test_the_dual_keeps_masked_data_too():
    x, mask = table()
    dual = dualize(model, guide)
    with torch.no_grad():
        z = dual.model.draw(x, mask)
        log_q = -Trace_ELBO().loss(*dual, z, x, mask) / N
        log_p = float(dist.Normal(0.0, 1.0).log_prob(z["z"]).sum()) / N
    assert abs(log_q - log_p - exact(mask)) < 5 * (2 / N) ** 0.5
