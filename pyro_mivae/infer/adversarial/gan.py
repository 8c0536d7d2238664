"""``TraceMI_GAN``: InfoGAN's objective, an adversary and the information of codes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro.infer.util import torch_item
from pyro.util import warn_if_nan
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pyro_mivae.infer.adversarial.critic import Critic
from pyro_mivae.infer.adversarial.look import look
from pyro_mivae.infer.adversarial.losses import Adversary, check_adversary
from pyro_mivae.infer.adversarial.players import PLAYERS, Players, PlayerStep
from pyro_mivae.infer.adversarial.rounds import Round, Rules
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, check_channel
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.dual.scoring import Scoring
from pyro_mivae.infer.schedule import (
    Scales,
    Weights,
    checked_scales,
    checked_weight,
    checked_weights,
    scales_at,
    weights_at,
)
from pyro_mivae.isolation import buffers_apart, device_of, remembered_roots, undisturbed
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, as_codes, as_names

_numbers = itertools.count()


class TraceMI_GAN:
    r"""InfoGAN's objective for any pair: an adversary in the place of the ELBO.

    The model generates data x' from codes c and noise. A discriminator D tells them from real
    data, and the guide reads the codes off them. Per datum, in nats, two losses are minimised,

    .. math::

        \text{model:} \quad & -\mathbb{E}[\log D(x')] - \sum_s \lambda_s I(c_s; x') \\
        \text{reader:} \quad & -\mathbb{E}[\log D(x)] - \mathbb{E}[\log (1 - D(x'))]
        - \sum_s \lambda_s I(c_s; x')

    the first in the parameters of the model, the second in those of discriminator and guide, the
    two players. :math:`I(c; x')` is the dual term of :class:`~pyro_mivae.infer.TraceMI_ELBO`, by
    the same code. No density of x is evaluated, as in :class:`pyro.infer.EnergyDistance`::

        gan = TraceMI_GAN(discriminator, codes=("c", "d"), mi_weight={"c": 0.1, "d": 1.0})
        for x in batches:
            for turn in gan.steps(model, guide, x):  # the reader's, then the model's
                optimizers[turn.player].zero_grad()
                terms, loss = turn()
                loss.backward()
                optimizers[turn.player].step()

    :func:`pyro_mivae.training.fit` does so, with checkpoints and all else.

    With ``SVI(model, guide, optimizer, gan)`` both players take their steps at once, from one
    point: that is not InfoGAN's schedule. Parameters of the discriminator are registered under
    names that begin with ``discriminator``, for rates by name.

    Args:
        discriminator: A module. Its ``forward`` is given the data, real ones or x', and returns
            logits of their being real, (batch,) or (batch, 1), where the batch is the first
            dimension of the data. Where the model observes one site, the data are its value, else
            a dict of values by site, those of `observed` among them. If ``forward`` has
            parameters after the first, those that the model's arguments have the names of are
            passed by name (a covariate). It may share modules with the guide.
        codes: As in :class:`~pyro_mivae.infer.TraceMI_ELBO`; no default. The guide has these sites
            and no others: noise needs no guide.
        channel: How x' is generated: ``"mean"``, ``"straight-through"``, or ``"sample"`` where x'
            has ``rsample``.
        mi_weight: lambda, as in :class:`~pyro_mivae.infer.TraceMI_ELBO`: a number, a callable of
            the step, or a mapping by site.
        code_scale: As in :class:`~pyro_mivae.infer.TraceMI_ELBO`; 1 for continuous codes is the
            form of InfoGAN.
        adversary: ``"non-saturating"``, ``"hinge"`` or ``"wasserstein"``, see
            :data:`~pyro_mivae.infer.Adversary`. The last two are not in nats.
        gradient_penalty: Weight of the gradient penalty in the discriminator's loss; None for 10
            with ``"wasserstein"`` (Gulrajani et al. 2017) and 0 with the others.
        observed: Observed sites that keep their data value (covariates).
        data_args: Where the guide expects x', as in :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        num_dual_particles: Forward runs, and batches of x', averaged in each step.

    Attributes:
        step: The step of the schedules; advanced by :meth:`loss_and_grads`.

    Raises:
        TypeError: If `codes` are left out.
        ValueError: If an argument is out of range or, at a call, model, guide and discriminator do
            not fit (the message says how).

    References:
        Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel (2016), *InfoGAN*; Goodfellow et al.
        (2014), *Generative adversarial nets*.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        codes: str | Iterable[str] | Codes | None = None,
        channel: Channel = "mean",
        mi_weight: Weights = 1.0,
        code_scale: Scales = None,
        adversary: Adversary = "non-saturating",
        gradient_penalty: float | None = None,
        observed: str | Iterable[str] = (),
        data_args: DataArgs | None = None,
        num_dual_particles: int = 1,
    ) -> None:
        self.channel = check_channel(channel)
        if self.channel == "sleep":
            raise ValueError(
                "channel 'sleep' cuts x' off from the model, which would have no gradient of the "
                "discriminator: use 'mean', 'straight-through' or 'sample'"
            )
        named = as_codes(codes)
        if named is None:
            raise TypeError(
                "codes has no default: name the latent sites whose information counts and which "
                "the guide reads, for example codes=('c', 'd'). All other latent sites are noise"
            )
        if not isinstance(num_dual_particles, int) or num_dual_particles < 1:
            raise ValueError(f"num_dual_particles must be at least 1, found {num_dual_particles!r}")
        self.adversary = check_adversary(adversary)
        if gradient_penalty is None:
            gradient_penalty = 10.0 if adversary == "wasserstein" else 0.0
        if callable(gradient_penalty):
            raise ValueError("gradient_penalty must be a number, found a function")
        self.gradient_penalty = checked_weight("gradient_penalty", gradient_penalty)
        self.discriminator = discriminator
        self.codes = named
        self.mi_weight = checked_weights("mi_weight (lambda)", mi_weight, named)
        self.code_scale = checked_scales(code_scale, named)
        self.observed = as_names(observed)
        self.num_dual_particles = num_dual_particles
        self.step = 0
        self.name = f"discriminator{next(_numbers)}"
        dual = DualPass(
            channel=self.channel, codes=named, observed=self.observed, data_args=data_args
        )
        self._rules = Rules(dual, Critic(discriminator), self.adversary, self.gradient_penalty)

    def __call__(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Computes the sum of both losses, as a tensor that gives each parameter its own gradient.

        Nobody minimises this sum: the gradient of a parameter is that of its own player's loss.
        Where gradients are enabled the schedules' step is advanced, since ``SVI`` calls this.

        Returns:
            A tensor of shape ``()``, per datum.
        """
        reader, model_step = self.steps(model, guide, *args, **kwargs)
        self._register()
        loss = reader()[1] + model_step()[1]
        if torch.is_grad_enabled():
            self.step += 1
        warn_if_nan(loss, "loss")
        return loss

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Computes the sum of both losses as a number, per datum; nobody minimises it."""
        terms = self.terms(model, guide, *args, **kwargs)
        return float(torch_item(terms["loss/reader"] + terms["loss/model"]))

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Computes :meth:`loss`, adds each player's gradient to its own parameters, and steps.

        Both gradients are taken at one point, without an update between them.
        """
        loss = self(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(torch_item(loss))

    def terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Computes what the losses consist of, per datum, without gradients.

        Running statistics of modules are left as they were. The information is computed also at
        ``mi_weight=0``.

        Returns:
            Tensors of shape ``()``: ``discriminator``, which is the sum of ``discriminator/real``,
            ``discriminator/generated`` and, with a gradient penalty, ``discriminator/penalty``;
            ``generator``; ``mi`` and its shares ``mi/<site>``; the players' losses
            ``loss/reader = discriminator - sum of mi_weight * mi/<site>`` and
            ``loss/model = generator - sum of mi_weight * mi/<site>``.
        """
        call = self._looked_at(Call(model, guide, args, kwargs))
        roots = [*remembered_roots(model), *remembered_roots(guide), self.discriminator]
        with torch.no_grad(), buffers_apart(roots):
            played = self._round(call)
            terms = played.reader(always_dual=True)[0]
            terms |= played.model(always_dual=True)[0]
        information = [name for name in terms if name.split("/")[0] == "mi"]
        losses = [name for name in terms if name.startswith("loss/")]
        parts = [name for name in terms if name not in (*information, *losses)]
        return {name: terms[name] for name in (*parts, *information, *losses)}

    def steps(
        self, model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> tuple[PlayerStep, PlayerStep]:
        """Generates x' once and returns the turns of both players on it: the reader's, the model's.

        The reader's loss has no gradient in the model, and is to be minimised first: the model's
        turn, computed when it is called, asks the discriminator and the guide as they then are.
        Advancing :attr:`step` is up to the caller.

        Raises:
            ValueError: If model, guide and discriminator do not fit.
        """
        played = self._round(self._looked_at(Call(model, guide, args, kwargs)))
        reader, last = PLAYERS
        return PlayerStep(reader, played.reader), PlayerStep(last, played.model)

    def reader_step(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> PlayerStep:
        """Generates x' without a gradient, and returns a turn of the reader alone.

        For several steps of the discriminator to one of the model. The model's running statistics
        are left as they were.

        Raises:
            ValueError: If model, guide and discriminator do not fit.
        """
        call = self._looked_at(Call(model, guide, args, kwargs))
        with torch.no_grad(), buffers_apart(remembered_roots(model)):
            played = self._round(call)
        return PlayerStep(PLAYERS[0], played.reader)

    def players(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Players:
        """Finds the parameters of both players by one run, which leaves no trace.

        Returns:
            Parameters by name. A module that the guide shares with the discriminator is the
            reader's, once. Those that live in Pyro's store are unconstrained.

        Raises:
            ValueError: If a parameter belongs to both players, or the parts do not fit.
        """
        return self._play_once(Call(model, guide, args, kwargs))[0]

    def weights(self) -> Any:
        """Returns ``mi_weight`` at the current step; a mapping by site as a dict."""
        return weights_at("mi_weight", self.mi_weight, self.step)

    def state_dict(self) -> dict[str, int]:
        """Returns what a checkpoint keeps besides the modules: the step of the schedules."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores :meth:`state_dict`."""
        self.step = int(state["step"])

    def _round(self, call: Call) -> Round:
        scale = scales_at(self.code_scale, self.step)
        played = Round(self._rules, call, self.weights(), scale).draw(self.num_dual_particles)
        memory = self._rules.dual.memories(call)
        if not memory.codes_played and any(draw.codes for draw in played.draws):
            memory.codes_played = self._play_once(call)[1]
        return played

    def _looked_at(self, call: Call) -> Call:
        """Checks a pair in its first call, and again in the first with codes to look at."""
        memory = self._rules.dual.memories(call)
        if not memory.players_checked:
            memory.codes_played = self._play_once(call)[1]
            memory.players_checked = True
        return call

    def _play_once(self, call: Call) -> tuple[Players, bool]:
        """The players, and whether the call had codes to look at."""
        parts = (call.model, call.guide, self.discriminator)
        device = device_of(parts, pytree.tree_leaves((call.args, dict(call.kwargs))))
        by_site = weights if isinstance(weights := self.weights(), dict) else None
        scoring = Scoring(by_site, scales_at(self.code_scale, self.step))
        with torch.enable_grad(), undisturbed(parts, device):
            players, codes = look(self._rules, call, scoring)
        return players, bool(codes)

    def _register(self) -> None:
        """Shows the discriminator's parameters to SVI; not where they stay out of Pyro's store."""
        if torch.is_grad_enabled() and not pyro.settings.get("module_local_params"):
            pyro.module(self.name, self.discriminator)
