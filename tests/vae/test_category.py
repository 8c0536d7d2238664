"""A VAE with InfoGAN's structure: a category beside continuous codes."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, TraceMeanField_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO, compile_elbo
from pyro_mivae.information import (
    aggregate_information,
    elbo_decomposition,
    log_evidence,
    per_dimension,
    sandwich,
)
from pyro_mivae.training import adam, evaluate, fit
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.networks import MLPDecoder, MLPEncoder

K = 3
IMAGES = torch.randint(0, 256, (12, 6, 5), dtype=torch.uint8)
X = (IMAGES > 127).float()
SMALL = {"code_dim": 2, "noise_dim": 2, "categories": K, "image_shape": (6, 5)}


def small(**kwargs):
    networks = {
        "encoder": lambda n: MLPEncoder(n, image_shape=(6, 5), hidden=(32,)),
        "decoder": lambda n: MLPDecoder(n, image_shape=(6, 5), hidden=(32,)),
    }
    return MIVAE(**{**SMALL, **networks, **kwargs})


@pytest.mark.parametrize("noise_dim", [0, 2])
def test_the_generative_story(noise_dim):
    vae = small(noise_dim=noise_dim, prior="uniform")
    x = vae.observe(IMAGES)
    guide_trace = poutine.trace(vae.guide).get_trace(x)
    trace = poutine.trace(poutine.replay(vae.model, trace=guide_trace)).get_trace(x)
    sites = ["c", "z", "d"] if noise_dim else ["c", "d"]
    assert list(vae.priors) == sites
    assert vae.codes == ("c", "d")
    assert small(categories=0).codes == ("c",)
    values = [guide_trace.nodes[name]["value"] for name in sites]
    assert values[-1].shape == (12, K)
    assert (values[-1].sum(-1) == 1).all()
    by_hand = vae.model.decode(*values).log_prob(x)
    by_hand = by_hand + sum(vae.priors[n]().log_prob(v) for n, v in zip(sites, values, strict=True))
    torch.testing.assert_close(trace.log_prob_sum(), by_hand.sum())
    assert trace.nodes["d"]["log_prob_sum"] == pytest.approx(-12 * math.log(K))


def test_errors():
    with pytest.raises(ValueError, match="at least 2 categories, found 1"):
        small(categories=1)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_enumeration_is_the_exact_sum():
    vae = small()
    x = vae.observe(IMAGES)
    enum = TraceEnum_ELBO(max_plate_nesting=1)
    elbo = TraceMI_ELBO(channel="mean", codes=vae.codes, elbo=enum, mi_weight=0)
    pyro.set_rng_seed(5)
    found = elbo.loss(vae.model, vae.guide.enumerated(), x)
    pyro.set_rng_seed(5)
    q, p = vae.guide.encode(x), {name: prior() for name, prior in vae.priors.items()}
    c, z = q["c"].rsample(), q["z"].rsample()
    expected = p["c"].log_prob(c) - q["c"].log_prob(c) + p["z"].log_prob(z) - q["z"].log_prob(z)
    for k in range(K):
        one = torch.eye(K)[k].expand(12, K)
        log_x = vae.model.decode(c, z, one).log_prob(x)
        log_q = q["d"].log_prob(one)
        expected = expected + log_q.exp() * (log_x - math.log(K) - log_q)
    assert found == pytest.approx(-expected.sum().item(), rel=1e-12)
    # Draws have that expectation.
    mean = [TraceMeanField_ELBO().loss(vae.model, vae.guide, x) for _ in range(100)]
    exact = [elbo.loss(vae.model, vae.guide.enumerated(), x) for _ in range(100)]
    mean, exact = torch.tensor(mean), torch.tensor(exact)
    error = math.hypot(mean.std(), exact.std()) / 10
    assert abs(mean.mean() - exact.mean()) < 5 * error


@pytest.mark.parametrize("channel", ["mean", "sample", "straight-through", "sleep"])
def test_the_bound_of_the_category(channel):
    """A guide that knows d from the first pixels has all of log K."""

    class Read(nn.Module):
        def forward(self, x):
            logits = 100 * x[..., 0, :K]
            return torch.cat([torch.zeros(*x.shape[:-2], 8), logits], -1)

    class Show(nn.Module):
        def forward(self, latent):
            pixels = torch.zeros(*latent.shape[:-1], 6, 5)
            pixels[..., 0, :K] = 200 * latent[..., -K:] - 50
            return pixels

    vae = small(encoder=Read(), decoder=Show())
    terms = TraceMI_ELBO(channel=channel, codes=vae.codes).terms(vae.model, vae.guide, X)
    assert float(terms["mi/d"]) == pytest.approx(12 * math.log(K), rel=1e-4)
    assert float(terms["mi/c"]) == pytest.approx(0, abs=1e-3)
    assert terms["kl/d"] > 0


@pytest.mark.slow
def test_a_category_learns_what_tells_three_kinds_of_images():
    """Three images: without labels, each becomes a category."""
    torch.manual_seed(1)
    kinds = torch.zeros(K, 6, 5, dtype=torch.uint8)
    for k in range(K):
        kinds[k, 2 * k : 2 * k + 2] = 255
    labels = torch.arange(90) % K
    vae = small(code_dim=1, noise_dim=0, likelihood="bernoulli-fixed")
    enum = TraceEnum_ELBO(max_plate_nesting=1)
    elbo = TraceMI_ELBO(channel="straight-through", codes=vae.codes, elbo=enum)
    settings = {"batch_size": 30, "progress": False, "prepare": vae.observe}
    settings["optimizer"] = lambda parameters: adam(parameters, 1e-2)
    fit(vae.model, vae.guide.enumerated(), elbo, kinds[labels], steps=150, **settings)
    probs = vae.guide.encode(vae.observe(kinds))["d"].probs
    assert sorted(probs.argmax(-1).tolist()) == [0, 1, 2]
    assert probs.amax(-1).min() > 0.9
    found = evaluate(
        vae.model, vae.guide, TraceMI_ELBO(channel="sample"), kinds[labels], prepare=vae.observe
    )
    assert found["kl/d"] == pytest.approx(math.log(K), rel=0.05)
    assert found["mi/d"] > 0.9


@pytest.mark.slow
def test_it_is_compiled():
    vae = small()
    elbo = TraceMI_ELBO(channel="straight-through", codes=vae.codes)
    compiled = compile_elbo(elbo, vae.model, vae.guide, backend="eager")
    x = vae.observe(IMAGES)
    losses = []
    for loss in (lambda: compiled(x), lambda: elbo.differentiable_loss(vae.model, vae.guide, x)):
        pyro.set_rng_seed(2)
        losses.append(loss().item())
    assert compiled.fallback is None
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.usefixtures("float64")
def test_measurements_see_one_variable():
    vae = small(prior="uniform")
    images = torch.randint(0, 256, (200, 6, 5), dtype=torch.uint8)
    x = vae.observe(images)
    found = per_dimension(vae.model, vae.guide, x, channels=("sample",), progress=False)
    assert found["kl_d"].shape == found["activity_d"].shape == ()
    assert found["mi_d"].dims == ("channel",)
    assert list(found["dimension"].values) == ["c[0]", "c[1]", "z[0]", "z[1]", "d"]
    q = vae.guide.encode(x)["d"]
    entropy = q.entropy().mean().detach()
    assert float(found["kl_d"]) == pytest.approx(math.log(K) - float(entropy), rel=1e-9)
    # I_q = H(mean q) - mean H(q): draws of 300 data around it.
    mixture = q.probs.mean(0).detach()
    exact = float(-(mixture * mixture.log()).sum() - entropy)
    error = float(found["aggregate_mi_d_se"])
    assert abs(float(found["aggregate_mi_d"]) - exact) < 5 * error
    assert float(found["activity_d"]) == pytest.approx(q.probs.var(0).sum().item(), rel=1e-9)
    whole = aggregate_information(vae.guide, x, codes="d", progress=False)
    assert whole.estimate.mean == pytest.approx(float(whole.dimension_information["d"]))
    parts = elbo_decomposition(vae.model, vae.guide, x, progress=False)
    assert parts.note == ""
    assert parts.dimension_kl["d"].shape == ()
    evidence = log_evidence(vae.model, vae.guide, x[:20], num_samples=20, progress=False)
    assert evidence.per_datum.isfinite().all()
    bounds = sandwich(
        vae.model,
        vae.guide,
        x[:50],
        codes="d",
        num_samples=[20],
        num_dual_particles=4,
        progress=False,
    )
    ((_, lower, upper),) = bounds.curve()
    assert lower.mean - 5 * lower.standard_error <= upper.mean + 5 * upper.standard_error


def test_loss_without_the_category():
    """The whole vector is drawn anew: decoders that read d lose, and others nothing."""
    vae = small(noise_dim=0)
    with torch.no_grad():
        first = next(m for m in vae.model.decoder.modules() if isinstance(m, nn.Linear))
        first.weight[:, :2] = 0
        first.weight[:, 2:] *= 5
    found = per_dimension(vae.model, vae.guide, X, aggregate_size=12, progress=False)
    assert (found["resampling_loss_c"] == 0).all()
    assert float(found["resampling_loss_d"]) != 0
