"""What is looked at once for each pair and discriminator, before the first round."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from pyro_mivae.infer.adversarial.comparison import Comparison, compare
from pyro_mivae.infer.adversarial.players import Players, share_out
from pyro_mivae.infer.adversarial.rounds import Rules, own_tensors
from pyro_mivae.infer.dual.channel import Forward, NoMeanError
from pyro_mivae.infer.dual.score_function import couples, forward_scores
from pyro_mivae.infer.dual.scoring import Scoring
from pyro_mivae.isolation import watching
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, latent_sites, unwrap


def look(rules: Rules, call: Call, scoring: Scoring) -> tuple[Players, Codes]:
    """Runs model, guide and discriminator once, and refuses what can't be played.

    Args:
        rules: What holds in all rounds.
        call: The pair and its arguments.
        scoring: Weights and scales of the codes.

    Returns:
        The parameters of the players, and the codes that are latent in the call.

    Raises:
        ValueError: If channel, guide, discriminator or their parameters do not fit.
    """
    dual, critic = rules.dual, rules.critic
    try:
        forward, guide_trace, codes = dual.traces(call, scoring)
    except NoMeanError as error:
        raise ValueError(
            str(error).replace(
                NoMeanError.REMEDY,
                "give it a distribution that has one (a OneHotCategorical in the place of a "
                "Categorical), or take channel='sample' where it has a reparameterised sampler",
            )
        ) from error
    _require_rsample(forward)
    _require_codes_only(guide_trace, codes, rules, call)
    frozen = forward.detached()
    comparison = compare(frozen, dual.observed)
    critic.require_arguments(call, comparison)
    real = _look_at_logits(rules, call, comparison)
    dual_terms = dual.score(forward, guide_trace, codes, call, scoring)
    own = own_tensors(forward, dual_terms, forward_scores(forward))
    read_trace, codes = dual.read(frozen, codes, call, scoring)
    read = dual.score(frozen, read_trace, codes, call, scoring)
    scored = [part for part in read.per_site.values() if isinstance(part, Tensor)]
    players = share_out(call, critic.discriminator, own, [real, *scored])
    return players, codes


def _require_rsample(forward: Forward) -> None:
    """Refuses draws of x' that the discriminator's gradient can't pass."""
    for name in forward.generated if forward.channel == "sample" else ():
        fn = forward.trace.nodes[name]["fn"]
        if not getattr(fn, "has_rsample", False):
            raise ValueError(
                f"channel 'sample' hands draws of x' to the discriminator, whose gradient has to "
                f"pass them to reach the model, but site '{name}' is a "
                f"{type(unwrap(fn)).__name__}, which has no reparameterised sampler: use "
                "channel='mean' (InfoGAN's: the mean is what is generated) or "
                "channel='straight-through'"
            )


def _require_codes_only(guide_trace: Any, codes: Codes, rules: Rules, call: Call) -> None:
    """Refuses a guide with sites of noise, whose parameters no term would train."""
    owners = rules.dual.memories(call).owners
    named = {*codes, *(rules.dual.code_sites.named or {}), *owners}
    others = [
        name
        for name in latent_sites(guide_trace)
        if name not in named and not (guide_trace.nodes[name]["infer"] or {}).get("is_auxiliary")
    ]
    if others:
        raise ValueError(
            f"the guide has the sites {others}, which are no codes: the guide of TraceMI_GAN reads "
            "the codes alone, since the adversary takes the place of the ELBO and noise needs no "
            f"guide. Leave them out of the guide, or name them: codes={[*codes, *others]}"
        )


def _look_at_logits(rules: Rules, call: Call, comparison: Comparison) -> Tensor:
    """The logits of the real data, after a look at shapes and at the gradient of x'."""
    critic = rules.critic
    arguments = critic.arguments(call)
    called: list[nn.Module] = []
    with watching(called.append):
        real = critic(comparison.real, comparison, arguments)
    generated = dict(comparison.generated)
    for site in comparison.sites:
        generated[site] = generated[site].detach().requires_grad_()
    logits = critic(generated, comparison, arguments)
    inputs = [generated[site] for site in comparison.sites]
    slopes: Any = (None,)
    if logits.requires_grad:
        slopes = torch.autograd.grad(logits.sum(), inputs, retain_graph=True, allow_unused=True)
    if all(slope is None for slope in slopes):
        raise ValueError(
            "the discriminator's output has no gradient in the data that it is given, so that the "
            "model can't learn from it: expected a module that computes with its first argument "
            "(not .detach(), .round(), comparisons or NumPy)"
        )
    if called and isinstance(called[-1], nn.Sigmoid) and _all_between(real, 0, 1):
        warnings.warn(
            "the discriminator ends with a sigmoid, but its output is taken for logits, of which "
            "the sigmoid is the probability of real data: leave the sigmoid out",
            stacklevel=2,
        )
    normalised = any(couples(module) for module in called)
    if rules.penalty and normalised:
        warnings.warn(
            "the gradient penalty takes each datum by itself, but the discriminator normalises by "
            "the batch: use another normalisation, for example LayerNorm",
            stacklevel=2,
        )
    return real


def _all_between(values: Tensor, low: float, high: float) -> bool:
    if values.is_meta:
        return False
    return bool(((values >= low) & (values <= high)).all())
