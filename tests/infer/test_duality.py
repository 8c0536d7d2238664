"""The dual of a pair: its ELBO is the dual term, and its dual is the pair."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import Bits, CodeAndNoise, GaussianBernoulli, LinearGaussian, expectation, gradients
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import nn

from pyro_mivae.infer import dualize
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import latent_sites

pytestmark = pytest.mark.usefixtures("float64")


def dual_term(model, guide, *args, codes=None, **options):
    """The dual term by itself, under a seed."""
    pyro.set_rng_seed(7)
    codes = None if codes is None else {codes: None}
    options = {"channel": "sample", "observed": (), "data_args": None} | options
    return DualPass(codes=codes, **options)(Call(model, guide, args)).value


def replayed(model, *args, codes=None):
    """The latents of that run, by site, and their log-density as codes, summed over the data."""
    pyro.set_rng_seed(7)
    trace = poutine.trace(poutine.uncondition(model)).get_trace(*args)
    trace.compute_log_prob()
    names = ["c"] if codes == "c" else [n for n in latent_sites(trace) if n != "x"]
    z = {name: trace.nodes[name]["value"].detach() for name in names}
    return z, sum(trace.nodes[name]["log_prob_sum"].detach() for name in names)


def elbo_after(z, dual, *args, elbo=None, first=(), run="loss"):
    """-loss, with the random state where the forward run has it when z is drawn."""
    pyro.set_rng_seed(7)
    for draw in first:
        draw(z)
    return -getattr(elbo or Trace_ELBO(), run)(*dual, z, *args)


def normals(z):
    for value in z.values():
        torch.normal(torch.zeros(value.shape), 1.0)


def bits(z):
    for value in z.values():
        torch.bernoulli(torch.full(value.shape, 0.5))


ORACLES = {
    "linear-Gaussian": (lambda: LinearGaussian(exact=False), normals),
    "Bernoulli data": (GaussianBernoulli, normals),
    "bits": (Bits, bits),
}


def pair_of(name):
    make, draws = ORACLES[name]
    oracle = make()
    data = {"linear-Gaussian": 3, "Bernoulli data": 3, "bits": 2}[name]
    return oracle, torch.zeros(5, data), draws


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO])
def test_elbo_of_the_dual_is_the_dual_term(name, elbo):
    oracle, x, draws = pair_of(name)
    expected = float(dual_term(oracle.model, oracle.guide, x).detach())
    z, log_p = replayed(oracle.model, x)
    dual = dualize(oracle.model, oracle.guide)
    found = elbo_after(z, dual, x, elbo=elbo(), first=[draws]) - float(log_p)
    assert found == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 0.1


def run_again(pair, *args, codes=None, **options):
    """The dual's -loss - log p(z) on the draws of a forward run, the plates' indices included."""
    pyro.set_rng_seed(7)
    options = {"channel": "sample", "observed": (), "data_args": None} | options
    named = None if codes is None else dict.fromkeys(codes)
    forward, _, _ = DualPass(codes=named, **options).traces(Call(*pair, args))
    trace = forward.trace
    names = codes or [n for n in latent_sites(trace) if n not in forward.generated]
    z = {name: trace.nodes[name]["value"].detach() for name in names}
    options.pop("channel")
    dual = dualize(*pair, codes=codes, **options)
    given = poutine.replay(dual.guide, trace=trace)
    trace.compute_log_prob(lambda name, site: name in names)
    log_p = sum(trace.nodes[name]["log_prob_sum"].detach() for name in names)
    return -Trace_ELBO().loss(dual.model, given, z, *args) - float(log_p)


def test_subsampled_plate_scales_once():
    pair, x = LinearGaussian(exact=False).subsampled(3), torch.randn(9, 3)
    expected = float(dual_term(*pair, x).detach())
    assert run_again(pair, x) == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 0.1


def test_a_covariate_keeps_its_data():
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            pyro.sample("x", dist.Normal(z + y, 0.5), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x - y, 0.7))

    x, y = torch.zeros(4), torch.full((4,), 100.0)
    expected = float(dual_term(model, guide, x, y, observed=("y",)))
    assert run_again((model, guide), x, y, observed=("y",)) == pytest.approx(expected, abs=1e-9)
    dual = dualize(model, guide, observed="y")
    z = dual.model.draw(x, y)
    trace = poutine.trace(dual.guide).get_trace(z, x, y)
    assert latent_sites(trace) == ["x"]
    assert trace.nodes["x"]["value"].min() > 90


@pytest.mark.parametrize("order", ["c,u", "c|u"])
def test_noise_belongs_to_neither(order):
    oracle = CodeAndNoise(order)
    pair, x = (oracle.model, oracle.guide), oracle.data(400)
    dual = dualize(*pair, codes="c")
    z = dual.model.draw(x)
    assert list(z) == ["c"]
    guide_trace = poutine.trace(dual.guide).get_trace(z, x)
    model_trace = poutine.trace(poutine.replay(dual.model, trace=guide_trace)).get_trace(z, x)
    assert latent_sites(guide_trace) == ["x"]
    assert latent_sites(model_trace) == ["x"]
    assert model_trace.observation_nodes == ["c"]
    dual_pass = DualPass(channel="sample", codes={"c": None}, observed=(), data_args=None)
    found, expected = [], []
    for _ in range(60):
        z = dual.model.draw(x)
        log_p = float(dist.Normal(0.0, 1.0).log_prob(z["c"]).sum())
        found.append(-Trace_ELBO().loss(*dual, z, x) - log_p)
        expected.append(float(dual_pass(Call(*pair, (x,))).value.detach()))
    found, expected = torch.tensor(found) / 400, torch.tensor(expected) / 400
    error = (found.var() / 60 + expected.var() / 60).sqrt()
    assert abs(found.mean() - expected.mean()) < 4 * error
    assert error < 0.05 * expected.mean()


def test_exact_linear_gaussian_reaches_the_information():
    oracle = LinearGaussian()
    dual, x = dualize(oracle.model, oracle.guide), oracle.data(500)
    found = []
    for _ in range(40):
        z = dual.model.draw(x)
        prior = dist.Normal(oracle.m, oracle.log_t.exp()).log_prob(z["z"]).sum()
        found.append((-Trace_ELBO().loss(*dual, z, x) - float(prior.detach())) / 500)
    found = torch.tensor(found)
    assert abs(found.mean() - oracle.information()) < 4 * found.std() / 40**0.5


def test_the_dual_of_the_dual_is_the_pair():
    oracle = LinearGaussian()
    module = nn.Linear(1, 1)
    for pair in [(oracle.model, oracle.guide), (module, oracle.guide)]:
        model, guide = dualize(*dualize(*pair))
        assert model is pair[0]
        assert guide is pair[1]


def test_gradient_is_exact_where_x_has_no_rsample():
    oracle = Bits(data_dim=1)
    x = oracle.data(1)
    dual = dualize(oracle.model, oracle.guide)
    dual.guide(dual.model.draw(x), x)  # the first call looks at the model, with draws of its own
    for c in (0.0, 1.0):
        z = {"c": torch.tensor([c])}

        def run(z=z):
            loss = Trace_ELBO().differentiable_loss(*dual, z, x)
            return torch.cat([g.reshape(-1) for g in gradients(-loss, oracle).values()])

        # E_{x'|c}[log q(c|x')], summed over x' by hand.
        total = 0.0
        for value in (0.0, 1.0):
            data = torch.tensor([[value]])
            p = oracle.likelihood(z["c"], torch.zeros(1)).log_prob(data).exp()
            total = total + (p * oracle.posterior_c(data).log_prob(z["c"])).sum()
        wanted = torch.cat([g.reshape(-1) for g in gradients(total, oracle).values()])
        torch.testing.assert_close(expectation(run), wanted)
        assert wanted.abs().max() > 0.01


def test_parameters_are_those_of_the_half_and_train():
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.decode = nn.Linear(2, 6)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decode(z), 0.5).to_event(1), obs=x)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(6, 4)

        def forward(self, x):
            loc, raw = self.encode(x).chunk(2, -1)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))

    model, guide = Model(), Guide()
    dual = dualize(model, guide)
    assert list(dual.model.parameters()) == list(guide.parameters())
    assert list(dual.guide.parameters()) == list(model.parameters())
    loss = Trace_ELBO()(*dual)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    x, losses = torch.zeros(50, 6), []
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(dual.model.draw(x), x) / 50
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0] - 1


def test_trains_with_svi():
    def model(x):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    def guide(x):
        gain = pyro.param("gain", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(gain * x, 1.0))

    dual = dualize(model, guide)
    svi = SVI(*dual, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    x = torch.zeros(100)
    for _ in range(100):
        svi.step(dual.model.draw(x), x)
    assert pyro.param("gain") > 0.3
    assert pyro.param("scale") < 1.0


def test_particles_in_a_plate_draw_x_anew():
    oracle = LinearGaussian(exact=False)
    dual, x = dualize(oracle.model, oracle.guide), oracle.data(3)
    z = dual.model.draw(x)
    with pyro.plate("particles", 4, dim=-2):
        trace = poutine.trace(dual.guide).get_trace(z, x)
    value = trace.nodes["x"]["value"]
    assert value.shape == (4, 3, 3)
    assert not torch.equal(value[0], value[1])


def test_x_needs_the_guide():
    oracle = LinearGaussian()
    dual, x = dualize(oracle.model, oracle.guide), oracle.data(3)
    with pytest.raises(NotImplementedError, match="ImproperUniform"):
        dual.model(dual.model.draw(x), x)


def test_errors_say_what_to_do():
    oracle = LinearGaussian()
    dual, x = dualize(oracle.model, oracle.guide), oracle.data(3)
    with pytest.raises(
        TypeError, match=r"mapping of sites to tensors, found Tensor.*draw\(\*args\)"
    ):
        dual.guide(x)
    with pytest.raises(ValueError, match=r"observes the codes \['z'\], found values of \['c'\]"):
        dual.guide({"c": x}, x)
    with pytest.raises(ValueError, match="do not belong together"):
        dualize(dual.model, oracle.guide)
    with pytest.raises(ValueError, match="do not belong together"):
        dualize(dual.model, dualize(oracle.model, oracle.guide).guide)
    with pytest.raises(ValueError, match="leave options out"):
        dualize(*dual, codes="z")
    with pytest.raises(ValueError, match="whole sites"):
        dualize(oracle.model, oracle.guide, codes={"z": slice(1)})


def test_a_code_below_noise_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            c = pyro.sample("c", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("u", dist.Normal(x, 1.0))
            pyro.sample("c", dist.Normal(x, 1.0))

    x = torch.zeros(3)
    with pytest.raises(ValueError, match=r"'c' depends on \['u'\].*add \['u'\] to codes"):
        dualize(model, guide, codes="c").model.draw(x)
    assert set(dualize(model, guide).model.draw(x)) == {"u", "c"}


def test_a_delta_can_not_be_observed():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(x[:, :2], event_dim=1))

    oracle = LinearGaussian()
    dual, x = dualize(oracle.model, guide), oracle.data(3)
    with pytest.raises(ValueError, match="'z' is a Delta"):
        Trace_ELBO().loss(*dual, dual.model.draw(x), x)


@pytest.mark.parametrize("inside", [False, True])
def test_masked_data_have_their_gradient(inside):
    """-log q(z|x') by hand: x' = slope z + e where it counts, the data elsewhere."""
    slope = torch.tensor(0.7, requires_grad=True)
    mask = torch.tensor([True, False, True, False])
    x, z = torch.tensor([0.3, -0.8, 1.0, 2.0]), torch.tensor([1.0, -2.0, 0.5, 3.0])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            fn = dist.Normal(slope * z, 0.5)
            with poutine.mask(mask=True if inside else mask):
                pyro.sample("x", fn.mask(mask) if inside else fn, obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, 1.0))

    dual = dualize(model, guide)
    pyro.set_rng_seed(7)
    loss = Trace_ELBO().differentiable_loss(*dual, {"z": z}, x)
    pyro.set_rng_seed(7)
    generated = torch.where(mask, torch.normal(slope * z, 0.5), x).detach()
    residual = z - 0.8 * generated
    assert float(loss.detach()) == pytest.approx(
        float(-dist.Normal(0.0, 1.0).log_prob(residual).sum())
    )
    (gradient,) = torch.autograd.grad(loss, slope)
    assert float(gradient) == pytest.approx(float((-0.8 * residual * z * mask).sum()))
    with torch.no_grad():
        assert not Trace_ELBO().differentiable_loss(*dual, {"z": z}, x).requires_grad
