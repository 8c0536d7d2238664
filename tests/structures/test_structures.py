"""Known structures of Pyro's documentation: terms, gradients, training, compilation."""

import pyro
import pytest
import torch
from structure import ALL, BASES, Recorder, by_hand
from structure_models import BY_NAME, STRUCTURES

from pyro_mivae.infer import TraceMI_ELBO, compile_elbo
from pyro_mivae.training import fit

pytestmark = pytest.mark.filterwarnings(
    # PyTorch's own, on import of its compiler.
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore:.*is deprecated:DeprecationWarning",
    "ignore:`torch._prims_common.check` is deprecated:FutureWarning",
    # Pyro's own, of calls in which all labels are observed.
    "ignore:TraceEnum_ELBO found no sample sites configured for enumeration",
)

CASES = [(s.name, channel) for s in STRUCTURES for channel in s.channels]
REFUSED = [(s.name, channel) for s in STRUCTURES for channel in ALL if channel in s.refused]
COMPILED = {"vae", "dmm", "prodlda", "air", "lda, batch_size", "toy mixture, known tables"}


def elbo_of(structure, channel, **options):
    base = BASES[structure.base]()
    return TraceMI_ELBO(channel=channel, elbo=base, **structure.options(), **options)


def gradients(elbo, pair, seed=1):
    """By the parameter's name; the parameters are those of the store."""
    pyro.set_rng_seed(seed)
    for _, parameter in pyro.get_param_store().named_parameters():
        parameter.grad = None
    elbo.loss_and_grads(pair.model, pair.guide, *pair.args)
    return {name: p.grad for name, p in pyro.get_param_store().named_parameters()}


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_terms_are_those_by_hand(name, channel, float64):
    """At the draws of the library's own dual pass."""
    structure = BY_NAME[name]
    pair = structure.build(20)
    model, guide = Recorder(pair.model), Recorder(pair.guide)
    elbo = elbo_of(structure, channel, mi_weight=0.7)
    for _ in range(2):  # the first run has more to find out
        terms = elbo.terms(model, guide, *pair.args)
        has_kl = "kl" in terms
        evidence = terms["log_likelihood"] - terms["kl"] if has_kl else terms["elbo"]
        torch.testing.assert_close(terms["loss"].detach(), -evidence - 0.7 * terms["mi"])
        shares = sum(value for key, value in terms.items() if key.startswith("mi/"))
        torch.testing.assert_close(shares, terms["mi"])
    expected = by_hand(structure, pair, model.traces[-1], guide.traces[-1])
    assert terms["mi"].item() == pytest.approx(expected, abs=1e-9)
    if channel == "mean":
        for site in structure.sites_of(model.traces[-1]):
            is_mean = torch.isclose(site["value"], site["fn"].mean)
            mask = getattr(getattr(site["fn"], "base_dist", None), "_mask", None)
            mask = mask if mask is not None else site["mask"]
            assert (is_mean if mask is None else is_mean | ~mask).all()


@pytest.mark.parametrize("name", BY_NAME)
def test_without_the_term_the_loss_is_that_of_the_base(name, float64):
    structure = BY_NAME[name]
    pair = structure.build(6)
    losses = []
    for elbo in (BASES[structure.base](), elbo_of(structure, "sample", mi_weight=0)):
        pyro.set_rng_seed(4)
        losses.append(elbo.loss(pair.model, pair.guide, *pair.args))
    assert losses[0] == pytest.approx(losses[1], abs=1e-10)
    terms = elbo_of(structure, "sample", mi_weight=0)
    pyro.set_rng_seed(4)
    value = terms.terms(pair.model, pair.guide, *pair.args)["loss"].item()
    assert value == pytest.approx(losses[0], abs=1e-10)


@pytest.mark.parametrize(("name", "channel"), CASES)
def test_gradients_are_finite_and_where_expected(name, channel, float64):
    structure = BY_NAME[name]
    pair = structure.build(6)
    with_term = gradients(elbo_of(structure, channel), pair)
    assert with_term
    for parameter, grad in with_term.items():
        if structure.silent and structure.silent in parameter:
            assert grad is None, parameter
        else:
            assert grad is not None, parameter
            assert grad.isfinite().all(), parameter
    without = gradients(elbo_of(structure, channel, mi_weight=0), pair)
    changed = {
        parameter
        for parameter, grad in with_term.items()
        if grad is not None and not torch.allclose(grad, without[parameter], atol=1e-12)
    }
    decoders = {name for name in with_term if structure.decoder and structure.decoder in name}
    if structure.silent:
        decoders = {name for name in decoders if structure.silent not in name}
    assert changed - decoders  # the guide learns
    if channel == "sleep":
        assert not changed & decoders
    else:
        assert not decoders or changed & decoders


@pytest.mark.parametrize(("name", "channel"), REFUSED)
def test_a_channel_that_can_not_be_says_which_can(name, channel):
    structure = BY_NAME[name]
    pair = structure.build(6)
    pattern = f"{structure.refused[channel]}: use channel='sample' or channel='sleep'"
    with pytest.raises(ValueError, match=pattern):
        elbo_of(structure, channel).terms(pair.model, pair.guide, *pair.args)


@pytest.mark.parametrize("name", BY_NAME)
def test_fit_trains(name):
    structure = BY_NAME[name]
    pair = structure.build(6)
    elbo = elbo_of(structure, structure.channels[-1], mi_weight=0.5)
    options = {"data": torch.zeros(pair.cells), "batch_size": None, "prepare": lambda _: pair.args}
    tensors = [a for a in pair.args if isinstance(a, torch.Tensor) and len(a) == pair.cells]
    if len(tensors) == len(pair.args) and pair.cells > 2:
        options = {"data": pair.args, "batch_size": 3}
    history = fit(
        pair.model,
        pair.guide,
        elbo,
        steps=3,
        log_every=1,
        device="cpu",
        progress=False,
        **options,
    )
    assert history.series("loss")[0] == [1, 2, 3]
    assert elbo.step == 3


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in COMPILED)) for n in BY_NAME],
)
def test_compiled_or_a_clear_reason(name, float64):
    structure = BY_NAME[name]
    pair = structure.build(4)
    elbo = elbo_of(structure, "sample")
    step = compile_elbo(elbo, pair.model, pair.guide, backend="eager")
    if structure.fallback is None:
        step(*pair.args)
    else:
        with pytest.warns(UserWarning, match="run in eager mode, without compile_elbo"):
            step(*pair.args)
    losses = []
    for loss in (step, lambda *args: elbo.differentiable_loss(pair.model, pair.guide, *args)):
        pyro.set_rng_seed(3)
        losses.append(loss(*pair.args).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    if structure.fallback is None:
        assert step.fallback is None
    else:
        assert structure.fallback in step.fallback
        assert not step.fallback.strip().endswith(":")  # a reason
