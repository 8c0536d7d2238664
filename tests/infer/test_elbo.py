"""TraceMI_ELBO as an ELBO: Pyro's values without the dual term, schedules, devices, training."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import NATS, LinearGaussian, bit_guide, bit_model, gradients
from pyro import poutine
from pyro.infer import (
    SVI,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pyro_mivae.infer import CHANNELS, TraceMI_ELBO

pytestmark = pytest.mark.usefixtures("float64")
DATA = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.1], [0.0, 2.0], [1.0, 1.0]]).double()


# Without the dual term: Pyro's own.


MASK = torch.tensor([True, False, True])


def continuous_model(x):
    loc = pyro.param("loc", torch.tensor([0.2, -0.1]))
    shared = pyro.sample("shared", dist.Normal(0.0, 1.0))
    with pyro.plate("data", x.shape[-2], subsample_size=3):
        x = pyro.subsample(x, event_dim=1)
        with poutine.mask(mask=MASK), poutine.scale(scale=0.7):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
        with poutine.scale(scale=0.5):
            pyro.sample("x", dist.Normal(z + shared[..., None], 1.0).to_event(1), obs=x)


def continuous_guide(x, family=dist.Normal):
    scale = pyro.param("scale", torch.tensor(0.7), constraint=dist.constraints.positive)
    slope = pyro.param("slope", torch.tensor(0.4))
    pyro.sample("shared", dist.Normal(slope, scale))
    with pyro.plate("data", x.shape[-2], subsample_size=3):
        x = pyro.subsample(x, event_dim=1)
        with poutine.mask(mask=MASK), poutine.scale(scale=0.7):
            pyro.sample("z", family(slope * x, scale).to_event(1))


def sampled_guide(x):
    """One whose KL has no closed form."""
    continuous_guide(x, lambda loc, scale: dist.StudentT(5.0, loc, scale))


def discrete_model(x):
    logit = pyro.param("logit", torch.tensor(0.3))
    with pyro.plate("data", len(x), subsample_size=3), poutine.mask(mask=MASK):
        x = pyro.subsample(x, event_dim=1)
        c = pyro.sample("c", dist.Bernoulli(logits=logit))
        loc = (c[..., None] * 2 - 1).expand(*c.shape, 2)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def discrete_guide(x):
    slope = pyro.param("slope", torch.tensor(0.4))
    with pyro.plate("data", len(x), subsample_size=3), poutine.mask(mask=MASK):
        x = pyro.subsample(x, event_dim=1)
        pyro.sample("c", dist.Bernoulli(logits=slope * x.sum(-1)))


def auxiliary_guide(x):
    scale = pyro.param("auxiliary", torch.tensor(0.6), constraint=dist.constraints.positive)
    a = pyro.sample("a", dist.Normal(0.0, scale), infer={"is_auxiliary": True})
    continuous_guide(x + a[..., None])


CONTINUOUS, SAMPLED = (continuous_model, continuous_guide), (continuous_model, sampled_guide)
AUXILIARY, DISCRETE = (continuous_model, auxiliary_guide), (discrete_model, discrete_guide)
ENUMERATED = (discrete_model, config_enumerate(discrete_guide))
BASES = {
    "Trace": (Trace_ELBO, CONTINUOUS),
    "Trace, discrete": (Trace_ELBO, DISCRETE),
    "TraceMeanField": (TraceMeanField_ELBO, CONTINUOUS),
    "TraceMeanField, sampled": (TraceMeanField_ELBO, SAMPLED),
    "Trace, auxiliary": (Trace_ELBO, AUXILIARY),
    "TraceMeanField, auxiliary": (TraceMeanField_ELBO, AUXILIARY),
    "TraceGraph": (TraceGraph_ELBO, DISCRETE),
    "TraceGraph, continuous": (TraceGraph_ELBO, CONTINUOUS),
    "TraceEnum": (TraceEnum_ELBO, ENUMERATED),
}
PARTICLES = [(1, False), (3, False), (3, True)]


def value_and_gradients(elbo, model, guide):
    pyro.clear_param_store()
    pyro.set_rng_seed(8)
    loss = elbo.loss_and_grads(model, guide, DATA)
    store = pyro.get_param_store()
    return loss, {name: store[name].unconstrained().grad for name in sorted(store)}


@pytest.mark.parametrize(("particles", "vectorised"), PARTICLES)
@pytest.mark.parametrize("name", BASES)
def test_without_weight_it_is_the_base(name, particles, vectorised):
    base, (model, guide) = BASES[name]
    runs = []

    def counted(x):
        runs.append(1)
        return model(x)

    def make():
        return base(num_particles=particles, vectorize_particles=vectorised, max_plate_nesting=1)

    expected, theirs = value_and_gradients(make(), counted, guide)
    expected_runs, runs[:] = len(runs), []
    ours = TraceMI_ELBO(channel="sample", mi_weight=0, elbo=make())
    found, gradient = value_and_gradients(ours, counted, guide)
    assert len(runs) == expected_runs  # no dual pass
    assert found == pytest.approx(expected, abs=1e-10, rel=1e-12)
    assert gradient.keys() == theirs.keys()
    for parameter in theirs:
        torch.testing.assert_close(gradient[parameter], theirs[parameter], rtol=1e-10, atol=1e-10)
    assert any(g.abs() > 1e-3 for g in map(torch.sum, gradient.values()))


@pytest.mark.parametrize("weight", [0, 0.7])
@pytest.mark.parametrize("name", BASES)
def test_losses_agree_under_one_seed(name, weight):
    base, (model, guide) = BASES[name]
    elbo = TraceMI_ELBO(
        channel="sample", mi_weight=weight, elbo=base(max_plate_nesting=1), num_dual_particles=2
    )

    def seeded(compute):
        pyro.clear_param_store()
        pyro.set_rng_seed(8)
        return float(torch.as_tensor(compute(model, guide, DATA)).detach())

    values = [seeded(f) for f in (elbo.loss, elbo.differentiable_loss, elbo.loss_and_grads)]
    values.append(seeded(lambda *args: elbo.terms(*args)["loss"]))
    assert values == pytest.approx([values[0]] * 4, abs=1e-10)
    if weight == 0:
        assert values[0] == pytest.approx(seeded(base(max_plate_nesting=1).loss), abs=1e-10)


@pytest.mark.parametrize("name", BASES)
def test_differentiable_loss_has_the_gradients_of_loss_and_grads(name):
    base, (model, guide) = BASES[name]
    elbo = TraceMI_ELBO(channel="sample", elbo=base(max_plate_nesting=1))
    _, expected = value_and_gradients(elbo, model, guide)
    pyro.clear_param_store()
    pyro.set_rng_seed(8)
    elbo.differentiable_loss(model, guide, DATA).backward()
    store = pyro.get_param_store()
    for name in expected:
        torch.testing.assert_close(store[name].unconstrained().grad, expected[name])


def test_guessed_plate_nesting():
    """Enumeration without max_plate_nesting: Pyro guesses it, on the same random numbers."""
    for base in (TraceEnum_ELBO, lambda: TraceEnum_ELBO(num_particles=2, vectorize_particles=True)):
        expected, _ = value_and_gradients(base(), *ENUMERATED)
        elbo = TraceMI_ELBO(channel="sample", mi_weight=0, elbo=base())
        found, _ = value_and_gradients(elbo, *ENUMERATED)
        assert found == pytest.approx(expected, abs=1e-10)
        assert elbo.max_plate_nesting == elbo.base.max_plate_nesting < 3


# Terms.


@pytest.mark.parametrize("base", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize(("particles", "vectorised"), PARTICLES)
def test_terms_add_up(base, particles, vectorised):
    elbo = TraceMI_ELBO(
        channel="sample",
        mi_weight=0.3,
        kl_weight=2.5,
        elbo=base(num_particles=particles, vectorize_particles=vectorised, max_plate_nesting=1),
    )
    pyro.set_rng_seed(1)
    terms = elbo.terms(*CONTINUOUS, DATA)
    assert list(terms) == [
        *("log_likelihood", "kl", "kl/shared", "kl/z", "mi", "mi/shared", "mi/z", "loss")
    ]
    assert {t.shape for t in terms.values()} == {torch.Size()}
    assert [name for name, t in terms.items() if t.requires_grad] == ["loss"]
    expected = -terms["log_likelihood"] + 2.5 * terms["kl"] - 0.3 * terms["mi"]
    torch.testing.assert_close(terms["loss"].detach(), expected)
    torch.testing.assert_close(terms["kl/shared"] + terms["kl/z"], terms["kl"])
    torch.testing.assert_close(terms["mi/shared"] + terms["mi/z"], terms["mi"])
    pyro.set_rng_seed(1)
    plain = base(num_particles=particles, vectorize_particles=vectorised, max_plate_nesting=1)
    assert (terms["kl"] - terms["log_likelihood"]).item() == pytest.approx(
        plain.loss(*CONTINUOUS, DATA), abs=1e-10
    )


@pytest.mark.parametrize(
    ("base", "pair"), [(TraceGraph_ELBO, DISCRETE), (TraceEnum_ELBO, ENUMERATED)]
)
def test_terms_of_the_other_bases(base, pair):
    elbo = TraceMI_ELBO(channel="sample", mi_weight=0.3, elbo=base(max_plate_nesting=1))
    terms = elbo.terms(*pair, DATA)
    assert list(terms) == ["elbo", "mi", "mi/c", "loss"]
    expected = -terms["elbo"] - 0.3 * terms["mi"]
    torch.testing.assert_close(terms["loss"].detach(), expected)


def test_terms_run_the_dual_pass_also_without_weight():
    terms = TraceMI_ELBO(channel="sample", mi_weight=0, elbo=Trace_ELBO()).terms(
        bit_model, bit_guide, torch.ones(3)
    )
    torch.testing.assert_close(terms["mi"], torch.tensor(NATS * 3))
    torch.testing.assert_close(terms["loss"], terms["kl"] - terms["log_likelihood"])


def test_an_infinite_bound_without_weight():
    """A guide that excludes the code: the bound is -inf, and weight 0 leaves it out."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(x - 0.1, x + 0.1).to_event(1))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pyro.validation_enabled(False):
        terms = TraceMI_ELBO(channel="sample", mi_weight=0).terms(model, guide, DATA)
    assert terms["mi"] == -torch.inf
    torch.testing.assert_close(terms["loss"], terms["kl"] - terms["log_likelihood"])


def test_says_which_kl_is_analytic():
    elbo = TraceMI_ELBO(channel="sample")
    terms = elbo.terms(*SAMPLED, DATA)
    assert elbo.kl_estimators == {"shared": "analytic", "z": "sampled"}
    q, p = dist.Normal(0.4, 0.7), dist.Normal(0.0, 1.0)
    torch.testing.assert_close(terms["kl/shared"], torch.distributions.kl_divergence(q, p).double())


def test_kl_of_an_auxiliary_guide_site():
    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("c", dist.Normal(x[:, 0] + a, 1.0))

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(c[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)

    for base in (Trace_ELBO, TraceMeanField_ELBO):
        pyro.set_rng_seed(4)
        expected = base().loss(model, guide, DATA)
        pyro.set_rng_seed(4)
        terms = TraceMI_ELBO(channel="sample", elbo=base()).terms(model, guide, DATA)
        assert (terms["kl"] - terms["log_likelihood"]).item() == pytest.approx(expected)
        assert {"kl/a", "kl/c", "mi/c"} < terms.keys()
        assert "mi/a" not in terms


# Schedules.


def test_schedules_see_the_step_that_loss_and_grads_advances():
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.5

    elbo = TraceMI_ELBO(channel="sample", mi_weight=schedule, elbo=Trace_ELBO())
    args = (bit_model, bit_guide, torch.ones(2))
    for compute in (elbo.loss, elbo.differentiable_loss, elbo.terms, elbo.loss_and_grads):
        compute(*args)
    elbo.loss_and_grads(*args)
    elbo.loss(*args)
    assert seen == [0, 0, 0, 0, 1, 2]
    assert elbo.state_dict() == {"step": 2}
    other = TraceMI_ELBO(channel="sample", mi_weight=schedule, elbo=Trace_ELBO())
    other.load_state_dict(elbo.state_dict())
    other.loss(*args)
    assert seen[-1] == 2


def test_schedules_weigh_both_parts():
    elbo = TraceMI_ELBO(
        channel="sample",
        mi_weight=lambda s: 2.0 * s,
        kl_weight=lambda s: 1.0 + s,
        elbo=Trace_ELBO(),
    )
    args = (bit_model, bit_guide, torch.ones(3))
    for step in range(3):
        assert elbo.weights() == (2.0 * step, 1.0 + step)
        terms = elbo.terms(*args)
        expected = -terms["log_likelihood"] + (1 + step) * terms["kl"] - 2 * step * terms["mi"]
        torch.testing.assert_close(terms["loss"], expected)
        elbo.loss_and_grads(*args)


def test_a_schedule_at_zero_skips_the_dual_pass():
    runs = []

    def model(x):
        runs.append(1)
        bit_model(x)

    elbo = TraceMI_ELBO(channel="sample", mi_weight=lambda step: float(step), elbo=Trace_ELBO())
    elbo.loss_and_grads(model, bit_guide, torch.ones(2))
    assert len(runs) == 1
    elbo.loss_and_grads(model, bit_guide, torch.ones(2))  # the first run has more to find out
    runs.clear()
    elbo.loss_and_grads(model, bit_guide, torch.ones(2))
    assert len(runs) == 2


def test_weight_as_a_tensor():
    weight = torch.tensor(0.5)
    elbo = TraceMI_ELBO(channel="sample", mi_weight=weight, elbo=Trace_ELBO())
    terms = elbo.terms(bit_model, bit_guide, torch.ones(3))
    expected = terms["kl"] - terms["log_likelihood"] - 0.5 * terms["mi"]
    torch.testing.assert_close(terms["loss"], expected)


# Training.


def learned(module, elbo, x):
    """mi and loss before and after, averaged."""
    pyro.set_rng_seed(99)
    terms = [elbo.terms(module.model, module.guide, x) for _ in range(20)]
    return (sum(t[name].item() for t in terms) / 20 / len(x) for name in ("mi", "loss"))


@pytest.mark.slow
@pytest.mark.parametrize("interface", ["SVI", "torch.optim"])
def test_both_interfaces_learn(interface):
    oracle, x = LinearGaussian(exact=False), 2 * torch.randn(64, 3)
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    model, guide = Both(oracle, "model"), Both(oracle, "guide")
    mi, loss = learned(oracle, elbo, x)
    if interface == "SVI":
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
        losses = [svi.step(x) for _ in range(150)]
        assert svi.evaluate_loss(x) < losses[0]
        assert elbo.step == 150
    else:
        objective = elbo(model, guide)
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
        assert elbo.step == 0
    mi_after, loss_after = learned(oracle, elbo, x)
    assert mi_after > mi + 0.2
    assert loss_after < loss - 1
    torch.testing.assert_close(  # the guide found the bound's optimum for its model
        torch.tensor(mi_after), oracle.information().detach(), rtol=0.2, atol=0.1
    )


class Both(nn.Module):
    """A module whose forward is a model or a guide, registered with Pyro as a whole."""

    def __init__(self, oracle, part):
        super().__init__()
        self.oracle, self.part = oracle, part

    def forward(self, x):
        pyro.module("oracle", self.oracle)
        return getattr(self.oracle, self.part)(x)


def test_pyro_modules():
    """PyroParam, PyroSample (a global latent of model and guide) and modules as arguments."""

    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.scale = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)
            self.offset = PyroSample(dist.Normal(0.0, 1.0))
            self.linear = PyroModule[nn.Linear](1, 2)

        def forward(self, x):
            offset = self.offset
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                loc = self.linear(z) + offset
                pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](2, 1)
            self.loc = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            pyro.sample("offset", dist.Normal(self.loc, 0.5))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.linear(x), 0.5).to_event(1))

    for channel in CHANNELS:
        pyro.clear_param_store()
        model, guide = Model(), Guide()
        elbo = TraceMI_ELBO(channel=channel, codes="z")
        before = copy.deepcopy(list(guide.parameters()))
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo)
        losses = [svi.step(DATA) for _ in range(5)]
        assert torch.isfinite(torch.tensor(losses)).all()
        assert all((a != b).any() for a, b in zip(before, guide.parameters(), strict=True))
        objective = elbo(model, guide)
        found = gradients(objective(DATA), objective)
        assert len(found) == 6
        assert all(g.abs().sum() > 0 for g in found.values())


def digits(size):
    """Images of 28 x 28 that hold one of two bars, and which."""
    kind = torch.arange(size) % 2
    images = torch.zeros(size, 1, 28, 28)
    images[kind == 0, :, 4:8] = 1.0
    images[kind == 1, :, :, 20:24] = 1.0
    return images, kind


class PyroVAE(nn.Module):
    """The structure of Pyro's examples/vae/vae.py, smaller."""

    def __init__(self, z_dim=3, hidden=20):
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "fc1": nn.Linear(784, hidden),
                "loc": nn.Linear(hidden, z_dim),
                "log_scale": nn.Linear(hidden, z_dim),
            }
        )
        self.decoder = nn.Sequential(
            nn.Linear(z_dim, hidden), nn.Softplus(), nn.Linear(hidden, 784), nn.Sigmoid()
        )
        self.z_dim = z_dim

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc = torch.zeros(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z_scale = torch.ones(x.shape[0], self.z_dim, dtype=x.dtype, device=x.device)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            loc_img = self.decoder.forward(z)
            pyro.sample(
                "obs",
                dist.Bernoulli(loc_img, validate_args=False).to_event(1),
                obs=x.reshape(-1, 784),
            )
            return loc_img

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            hidden = nn.functional.softplus(self.encoder["fc1"](x.reshape(-1, 784)))
            z_loc, z_scale = self.encoder["loc"](hidden), self.encoder["log_scale"](hidden).exp()
            pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))


@pytest.mark.slow
@pytest.mark.parametrize("channel", CHANNELS)
def test_pyro_vae_example_unchanged(channel):
    vae, (x, _) = PyroVAE(), digits(32)
    elbo = TraceMI_ELBO(channel=channel, elbo=Trace_ELBO())
    mi, loss = learned(vae, elbo, x)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 3e-3}), loss=elbo)
    losses = [svi.step(x) for _ in range(120)]
    mi_after, loss_after = learned(vae, elbo, x)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert mi_after > mi + 0.3
    assert loss_after < loss - 50


class PyroSSVAE(nn.Module):
    """The structure of Pyro's examples/vae/ss_vae_M2.py, smaller."""

    def __init__(self, output_size=2, z_dim=2, hidden=20):
        super().__init__()
        self.output_size, self.z_dim = output_size, z_dim
        self.encoder_y = nn.Sequential(
            nn.Linear(784, hidden), nn.Softplus(), nn.Linear(hidden, output_size), nn.Softmax(-1)
        )
        self.encoder_z = nn.Sequential(
            nn.Linear(784 + output_size, hidden), nn.Softplus(), nn.Linear(hidden, 2 * z_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(z_dim + output_size, hidden),
            nn.Softplus(),
            nn.Linear(hidden, 784),
            nn.Sigmoid(),
        )

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        batch_size = xs.size(0)
        options = {"dtype": xs.dtype, "device": xs.device}
        with pyro.plate("data"):
            prior_loc = torch.zeros(batch_size, self.z_dim, **options)
            prior_scale = torch.ones(batch_size, self.z_dim, **options)
            zs = pyro.sample("z", dist.Normal(prior_loc, prior_scale).to_event(1))
            alpha_prior = torch.ones(batch_size, self.output_size, **options) / self.output_size
            ys = pyro.sample("y", dist.OneHotCategorical(alpha_prior), obs=ys)
            zs = zs.expand(*ys.shape[:-1], self.z_dim)
            loc = self.decoder(torch.cat([zs, ys], -1))
            pyro.sample("x", dist.Bernoulli(loc, validate_args=False).to_event(1), obs=xs)
            return loc

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            if ys is None:
                alpha = self.encoder_y(xs)
                ys = pyro.sample("y", dist.OneHotCategorical(alpha))
            both = torch.cat([xs.expand(*ys.shape[:-1], 784), ys], -1)
            loc, log_scale = self.encoder_z(both).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["y", None])
def test_pyro_ss_vae_example_unchanged(codes):
    """Labelled and unlabelled batches in turn; the label is a code where it is latent."""
    vae, (images, kind) = PyroSSVAE(), digits(32)
    xs, ys = images.reshape(-1, 784), nn.functional.one_hot(kind, 2).to(images.dtype)
    guide = config_enumerate(vae.guide, "parallel", expand=True)
    elbo = TraceMI_ELBO(
        channel="straight-through",
        codes=codes,
        elbo=TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
    )
    vae_terms = copy.copy(vae)
    vae_terms.guide = guide
    mi, loss = learned(vae_terms, elbo, xs)
    svi = SVI(vae.model, guide, pyro.optim.Adam({"lr": 3e-3}), loss=elbo)
    losses = []
    for _ in range(60):
        losses += [svi.step(xs, ys), svi.step(xs)]
    mi_after, loss_after = learned(vae_terms, elbo, xs)
    assert torch.isfinite(torch.tensor(losses)).all()
    assert mi_after > mi + 0.2
    assert loss_after < loss - 50
    assert elbo.terms(vae.model, guide, xs, ys).keys() >= {"mi", "loss"}


# Devices: without values to read, whatever waits for the device raises.


class DeviceVAE(nn.Module):
    def __init__(self, device, discrete=False):
        super().__init__()
        self.encoder = nn.Linear(6, 4, device=device)
        self.decoder = nn.Linear(2, 6, device=device)
        self.loc = nn.Parameter(torch.zeros(2, device=device))
        self.discrete = discrete

    def model(self, x):
        with pyro.plate("data", len(x), device=x.device):
            if self.discrete:
                z = pyro.sample("z", dist.Bernoulli(logits=self.loc).to_event(1))
            else:
                z = pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x), device=x.device):
            if self.discrete:
                pyro.sample("z", dist.Bernoulli(logits=loc).to_event(1))
            else:
                pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def forward(self, x):
        raise NotImplementedError


DEVICE_CASES = [(Trace_ELBO, False), (Trace_ELBO, True), (TraceMeanField_ELBO, False)]


# "sleep" with several samples takes a derivative, which fake tensors cannot: on meta only.
FAKE_CHANNELS = [*((c, 1) for c in CHANNELS), ("sample", 3), ("straight-through", 3)]


@pytest.mark.parametrize(("channel", "samples"), FAKE_CHANNELS)
@pytest.mark.parametrize(("base", "discrete"), DEVICE_CASES)
def test_losses_and_terms_never_wait_for_the_device(channel, samples, base, discrete):
    settings = {"num_dual_particles": 2, "num_dual_samples": samples}
    elbo = TraceMI_ELBO(channel=channel, elbo=base(num_particles=2), **settings)
    with pyro.validation_enabled(False), FakeTensorMode():
        vae = DeviceVAE("cuda", discrete)
        x = torch.zeros(5, 6, device="cuda")
        found = [
            *elbo.terms(vae.model, vae.guide, x).values(),
            elbo.differentiable_loss(vae.model, vae.guide, x),
        ]
    assert {t.device.type for t in found} == {"cuda"}


@pytest.mark.parametrize(("channel", "samples"), [*FAKE_CHANNELS, ("sleep", 3)])
@pytest.mark.parametrize(("base", "discrete"), DEVICE_CASES)
def test_a_whole_step_never_reads_a_value(channel, samples, base, discrete):
    elbo = TraceMI_ELBO(channel=channel, elbo=base(), num_dual_samples=samples)
    with pyro.validation_enabled(False):
        vae = DeviceVAE("meta", discrete)
        optimizer = torch.optim.Adam(vae.parameters(), lr=0.1, foreach=True)
        loss = elbo.differentiable_loss(vae.model, vae.guide, torch.zeros(5, 6, device="meta"))
        loss.backward()
        optimizer.step()
    assert loss.is_meta
    assert all(p.grad is not None and p.grad.is_meta for p in vae.parameters())


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_supports_are_compared_on_one_device(device):
    """Bounds and affine maps that are tensors of the device, as a learnable interval's are."""
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 3.0])

    def model(x, low, high):
        with pyro.plate("data", len(x), device=x.device):
            z = pyro.sample("z", dist.Uniform(low, high).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x, low, high):
        maps = [
            dist.transforms.SigmoidTransform(),
            dist.transforms.AffineTransform(low, high - low),
        ]
        with pyro.plate("data", len(x), device=x.device):
            fn = dist.TransformedDistribution(dist.Normal(x, 1.0), maps)
            pyro.sample("z", fn.to_event(1))

    elbo = TraceMI_ELBO(channel="sample")
    with pyro.validation_enabled(False), FakeTensorMode(allow_non_fake_inputs=True):
        args = torch.zeros(5, 2, device=device), low.to(device), high.to(device)
        assert elbo.terms(model, guide, *args)["loss"].device.type == device


def test_supports_are_compared_in_the_first_call_only(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "pyro_mivae.infer.base_parts.require_support", lambda *traces: calls.append(1)
    )
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    for _ in range(3):
        elbo.loss(bit_model, bit_guide, torch.ones(3))
    assert len(calls) == 1


def test_waiting_would_be_seen():
    """The two devices do what the tests above rely on."""
    with FakeTensorMode(), pytest.raises(RuntimeError):
        torch.zeros(1, device="cuda").item()
    with pytest.raises(RuntimeError):
        torch.zeros(1, device="meta").item()
