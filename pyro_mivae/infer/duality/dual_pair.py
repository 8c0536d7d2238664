"""The dual of a model/guide pair: z is observed and x is latent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.duality.halves import Generating, Recognizing, Values
from pyro_mivae.isolation import forked_random
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.sites import as_codes, as_names, latent_sites


class DualPair(NamedTuple):
    """The dual of a pair, to be used as any model and guide are: see :func:`dualize`."""

    model: DualModel
    guide: DualGuide


class _Pair:
    """What the two halves of a dual share."""

    def __init__(self, model: Any, guide: Any, dual: DualPass) -> None:
        self.model, self.guide, self.dual = model, guide, dual
        self.checked = False

    def draw(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """The codes of a forward run of the model."""
        forward, codes = self.dual.generate(Call(self.model, self.guide, args, kwargs))
        drawn = latent_sites(forward.trace)
        noise = [n for n in drawn if n not in codes and n not in forward.generated]
        if noise and not self.checked:
            upstream = dependencies(poutine.uncondition(self.model), args, kwargs)
            for name in codes:
                if found := sorted(upstream.get(name, frozenset()) & set(noise)):
                    raise ValueError(
                        f"code site '{name}' depends on {found} in the model, so that p({found[0]}"
                        f"|{name}), which the dual would have to draw from, is not known: add "
                        f"{found} to codes"
                    )
        self.checked = True
        return {name: forward.trace.nodes[name]["value"].detach() for name in codes}

    def check(self, values: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Values:
        """The observed codes, if they are what the pair has to be given."""
        if not isinstance(values, Mapping):
            raise TypeError(
                "the first argument of a dual pair is the observed code, a mapping of sites to "
                f"tensors, found {type(values).__name__}: for example dual.model.draw(*args)"
            )
        if not self.checked:
            with torch.no_grad(), forked_random(_device_of(values)), poutine.block():
                needed = set(self.draw(args, kwargs))
            if needed != set(values):
                raise ValueError(
                    f"the dual observes the codes {sorted(needed)}, found values of "
                    f"{sorted(values)}: give all of them, for example dual.model.draw(*args)"
                )
        return values


def _device_of(values: Values) -> torch.device:
    return next((v.device for v in values.values()), torch.device("cpu"))


class _Half(nn.Module):
    def __init__(self, pair: _Pair, own: Any) -> None:
        super().__init__()
        # The parameters are those of the distribution that is this half's; the other's are not.
        self.own = own
        self._pair = pair


class DualModel(_Half):
    """p(x) q(z|x) with z observed. The unknown density of x is left out."""

    def forward(self, values: Values, *args: Any, **kwargs: Any) -> None:
        """Observes the codes `values`; x comes from the guide, which any ELBO replays.

        Args:
            values: A tensor for each code site.
            args: The arguments of the pair: data of the right shape, whose values are not used.
            kwargs: Its keyword arguments.
        """
        pair = self._pair
        values = pair.check(values, args, kwargs)
        generating = Generating(values, pair.dual.observed, improper=True)
        # The noise of this run is that of no use; x is replayed.
        with forked_random(_device_of(values)), torch.no_grad(), generating:
            pair.model(*args, **kwargs)
        forward = generating.forward
        call = Call(pair.model, pair.guide, args, kwargs)
        args, kwargs = pair.dual.run_guide.bind(forward, call, pair.dual.memories(call))
        with Recognizing(values, forward) as recognizing:
            self.own(*args, **kwargs)
        if missing := sorted(set(values) - recognizing.seen):
            raise ValueError(
                f"the guide has no site for the codes {missing}: q(z|x) is what the dual observes "
                "them under"
            )

    def draw(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draws the codes from their prior, as the data of the dual.

        Args:
            args: The arguments of the pair.
            kwargs: Its keyword arguments.

        Returns:
            A tensor for each code site, without gradient.
        """
        with torch.no_grad():
            return self._pair.draw(args, kwargs)


class DualGuide(_Half):
    """p(x|z) with z given: generates x."""

    def forward(self, values: Values, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Generates x from the codes `values`; arguments as of :class:`DualModel`.

        Returns:
            x by site.
        """
        values = self._pair.check(values, args, kwargs)
        generating = Generating(values, self._pair.dual.observed, improper=False)
        with generating:
            self.own(*args, **kwargs)
        return generating.forward.generated


def dualize(
    model: Any,
    guide: Any,
    *,
    codes: str | Iterable[str] | None = None,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
) -> DualPair | tuple[Any, Any]:
    r"""The dual of a model p(z) p(x|z) and a guide q(z|x).

    In the dual z is observed and x is latent: q(z|x) is the likelihood and p(x|z) the guide. The
    density of x under the data is unknown, so the log-probability of x is left out of both, and
    with it the KL divergence of the dual. What remains of its ELBO is the reconstruction term

    .. math:: \mathbb{E}_{x' \sim p(x|z)}[\log q(z|x')],

    which is, for z drawn from p(z) and after subtracting log p(z), the lower bound of Barber and
    Agakov (2003) on I(z; x') that :class:`TraceMI_ELBO` adds under the channel ``"sample"``. In
    the same way the reconstruction term of the pair is that bound for the dual::

        dual = dualize(model, guide)
        z = dual.model.draw(x)  # {"z": ...}; of x only the shape matters
        loss = Trace_ELBO().differentiable_loss(*dual, z, x)  # -log q(z|x'), nats, summed

    The dual of the dual is the pair itself: the very objects.

    Args:
        model: A model.
        guide: Its guide.
        codes: The latent sites that are observed in the dual; None for all that the model draws.
            The others (noise) are drawn, by the model to generate x and by the guide to score z,
            and belong to neither.
        observed: Observed sites that keep their data value (covariates).
        data_args: Where the guide expects x, as in :class:`TraceMI_ELBO`.

    Returns:
        ``(model, guide)`` of the dual, modules that take the codes, a mapping of sites to
        tensors, before the arguments of the pair. Their parameters are those of q(z|x) and of
        p(x|z). With Pyro's ELBOs, and particles one after the other, their gradients are unbiased,
        with score-function terms where x has no ``rsample``.

    Raises:
        ValueError: If one of the two is half of a dual and the other is not the other half; at a
            call, if codes and values do not fit.
        TypeError: At a call without codes.

    References:
        Ducau and Trénous (2016), *Mutual information in variational autoencoders*, "Duality";
        Barber and Agakov (2003), *The IM algorithm*, eq. 3.
    """
    halves = isinstance(model, _Half), isinstance(guide, _Half)
    if any(halves):
        pair = (model if halves[0] else guide)._pair
        fits = isinstance(model, DualModel) and isinstance(guide, DualGuide)
        if not fits or guide._pair is not pair:
            raise ValueError(
                "expected model and guide of one dual, as dualize returned them, found "
                f"{type(model).__name__} and {type(guide).__name__}, which do not belong together"
            )
        if codes is not None or observed or data_args is not None:
            raise ValueError(
                "the dual of a dual is the pair that it was made of: leave options out"
            )
        return pair.model, pair.guide
    dual = DualPass(
        channel="sample",
        codes=as_codes(codes),
        observed=as_names(observed),
        data_args=data_args,
    )
    if any(dims is not None for dims in (dual.code_sites.named or {}).values()):
        raise ValueError(
            "a dual observes whole sites: expected names of sites, found slices of them"
        )
    made = _Pair(model, guide, dual)
    return DualPair(DualModel(made, guide), DualGuide(made, model))
