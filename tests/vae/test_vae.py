import copy

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.priors import PRIORS, make_prior
from pyro_mivae.training import fit
from pyro_mivae.vae import MIVAE
from pyro_mivae.vae.likelihoods import LIKELIHOODS, Bernoulli, Gaussian

IMAGES = torch.randint(
    0, 256, (12, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
SMALL = {"code_dim": 2, "noise_dim": 3, "image_shape": (6, 5)}


def small(**kwargs):
    return MIVAE(**{**SMALL, **kwargs})


def parameters(vae):
    return {name: p.detach().clone() for name, p in vae.named_parameters()}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_log_joint_is_the_generative_story(prior, likelihood):
    vae = small(prior=prior, likelihood=likelihood)
    x = vae.observe(IMAGES)
    guide_trace = pyro.poutine.trace(vae.guide).get_trace(x)
    replayed = pyro.poutine.replay(vae.model, trace=guide_trace)
    trace = pyro.poutine.trace(replayed).get_trace(x)
    c, z = (guide_trace.nodes[name]["value"] for name in ("c", "z"))
    assert (c.shape, z.shape) == ((12, 2), (12, 3))
    by_hand = vae.priors["c"]().log_prob(c) + vae.priors["z"]().log_prob(z)
    by_hand = by_hand + vae.model.decode(c, z).log_prob(x)
    torch.testing.assert_close(trace.log_prob_sum(), by_hand.sum())


def test_defaults_are_the_posters():
    vae = MIVAE()
    linear = [m for m in vae.guide.encoder.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(784, 500), (500, 500), (500, 20)]
    assert [q.name for q in vae.guide.posteriors.values()] == ["normal", "normal"]


def test_likelihoods_and_their_data():
    grey = IMAGES / 255.0
    torch.manual_seed(0)
    dynamic = torch.stack([Bernoulli().observe(IMAGES) for _ in range(400)])
    assert set(dynamic.unique().tolist()) == {0.0, 1.0}
    assert (dynamic.mean(0) - grey).abs().max() < 5 * 0.5 / 400**0.5
    fixed = Bernoulli(binarization="fixed").observe(IMAGES)
    assert torch.equal(fixed, (grey > 0.5).float())
    logits = torch.randn(12, 6, 5)
    on, off = (nn.functional.logsigmoid(sign * logits) for sign in (1, -1))
    by_hand = grey * on + (1 - grey) * off
    log_prob = LIKELIHOODS["grey"]()(logits).log_prob(LIKELIHOODS["grey"]().observe(IMAGES))
    torch.testing.assert_close(log_prob, by_hand.sum((1, 2)))
    gaussian = Gaussian(scale=0.3)(logits)
    torch.testing.assert_close(gaussian.stddev, torch.full((12, 6, 5), 0.301))
    with pytest.raises(ValueError, match="must be 'dynamic' or 'fixed', found 'sometimes'"):
        Bernoulli(binarization="sometimes")
    with pytest.raises(ValueError, match="scale must be a finite number, above 0"):
        Gaussian(scale=0)


def test_gaussian_scale_is_learnt():
    vae = small(likelihood="gaussian")
    TraceMI_ELBO(channel="mean")(vae.model, vae.guide)(vae.observe(IMAGES)).backward()
    assert vae.likelihood.raw_scale.grad.abs() > 0


def test_the_decoder_sees_every_prior_at_one_scale():
    seen = {}
    for prior in PRIORS:
        decoder = nn.Sequential(nn.Linear(5, 30), nn.Unflatten(-1, (6, 5)))
        vae = small(prior=prior, decoder=decoder)
        decoder[0].register_forward_pre_hook(lambda m, args, p=prior: seen.update({p: args[0]}))
        draws = vae.priors["c"]().sample((100_000,))
        vae.model.decode(draws, torch.zeros(100_000, 3))
        code = seen[prior][:, :2]
        assert code.mean(0).abs().max() < 0.03
        assert (code.std(0) - 1).abs().max() < 0.03


class Composed(nn.Module):
    """The decoder of a probit code, seen from its normal: composed with 2 Phi - 1."""

    def __init__(self, vae):
        super().__init__()
        self.decoder = vae.model.decoder
        self.loc, self.scale = vae.model.latent_loc[:2], vae.model.latent_scale[:2]

    def forward(self, latent):
        code = 2 * torch.special.ndtr(latent[..., :2]) - 1
        return self.decoder(torch.cat([(code - self.loc) / self.scale, latent[..., 2:]], -1))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["", "full-"])
@pytest.mark.parametrize("base", [TraceMeanField_ELBO, Trace_ELBO])
def test_a_probit_code_is_a_gaussian_code_with_another_decoder(base, family):
    """The ELBO is the same to rounding, and so are the bound and every gradient."""
    vae = small(prior="probit", posterior=f"{family}probit-normal")
    twin = small(
        posterior=f"{family}normal", decoder=Composed(vae), encoder=copy.deepcopy(vae.guide.encoder)
    )
    assert vae.model.latent_scale[:2].tolist() == pytest.approx([3**-0.5] * 2, rel=1e-6)
    x = vae.observe(IMAGES)
    for channel in ("mean", "straight-through", "sample"):
        found = []
        for one in (vae, twin):
            one.zero_grad()
            vae.model.decoder.zero_grad()  # the twin's, too
            pyro.set_rng_seed(3)
            elbo = TraceMI_ELBO(channel=channel, codes="c", elbo=base(), mi_weight=0.7)
            terms = elbo.terms(one.model, one.guide, x)
            terms["loss"].backward()
            gradients = [p.grad.clone() for p in one.guide.parameters()]
            gradients += [p.grad.clone() for p in vae.model.decoder.parameters()]
            found.append(({name: value.detach() for name, value in terms.items()}, gradients))
        (ours, our_gradients), (theirs, their_gradients) = found
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            rtol = 1e-7 if "mi" in name or name == "loss" else 1e-12  # c is inverted once
            torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=1e-12, msg=name)
        torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-6, atol=1e-9)
    # Not so if the decoder saw u itself.
    other = small(decoder=vae.model.decoder, encoder=vae.guide.encoder, posterior=f"{family}normal")
    pyro.set_rng_seed(3)
    kept = TraceMI_ELBO(channel="mean", codes="c", elbo=base()).terms(other.model, other.guide, x)
    assert abs(kept["log_likelihood"] - ours["log_likelihood"]) > 1e-3


@pytest.mark.parametrize("channel", ["mean", "sample", "straight-through", "sleep"])
def test_trains_with_svi(channel):
    vae, bystander = small(prior="uniform"), small(prior="uniform")
    untouched = parameters(bystander)
    before = parameters(vae)
    elbo = TraceMI_ELBO(channel=channel, codes="c")
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
    x = vae.observe(IMAGES)
    first = sum(svi.step(x) for _ in range(10))
    last = sum(svi.step(x) for _ in range(10))
    assert last < first
    assert all(not torch.equal(before[n], p) for n, p in vae.named_parameters())
    # A second model learns too, from its own weights.
    other = SVI(bystander.model, bystander.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    frozen = parameters(vae)
    other.step(x)
    assert all(not torch.equal(untouched[n], p) for n, p in bystander.named_parameters())
    assert all(torch.equal(frozen[n], p) for n, p in vae.named_parameters())


def test_under_fit_the_param_store_stays_empty():
    vae = small(prior="uniform")
    before = parameters(vae)
    elbo = TraceMI_ELBO(channel="straight-through", codes="c")
    fit(vae.model, vae.guide, elbo, IMAGES, steps=3, prepare=vae.observe, progress=False)
    assert all(not torch.equal(before[n], p) for n, p in vae.named_parameters())
    assert len(pyro.get_param_store()) == 0


def test_trains_as_a_module_with_a_torch_optimiser():
    vae = small()
    loss = TraceMI_ELBO(channel="mean", codes="c")(vae.model, vae.guide)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    x = vae.observe(IMAGES)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < sum(losses[:5])


def test_half_precision_networks_have_single_precision_densities():
    vae = small(prior="uniform").to(torch.bfloat16)
    x = vae.observe(IMAGES)
    assert x.dtype == torch.bfloat16
    draws = {name: q.sample() for name, q in vae.guide.encode(x).items()}
    assert {draw.dtype for draw in draws.values()} == {torch.float32}
    half = [draw.bfloat16() for draw in draws.values()]
    assert vae.model.decode(*half).mean.dtype == torch.float32


def test_noise_can_be_left_out():
    vae = small(noise_dim=0)
    terms = TraceMI_ELBO(channel="mean").terms(vae.model, vae.guide, vae.observe(IMAGES))
    assert [name for name in terms if "/" in name] == ["kl/c", "mi/c"]


def test_own_networks_and_priors():
    encoder = nn.Sequential(nn.Flatten(-2), nn.Linear(30, 10))
    made = []

    def decoder(size):
        made.append(size)
        return nn.Sequential(nn.Linear(size, 30), nn.Unflatten(-1, (6, 5)))

    vae = small(prior=make_prior("uniform", 2, low=0, high=3), encoder=encoder, decoder=decoder)
    assert made == [5]
    assert float(vae.guide(vae.observe(IMAGES))["c"].detach().min()) > 0
    conv = MIVAE(encoder="conv", decoder="conv")
    x = torch.rand(3, 28, 28).round()
    assert TraceMI_ELBO(channel="sample").loss(conv.model, conv.guide, x) > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"likelihood": "poisson"}, "unknown likelihood 'poisson': expected one of bernoulli"),
        ({"encoder": "transformer"}, "unknown encoder 'transformer': expected one of mlp, conv"),
        ({"prior": "cauchy"}, "unknown prior 'cauchy'"),
        ({"posterior": "beta"}, "no posterior 'beta' fits"),
        ({"prior": make_prior("gaussian", 7)}, "prior has 7 dimensions, but code_dim is 2"),
    ],
)
def test_errors(settings, words):
    with pytest.raises(ValueError, match=words):
        small(**settings)
