"""``TraceMI_ELBO``: an ELBO with the information between code and generated data."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pyro.infer import ELBO, TraceMeanField_ELBO
from pyro.infer.util import is_validation_enabled, torch_backward, torch_item
from pyro.util import warn_if_nan
from torch import Tensor

from pyro_mivae.checks import check_draws, check_flag
from pyro_mivae.infer.base_parts import base_parts, check_base
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.channel import Channel, check_channel
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.dual.fixed_scale import check_one_sample
from pyro_mivae.infer.dual.scoring import Scoring
from pyro_mivae.infer.guide_checks import explain_support
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.infer.schedule import (
    Scales,
    Weight,
    Weights,
    checked_scales,
    checked_weight,
    checked_weights,
    is_zero,
    scales_at,
    weights_at,
)
from pyro_mivae.infer.terms import assemble
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, as_codes, as_names

logger = logging.getLogger(__name__)


class TraceMI_ELBO(ELBO):  # type: ignore[misc]
    r"""An ELBO plus a bound on the information between a code and what the model generates.

    Wraps a base ELBO and adds the reconstruction term of the *dual* VAE: the code is
    drawn from its prior, data x' are generated, the guide is scored on them. Summed
    over the data, in nats, the loss is

    .. math::

        -\mathbb{E}_q[\log p(x|z)] + \beta\, \mathrm{KL}(q(z|x) \,\|\, p(z))
        - \lambda\, I(c; x'), \qquad
        I(c; x') = \mathbb{E}_{z \sim p(z),\, x' \sim p(x|z)}[\log q(c|x') - \log p(c)]

    The last term is the lower bound of Barber and Agakov (2003) on the mutual
    information, as used by Ducau and Trénous (2016); it may be negative. Works with
    :class:`pyro.infer.SVI` and, for modules, as ``elbo(model, guide)`` with a torch
    optimiser::

        elbo = TraceMI_ELBO(channel="straight-through", codes="c", mi_weight=1.0)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), elbo)

    Args:
        channel: How x' is generated and how gradients reach the decoder, see
            :data:`~pyro_mivae.infer.Channel`. Under ``"mean"`` the term is a score, not
            a bound. Where a draw without a pathwise gradient moves the terms of other cells of a
            plate (a guide that reads x' along a plate of time, batch normalisation), it is weighed
            by the terms of all of them, with a warning: unbiased, but of high variance. Such a
            plate is better a dimension of the event.
        mi_weight: lambda >= 0, a number or a callable of the step. Or a mapping that gives each
            code site its own, ``{"c": 0.1, "d": 1.0}``: the loss then has the sum of the terms
            ``mi/<site>`` by their weights in place of ``mi``.
        kl_weight: beta >= 0 of the base part; 1 with TraceGraph and TraceEnum.
        codes: A latent site, several, None for all that model and guide share, or a
            mapping ``{"z": slice(5, 10)}`` that picks event dimensions of a factorised
            site. A code that a call observes is left out in that call.
        observed: Observed sites that keep their data value in the dual pass
            (covariates): the bound is then on I(c; x' | y).
        elbo: The base: :class:`~pyro.infer.TraceMeanField_ELBO` (default),
            :class:`~pyro.infer.Trace_ELBO`, :class:`~pyro.infer.TraceGraph_ELBO` or
            :class:`~pyro.infer.TraceEnum_ELBO`. The last two wait for the device.
        data_args: Where the guide expects x': ``{"site": "argument"}``, a position, None
            for a site that the guide does not read, or a callable ``(generated, args,
            kwargs) -> (args, kwargs)``. Usually found by itself: the arguments that are
            the observed value or a view of it, or that the model took it from.
        num_dual_particles: Forward runs averaged for the dual term.
        num_dual_samples: Draws K of the guide in the bound L_K, which grows from the bound above
            at K = 1 to the information (as importance-weighted autoencoders are to the VAE).
            All latent sites of the model have to be codes. Its gradient is unbiased under
            ``"sample"``, biased under ``"straight-through"``, and that of the guide alone
            under ``"sleep"``; ``"mean"`` is refused. A step costs K runs of model and guide.
        code_scale: None for the bound. With a number s the density of a continuous code is that of
            a normal of standard deviation s around the guide's mean (its median where that has no
            closed form), as InfoGAN does with s = 1 (Chen et al. 2016, sec. 7). Discrete codes are
            unaffected. Still a lower bound, but a loose one. Or a callable of the step, or a
            mapping by site; sites that it leaves out have None.
        baseline: Whether the ``"sample"`` channel's score-function terms use the
            leave-one-out mean over independent data (never with a batch of one, nor
            through batch normalisation in training mode).

    Attributes:
        step: The step of the schedules; advanced by :meth:`loss_and_grads`.
        kl_estimators: ``"analytic"`` or ``"sampled"`` for each KL of the pair of the last call.

    Raises:
        ValueError: If an argument is out of range, the base is not supported, or, at a
            call, model and guide do not fit (the message says how).

    References:
        Barber and Agakov (2003), *The IM algorithm*, eq. 3; Ducau and Trénous (2016),
        *Mutual information in variational autoencoders*.
    """

    def __init__(
        self,
        *,
        channel: Channel | None = None,
        mi_weight: Weights = 1.0,
        kl_weight: Weight = 1.0,
        codes: str | Iterable[str] | Codes | None = None,
        observed: str | Iterable[str] = (),
        elbo: ELBO | None = None,
        data_args: DataArgs | None = None,
        num_dual_particles: int = 1,
        num_dual_samples: int = 1,
        code_scale: Scales = None,
        baseline: bool = True,
    ) -> None:
        base = TraceMeanField_ELBO() if elbo is None else elbo
        channel = check_channel(channel)
        check_base(base, kl_weight)
        counts = {"num_dual_particles": num_dual_particles, "num_dual_samples": num_dual_samples}
        for name, count in counts.items():
            check_draws(name, count)
        check_flag("baseline", baseline)
        if num_dual_samples > 1 and channel == "mean":
            raise ValueError(
                "num_dual_samples > 1 weighs draws of x' by their density, which the channel "
                "'mean' does not draw: use 'sample', 'straight-through' or 'sleep'"
            )
        self.codes = as_codes(codes)
        self.mi_weight = checked_weights("mi_weight (lambda)", mi_weight, self.codes)
        self.code_scale = checked_scales(code_scale, self.codes)
        check_one_sample(self.code_scale, self.mi_weight, num_dual_samples)
        super().__init__(
            num_particles=base.num_particles,
            vectorize_particles=base.vectorize_particles,
            retain_graph=base.retain_graph,
        )
        self.max_plate_nesting = base.max_plate_nesting
        self.base = base
        self.channel: Channel = channel
        self.kl_weight = checked_weight("kl_weight (beta)", kl_weight)
        self.observed = as_names(observed)
        self.num_dual_particles = num_dual_particles
        self.num_dual_samples = num_dual_samples
        self.baseline = baseline
        self.step = 0
        self.kl_estimators: dict[str, str] = {}
        self._dual = DualPass(
            channel=channel,
            codes=self.codes,
            observed=self.observed,
            data_args=data_args,
            num_samples=num_dual_samples,
            baseline=baseline,
        )

    def __getattr__(self, name: str) -> Any:
        # What only some bases have: compute_marginals and sample_posterior of TraceEnum_ELBO.
        if name.startswith("_") or "base" not in vars(self):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        try:
            return getattr(self.base, name)
        except AttributeError:
            raise AttributeError(
                f"neither TraceMI_ELBO nor its base {type(self.base).__name__} has the attribute "
                f"'{name}' (compute_marginals and sample_posterior are TraceEnum_ELBO's)"
            ) from None

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        return self.base._get_trace(model, guide, args, kwargs)

    def terms(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Computes the parts of the loss, in nats, summed over the data as Pyro's losses are.

        Always runs the dual pass, also at ``mi_weight=0``; never waits for the device
        with the default base or ``Trace_ELBO``.

        Returns:
            Tensors of shape ``()``: ``log_likelihood``, ``kl``, ``kl/<site>``, ``mi``,
            ``mi/<site>`` (chain-rule shares of ``mi``) and ``loss = -log_likelihood +
            kl_weight * kl - mi_weight * mi``; with TraceEnum and TraceGraph ``elbo``,
            ``mi``, ``mi/<site>`` and ``loss``. ``loss`` carries the gradient, the others
            are detached.
        """
        return self._terms(Call(model, guide, args, kwargs), always_dual=True)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Computes the loss as a number (nats, summed over the data)."""
        with torch.no_grad():
            terms = self._terms(Call(model, guide, args, kwargs))
        loss = float(torch_item(terms["loss"]))
        warn_if_nan(loss, "loss")
        return loss

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Computes the loss as a tensor of shape ``()`` that carries the gradient estimator."""
        loss = self._terms(Call(model, guide, args, kwargs))["loss"]
        if is_validation_enabled():
            warn_if_nan(loss, "loss")
        return loss

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Computes the loss as a number, runs a backward pass and advances the schedules' step."""
        differentiable = self._terms(Call(model, guide, args, kwargs))["loss"]
        torch_backward(differentiable, retain_graph=self.retain_graph)
        self.step += 1
        loss = float(torch_item(differentiable))
        warn_if_nan(loss, "loss")
        return loss

    def state_dict(self) -> dict[str, int]:
        """Returns what a checkpoint has to keep: the step of the schedules."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores :meth:`state_dict`."""
        self.step = int(state["step"])

    def weights(self) -> tuple[Any, Any]:
        """Returns ``(mi_weight, kl_weight)`` at the current step; a mapping by site as a dict."""
        return self.settings()[:2]

    def settings(self) -> tuple[Any, Any, Any]:
        """Returns ``(mi_weight, kl_weight, code_scale)`` at the current step."""
        return (
            weights_at("mi_weight", self.mi_weight, self.step),
            weights_at("kl_weight", self.kl_weight, self.step),
            scales_at(self.code_scale, self.step),
        )

    def _terms(
        self,
        call: Call,
        always_dual: bool = False,
        settings: tuple[Any, Any, Any] | None = None,
    ) -> dict[str, Tensor]:
        """The one place where the parts are computed."""
        mi_weight, kl_weight, code_scale = self.settings() if settings is None else settings
        by_site = mi_weight if isinstance(mi_weight, dict) else None
        scoring = Scoring(by_site, code_scale)
        memory = self._dual.memories(call)
        try:
            base = base_parts(
                self.base,
                call,
                kl_weight=kl_weight,
                check_support=not memory.support_checked,
                analytic=_known_analytic(memory),
                memory=memory,
            )
        except ValueError:
            if not memory.support_checked:
                explain_support(call)
            raise
        memory.support_checked = True
        self._note_kl(memory, base.kl_estimators)
        self.max_plate_nesting = self.base.max_plate_nesting
        skip = is_zero(mi_weight)
        runs = self.num_dual_particles if always_dual or not skip else 0
        with torch.set_grad_enabled(torch.is_grad_enabled() and not skip):
            duals = [self._dual(call, scoring) for _ in range(runs)]
        lam = 1.0 if by_site else mi_weight
        return assemble(base, duals, None if skip else lam)

    def _note_kl(self, memory: PairMemory, estimators: dict[str, str]) -> None:
        for site, kind in estimators.items():
            if memory.kl_estimators.get(site) != kind:
                logger.info("KL of site '%s' is %s", site, kind)
        memory.kl_estimators.update(estimators)
        self.kl_estimators = dict(memory.kl_estimators)


def _known_analytic(memory: PairMemory) -> frozenset[str]:
    """Sites whose log-probabilities need not be computed; validation wants them all."""
    if is_validation_enabled():
        return frozenset()
    return frozenset(s for s, kind in memory.kl_estimators.items() if kind == "analytic")
