"""Sites that only look observed: reparameterised latents, points, factors, deterministic ones."""

import math

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.reparam import LocScaleReparam, TransformReparam

from pyro_mivae.infer import TraceMI_ELBO, dualize
from pyro_mivae.information import elbo_decomposition, log_evidence, sandwich
from pyro_mivae.traces.sites import is_data, observed_sites

pytestmark = pytest.mark.usefixtures("float64")

N = 3000
EXACT = 0.5 * math.log(2)


def centered(x):
    with pyro.plate("d", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def logarithmic(x):
    with pyro.plate("d", len(x)):
        fn = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [transforms.ExpTransform()])
        z = pyro.sample("z", fn)
        pyro.sample("x", dist.Normal(z.log(), 1.0), obs=x)


def by_hand(x):
    """A point that is observed at itself, as pyro.deterministic makes it, by two ways."""
    with pyro.plate("d", len(x)):
        base = pyro.sample("z_base", dist.Normal(0.0, 1.0))
        z = pyro.deterministic("z", base + 0.0)
        pyro.sample("again", dist.Delta(z * 1.0), obs=z * 1.0)
        pyro.factor("nothing", torch.zeros(len(x)))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


CASES = {
    "LocScaleReparam": (
        poutine.reparam(centered, config={"z": LocScaleReparam(0.0)}),
        "z_decentered",
    ),
    "TransformReparam": (poutine.reparam(logarithmic, config={"z": TransformReparam()}), "z_base"),
    "by hand": (by_hand, "z_base"),
}


@pytest.fixture(params=CASES)
def pair(request):
    model, name = CASES[request.param]

    def guide(x):  # the exact posterior
        with pyro.plate("d", len(x)):
            pyro.sample(name, dist.Normal(x / 2, 0.5**0.5))

    return model, guide, name


def test_what_is_data_and_what_has_a_density(pair):
    model, _, _ = pair
    nodes = poutine.trace(model).get_trace(torch.randn(5)).nodes
    sites = [name for name, site in nodes.items() if site["type"] == "sample"]
    assert [name for name in sites if is_data(nodes[name])] == ["x"]
    trace = poutine.trace(model).get_trace(torch.randn(5))
    assert set(observed_sites(trace)) - {"nothing", "again"} == {"x"}


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("codes", [None, "z", "latent"])
def test_the_term_is_the_information(pair, samples, codes):
    """Named by the site or by what the reparameterisation made of it, a bijection."""
    model, guide, name = pair
    elbo = TraceMI_ELBO(
        channel="sample",
        codes=name if codes == "latent" else codes,
        num_dual_samples=samples,
        elbo=Trace_ELBO(),
    )
    with torch.no_grad():
        mi = float(elbo.terms(model, guide, torch.randn(N))["mi"]) / N
    assert abs(mi - EXACT) < 5 * (0.5 / N) ** 0.5


@pytest.mark.slow
def test_the_estimators_are_right(pair):
    model, guide, _ = pair
    x = torch.randn(N) * 2**0.5
    truth = float(dist.Normal(0.0, 2**0.5).log_prob(x).mean())
    evidence = log_evidence(model, guide, x, num_samples=3, progress=False)
    assert evidence.mean == pytest.approx(truth, abs=1e-9)
    bounds = sandwich(model, guide, x, num_samples=3, progress=False)
    assert abs(bounds.lower.mean - EXACT) < 5 * bounds.lower.standard_error
    assert bounds.gap.mean == pytest.approx(0, abs=1e-9)
    parts = elbo_decomposition(model, guide, x[:500], progress=False)
    assert parts.elbo.mean == pytest.approx(
        float(dist.Normal(0.0, 2**0.5).log_prob(x[:500]).mean()), abs=1e-9
    )


def test_the_dual_observes_the_latent_sites(pair):
    model, guide, name = pair
    dual = dualize(model, guide)
    with torch.no_grad():
        z = dual.model.draw(torch.zeros(N))
        assert set(z) == {name}
        bound = -Trace_ELBO().loss(*dual, z, torch.zeros(N)) / N
        bound -= float(dist.Normal(0.0, 1.0).log_prob(z[name]).mean())
    assert abs(bound - EXACT) < 5 * (0.5 / N) ** 0.5


def test_a_point_that_is_observed_elsewhere_is_data():
    """A decoder without noise: its value is what it generates."""

    def model(x):
        with pyro.plate("d", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Delta(z), obs=x)

    trace = poutine.trace(model).get_trace(torch.zeros(4))
    assert is_data(trace.nodes["x"])


def with_a_parent(x):
    with pyro.plate("d", len(x)):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        z = pyro.sample("z", dist.Normal(m, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def parts_of_it(x):
    """The exact posterior of m, and of z less m."""
    with pyro.plate("d", len(x)):
        m = pyro.sample("m", dist.Normal(x / 3, (2 / 3) ** 0.5))
        pyro.sample("z_decentered", dist.Normal((x - m) / 2, 0.5**0.5))


def test_a_code_that_is_made_of_noise_besides_is_refused():
    """What is left of z has .20 nats about x', and z itself .55."""
    model = poutine.reparam(with_a_parent, config={"z": LocScaleReparam(0.0)})
    elbo = TraceMI_ELBO(channel="sample", codes="z", elbo=Trace_ELBO())
    words = r"beside \['z_decentered'\] they are made of noise, among \['m'\]"
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            elbo.terms(model, parts_of_it, torch.randn(N))


@pytest.mark.parametrize("codes", [["z", "m"], ["m", "z"], ["z_decentered"]])
def test_a_code_with_its_parents_is_the_information_of_both(codes):
    model = poutine.reparam(with_a_parent, config={"z": LocScaleReparam(0.0)})
    elbo = TraceMI_ELBO(channel="sample", codes=codes, elbo=Trace_ELBO())
    torch.manual_seed(0)
    with torch.no_grad():
        mi = float(elbo.terms(model, parts_of_it, torch.randn(N))["mi"]) / N
    # x' has variance 3, given z and m 1, given what is left of z 2; but q reads m, too.
    expected = 0.5 * math.log(3)
    if codes == ["z_decentered"]:
        assert mi < 0.5 * math.log(1.5) + 0.05
    else:
        assert abs(mi - expected) < 0.06
