"""A round of the game: forward runs of the model, and the losses of both players on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyro_mivae.infer.adversarial.comparison import Comparison, compare
from pyro_mivae.infer.adversarial.critic import Critic
from pyro_mivae.infer.adversarial.losses import (
    Adversary,
    generated_loss,
    generator_loss,
    real_loss,
)
from pyro_mivae.infer.base_parts import times
from pyro_mivae.infer.compiled.capture import leaves_of
from pyro_mivae.infer.compiled.graphs import StepFunction
from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.dual_pass import DualPass, DualTerms
from pyro_mivae.infer.dual.score_function import (
    Scores,
    couples,
    forward_scores,
    with_scores,
)
from pyro_mivae.infer.dual.scoring import Scoring
from pyro_mivae.infer.schedule import is_zero
from pyro_mivae.isolation import buffers_apart, watching
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, latent_sites

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Rules:
    """What holds in all rounds.

    Attributes:
        dual: Generates x' and scores the codes.
        critic: The discriminator.
        adversary: Name of the losses.
        penalty: Weight of the gradient penalty; 0 for none.
    """

    dual: DualPass
    critic: Critic
    adversary: Adversary
    penalty: float


@dataclass
class Draw:
    """A forward run.

    Attributes:
        forward: The run.
        codes: The codes that are latent in it.
        coupled: Whether the model's data depend on each other, through normalisation by the batch.
    """

    forward: Forward
    codes: Codes
    coupled: bool


class Round:
    """Forward runs of a call, and the losses of both players on them.

    Running statistics, as those of batch normalisation, are written once by each player: those of
    the model by its forward run, those of the discriminator by the real data, and those of the
    guide's own modules by x', in the reader's turn.

    Args:
        rules: What holds in all rounds.
        call: The pair and its arguments.
        mi_weight: lambda at this step, or a dict of it by site.
        code_scale: The scale of the codes at this step.
    """

    def __init__(self, rules: Rules, call: Call, mi_weight: Any, code_scale: Any) -> None:
        by_site = mi_weight if isinstance(mi_weight, dict) else None
        self.rules, self.call = rules, call
        self.scoring = Scoring(by_site, code_scale)
        self.skip = is_zero(mi_weight)
        self.weight = 1.0 if by_site else mi_weight
        self.arguments = rules.critic.arguments(call)
        self.draws: list[Draw] = []

    def draw(self, count: int) -> Round:
        """Runs the model forward `count` times."""
        for _ in range(count):
            called: list[nn.Module] = []
            with watching(called.append):
                forward, codes = self.rules.dual.generate(self.call)
            self.draws.append(Draw(forward, codes, any(map(couples, called))))
        return self

    def reader(self, *, always_dual: bool = False) -> tuple[Terms, Tensor]:
        """Computes the loss of discriminator and guide, with their gradient and no other.

        Args:
            always_dual: Whether to report the information at weight 0, too.

        Returns:
            The terms, detached, and the loss, per datum.
        """
        rounds = [self._reader(draw, always_dual) for draw in self.draws]
        return _averaged(rounds, "loss/reader")

    def model(self, *, always_dual: bool = False) -> tuple[Terms, Tensor]:
        """Computes the loss of the model, with its gradient and no other; otherwise as `reader`."""
        rounds = [self._model(draw, always_dual) for draw in self.draws]
        return _averaged(rounds, "loss/model")

    def _reader(self, draw: Draw, always_dual: bool) -> tuple[Terms, Tensor]:
        rules, forward = self.rules, draw.forward.detached()
        own = [rules.critic.discriminator]
        comparison = compare(forward, rules.dual.observed)
        with buffers_apart(own, others=False):  # a trunk that the guide shares
            dual = self._information(draw, forward, always_dual)
        real = rules.critic(comparison.real, comparison, self.arguments)
        terms: Terms = {"discriminator": real.new_zeros(())}
        terms["discriminator/real"] = _mean(comparison, real_loss(rules.adversary, real))
        with buffers_apart(own):
            logits = rules.critic(comparison.generated, comparison, self.arguments)
            generated = _mean(comparison, generated_loss(rules.adversary, logits))
            terms["discriminator/generated"] = generated
            loss = terms["discriminator/real"] + generated
            if rules.penalty:
                penalties = rules.critic.gradient_penalty(comparison, self.arguments)
                terms["discriminator/penalty"] = rules.penalty * _mean(comparison, penalties)
                loss = loss + terms["discriminator/penalty"]
        terms["discriminator"] = loss
        return self._with_information(terms, loss, None, dual, comparison)

    def _model(self, draw: Draw, always_dual: bool) -> tuple[Terms, Tensor]:
        rules, forward = self.rules, draw.forward
        comparison = compare(forward, rules.dual.observed)
        with buffers_apart([rules.critic.discriminator]):
            dual = self._information(draw, forward, always_dual)
            logits = rules.critic(comparison.generated, comparison, self.arguments)
        rows = generator_loss(rules.adversary, logits)
        value = _mean(comparison, rows)
        scores = forward_scores(forward) if torch.is_grad_enabled() else []
        surrogate = None
        if scores:  # draws of the model without a pathwise gradient
            coupled = draw.coupled or self._coupled(comparison)
            memory = rules.dual.memories(self.call)
            crossed = rules.dual.crossed(forward, None, {}, self.call, memory, coupled=coupled)
            surrogate = with_scores(
                value,
                [comparison.cost(rows)],
                scores,
                coupled=coupled,
                crossed=crossed,
                baseline=True,
            )
        terms, loss = self._with_information(
            {"generator": value}, value, surrogate, dual, comparison
        )
        return terms, _of_leaves(loss, leaves_of(*own_tensors(forward, dual, scores)))

    def _information(self, draw: Draw, forward: Forward, always_dual: bool) -> DualTerms | None:
        if self.skip and not always_dual:
            return None
        called: list[nn.Module] = []
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not self.skip),
            watching(called.append),
        ):
            dual = self.rules.dual
            guide_trace, codes = dual.read(forward, draw.codes, self.call, self.scoring)
            coupled = draw.coupled or any(map(couples, called))
            return dual.score(forward, guide_trace, codes, self.call, self.scoring, coupled=coupled)

    def _with_information(
        self,
        terms: Terms,
        value: Tensor,
        surrogate: Tensor | None,
        dual: DualTerms | None,
        comparison: Comparison,
    ) -> tuple[Terms, Tensor]:
        """The terms and the loss, from which the weighted information is taken off."""
        # Where no part has a surrogate, the value carries the gradient itself.
        own = surrogate is None and (dual is None or dual.surrogate is None)
        differentiable = value if surrogate is None else surrogate
        if dual is not None:
            share = 1 / comparison.number
            terms["mi"] = value.new_zeros(()) + dual.value * share
            terms.update({f"mi/{site}": part * share for site, part in dual.per_site.items()})
            if not self.skip:  # 0 times an infinite bound is no number
                value = value - times(self.weight, dual.weighted) * share
                if not own:
                    weighted = times(self.weight, dual.differentiable) * share
                    differentiable = differentiable - weighted
        terms = {name: term.detach() for name, term in terms.items()}
        if own or not differentiable.requires_grad:
            return terms, value
        return terms, value.detach() + (differentiable - differentiable.detach())

    def _coupled(self, comparison: Comparison) -> bool:
        """Whether the discriminator reads across the batch, looked at once in each of its modes."""
        memory, critic = self.rules.dual.memories(self.call), self.rules.critic
        training = critic.discriminator.training
        if training not in memory.coupled:
            with buffers_apart([critic.discriminator]):
                memory.coupled[training] = critic.couples(comparison, self.arguments)
        return memory.coupled[training]


def own_tensors(forward: Forward, dual: DualTerms | None, scores: Scores) -> list[Tensor]:
    """Lists what the model computes: its parameters are the leaves of these."""
    latent = [forward.trace.nodes[name]["value"] for name in latent_sites(forward.trace)]
    priors = [] if dual is None else list(dual.log_priors.values())
    return [*latent, *forward.generated.values(), *priors, *(score for _, score in scores)]


def _of_leaves(loss: Tensor, leaves: Sequence[Tensor]) -> Tensor:
    """The loss with its gradient in these leaves, and none in others that it was computed from."""
    if not loss.requires_grad or not leaves:
        return loss.detach()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    pairs = [(leaf, g) for leaf, g in zip(leaves, gradients, strict=True) if g is not None]
    if not pairs:
        return loss.detach()
    wanted, given = zip(*pairs, strict=True)
    result: Tensor = StepFunction.apply((loss.detach(), *given), *wanted)
    return result


def _mean(comparison: Comparison, values: Tensor) -> Tensor:
    return comparison.sum(values) / comparison.size


def _averaged(rounds: list[tuple[Terms, Tensor]], name: str) -> tuple[Terms, Tensor]:
    """The means over the forward runs."""
    terms, losses = zip(*rounds, strict=True)
    loss = sum(losses[1:], losses[0]) / len(losses) if len(losses) > 1 else losses[0]
    means = {
        key: torch.stack([each[key] for each in terms]).mean(0) if len(terms) > 1 else value
        for key, value in terms[0].items()
    }
    return {**means, name: loss.detach()}, loss
