"""Plates that take a part of the data: the guide's, the model's, and codes outside of them."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import sandwich

pytestmark = pytest.mark.usefixtures("float64")

NOISE = 0.8
PRECISION = 1 + 1 / NOISE**2
EXACT = 0.5 * math.log(PRECISION)
"""I(z; x) of z ~ N(0, 1), x ~ N(z, NOISE^2), nats."""


def pair(in_model=None, in_guide=None):
    """A linear-Gaussian model with its exact posterior; the subsample sizes of the two plates."""
    sizes = []

    def model(x):
        with pyro.plate("data", len(x), subsample_size=in_model) as indices:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, NOISE), obs=x[indices])

    def guide(x):
        with pyro.plate("data", len(x), subsample_size=in_guide) as indices:
            sizes.append(len(indices))
            mean = x[indices] / NOISE**2 / PRECISION
            pyro.sample("z", dist.Normal(mean, PRECISION**-0.5))

    return model, guide, sizes


@pytest.mark.parametrize(("in_model", "in_guide"), [(None, 20), (20, 20), (None, None)])
def test_the_term_is_of_all_data_whoever_subsamples(in_model, in_guide):
    """Of the exact posterior the bound is the information; the scale of the plate counts once."""
    model, guide, sizes = pair(in_model, in_guide)
    x = torch.randn(60)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_particles=400)
    with torch.no_grad():
        mi = elbo.terms(model, guide, x)["mi"] / len(x)
    # log q - log p has variance rho^2 = 1 - 1 / PRECISION.
    number = 400 * (in_guide or len(x))
    error = math.sqrt((1 - 1 / PRECISION) / number)
    assert abs(float(mi) - EXACT) < 5 * error
    assert set(sizes[1:]) == {in_guide or 60}


def test_each_step_takes_another_subsample_of_the_guide():
    seen = []

    def model(x):
        with pyro.plate("data", 50) as indices:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[indices])

    def guide(x):
        with pyro.plate("data", 50, subsample_size=5) as indices:
            seen.append(tuple(indices.tolist()))
            pyro.sample("z", dist.Normal(x[indices] / 2, 0.7))

    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    for _ in range(4):
        elbo.loss(model, guide, torch.randn(50))
    assert len(set(seen)) > 6


def test_the_sandwich_takes_the_guides_subsample():
    model, guide, _ = pair(None, 40)
    bounds = sandwich(
        model, guide, torch.randn(60), num_samples=5, num_dual_particles=50, progress=False
    )
    assert bounds.lower_per_datum.shape == (1, 40 * 50)
    assert abs(bounds.lower.mean - EXACT) < 5 * bounds.lower.standard_error
    assert bounds.gap.mean == pytest.approx(0, abs=1e-9)


def global_code(reads_all):
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), subsample_size=4) as indices:
            z = pyro.sample("z", dist.Normal(w, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[indices])

    def guide(x):
        plate = pyro.plate("data", len(x), subsample_size=4)
        with plate as indices:
            part = x[indices]
        pyro.sample("w", dist.Normal((x if reads_all else part).mean() / 2, 0.7))
        with plate:
            pyro.sample("z", dist.Normal(part / 2, 0.7))

    return model, guide


def test_a_code_outside_the_plate_must_not_read_the_real_rest():
    """x' is 4 of 50 data; a guide that reads all of them for a global code reads the real ones."""
    model, guide = global_code(reads_all=True)
    elbo = TraceMI_ELBO(channel="sample", codes=["w", "z"], elbo=Trace_ELBO())
    with pytest.raises(
        ValueError,
        match=r"plate 'data' takes 4 of 50 data, but the code site 'w' is outside of it.*"
        r"codes inside the plate \(codes=\['z'\]\)",
    ):
        elbo.terms(model, guide, torch.randn(50))


@pytest.mark.slow
def test_a_code_outside_the_plate_may_read_its_subsample():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 50, subsample_size=4) as indices:
            pyro.sample("x", dist.Normal(w, 1.0), obs=x[indices])

    def guide(x):
        with pyro.plate("data", 50, subsample_size=4) as indices:
            part = x[indices]
        pyro.sample("w", dist.Normal(part.sum() / 5, 5**-0.5))

    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO(), num_dual_particles=4000)
    with torch.no_grad():
        mi = float(elbo.terms(model, guide, torch.randn(50))["mi"])
    assert abs(mi - 0.5 * math.log(5)) < 5 * math.sqrt((1 - 1 / 5) / 4000)
