"""The information under the model, bounded from both sides."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pyro_mivae.batches import Prepare, arguments
from pyro_mivae.checks import check_count, check_draws, check_seed, each, optional
from pyro_mivae.infer.dual.binding import DataArgs
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.information.bounds import Bounds
from pyro_mivae.information.edges import EdgeDraws
from pyro_mivae.information.estimate import Estimate, in_lines
from pyro_mivae.isolation import evaluation
from pyro_mivae.progress import Progress
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.sites import Codes, Dims, as_codes, as_names

logger = logging.getLogger(__name__)

_WIDE = 0.1
"""Nats between the bounds that are worth a warning."""


@dataclass(frozen=True, repr=False)
class Sandwich:
    """The bounds on I(c; x') from both sides, in nats per datum.

    Attributes:
        num_samples: The numbers K of draws, ascending.
        lower_per_datum: L_K of every x', double precision, shape ``(len(num_samples), M)``.
        upper_per_datum: U_K, likewise.
        barber_agakov_per_datum: log q(c|x') - log p(c), shape ``(M,)``.
        codes: Names of the code sites, c, as ``"z[0]"`` where dimensions of a site are the code.
        draws_note: What to mind of the draws (some lie at an edge of their support), or None.
    """

    num_samples: tuple[int, ...]
    lower_per_datum: Tensor
    upper_per_datum: Tensor
    barber_agakov_per_datum: Tensor
    codes: tuple[str, ...] = ("c",)
    draws_note: str | None = None

    @property
    def lower(self) -> Estimate:
        """L_K at the largest K."""
        return Estimate.of(self.lower_per_datum[-1])

    @property
    def upper(self) -> Estimate:
        """U_K at the largest K."""
        return Estimate.of(self.upper_per_datum[-1])

    @property
    def barber_agakov(self) -> Estimate:
        """The bound of the training objective; L_1 if the codes are all of the latents."""
        return Estimate.of(self.barber_agakov_per_datum)

    @property
    def gap(self) -> Estimate:
        """U_K - L_K at the largest K: how far from the truth either can be."""
        return Estimate.of(self.upper_per_datum[-1] - self.lower_per_datum[-1])

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Spans the lower end of the interval of L_K to the upper end of that of U_K."""
        return self.lower.interval(level)[0], self.upper.interval(level)[1]

    def curve(self) -> list[tuple[int, Estimate, Estimate]]:
        """Lists ``(K, L_K, U_K)`` for every K."""
        bounds = zip(self.lower_per_datum, self.upper_per_datum, strict=True)
        return [
            (k, Estimate.of(low), Estimate.of(high))
            for k, (low, high) in zip(self.num_samples, bounds, strict=True)
        ]

    @property
    def note(self) -> str | None:
        """What to mind, or None where the bounds have met and the draws are in order."""
        return "; ".join(note for note in (self.draws_note, self._gap_note) if note) or None

    @property
    def apart(self) -> bool:
        """Whether the bounds are surely apart: the gap less two standard errors is over 0.1 nats.

        Both bounds hold then, and the truth may be anywhere between them.
        """
        gap = self.gap
        sure = gap.mean if math.isnan(gap.standard_error) else gap.mean - 2 * gap.standard_error
        return sure > _WIDE or math.isinf(gap.mean)

    @property
    def _gap_note(self) -> str | None:
        if not self.apart:
            return None
        return (
            f"the bounds are {self.gap.mean:.2f} nats apart at K = {self.num_samples[-1]}: more "
            "samples bring them closer where the guide covers the model's posterior; where it "
            "misses a part of it (a mode, say), they stay valid and far apart, and only a better "
            "guide helps: pyro_mivae.training.refit_guide fits a copy of it to generated data"
        )

    def __repr__(self) -> str:
        data = f"{len(self.barber_agakov_per_datum)} generated data"
        return in_lines(f"{self._bounds}, {data}", self.note)

    def __str__(self) -> str:
        return self._bounds + (f"; {self.note}" if self.note else "")

    @property
    def _bounds(self) -> str:
        information = f"I({', '.join(self.codes)}; x')"
        bounds = f"{self.lower} <= {information} <= {self.upper} nats per datum"
        return f"{bounds} (K = {self.num_samples[-1]})"


def sandwich(
    model: Any,
    guide: Any,
    *args: Any,
    num_samples: int | Sequence[int] = 1000,
    codes: str | Iterable[str] | Codes | None = None,
    observed: str | Iterable[str] = (),
    data_args: DataArgs | None = None,
    prepare: Prepare | None = None,
    num_dual_particles: int = 1,
    parallel: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **kwargs: Any,
) -> Sandwich:
    r"""Bounds on the information between a code and what the model generates.

    With the guide as proposal, the log-densities in :math:`I(c; x') = \mathbb{E}[\log p(x'|c) -
    \log p(x')]` are bounded from both sides: K draws that hold the one that generated x' (index
    0) bound them from above in expectation, K fresh ones from below (Grosse et al. 2015). For
    the code c among other latents u (the noise),

    .. math::

        U_K &= \mathbb{E}\Big[\log \tfrac1K \sum_{k=0}^{K-1} v_k
               - \log \tfrac1K \sum_{k=1}^{K} w_k\Big] \ge I(c; x') \ge
        L_K  = \mathbb{E}\Big[\log \tfrac1K \sum_{k=1}^{K} v_k
               - \log \tfrac1K \sum_{k=0}^{K-1} w_k\Big],

        w_k &= \frac{p(z_k)\, p(x'|z_k)}{q(z_k|x')}, \qquad
        v_k  = \frac{p(u_k|c)\, p(x'|c, u_k)}{q(u_k|c, x')}.

    Where the code is all of the latents, :math:`v_k = p(x'|z_0)`, and :math:`L_1` is the bound of
    Barber and Agakov, the training objective's (Poole et al. 2019 call such bounds *structured*).
    Both close on the information as K grows, as fast as the guide is good. The x' are drawn, never
    means. Weights are summed in log space as they come: the memory does not grow with K. Scales
    and ``pyro.factor`` are left out, they weigh a loss. Masked entries of x' are replaced by the
    observed data, so that the guide cannot learn from entries that the density ignores.

    The bounds count as *apart* where their gap at the largest K, less two standard errors, is over
    0.1 nats. A warning, :attr:`Sandwich.note` and the text of the result say so then, and what
    helps: :func:`pyro_mivae.training.refit_guide`, and :func:`sandwich` with the guide it returns.

    Args:
        model: A Pyro model; its latent code sites depend on no noise, and on no generated data.
        guide: Its guide.
        args: Arguments of both. Only the number of data and covariates matter.
        num_samples: K, or several: all of them come from one pass over the largest.
        codes: As in :class:`~pyro_mivae.infer.TraceMI_ELBO`.
        observed: Likewise.
        data_args: Likewise.
        prepare: Makes the arguments of model and guide from `args`, as in
            :func:`~pyro_mivae.training.fit`; None for `args` themselves.
        num_dual_particles: Forward runs of the model: M is their number times that of the data
            in a call. Small calls take less memory.
        parallel: Draws evaluated at once, 1 for a model that has to run alone. By default as many
            as fit a few ten megabytes, and one at a time where model or guide can't do more.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.
        kwargs: Keyword arguments of both.

    Returns:
        The bounds, per datum: a cell of the plates that all sites are in. Without such a plate
        (a global latent) all of a call is one datum. A plate along which data depend on each other
        (a latent that is summed over time) is inside of a datum.

    Raises:
        ValueError: If a code depends on noise or data in the model, a plate that is not shared by
            all sites is subsampled, the guide's data are not found, a weight is NaN, the guide is
            narrower than the prior of a code, or many draws lie at an edge of their support.

    References:
        Grosse, Ghahramani and Adams (2015), *Sandwiching the marginal likelihood using
        bidirectional Monte Carlo*, arXiv:1511.02543; Burda, Grosse and Salakhutdinov (2016),
        *Importance weighted autoencoders*, eq. 8; Brekelmans et al. (2022), *Improving mutual
        information estimation with annealed and energy-based bounds*, sec. 2; Poole et al. (2019),
        *On variational bounds of mutual information*.
    """
    several = [*num_samples] if isinstance(num_samples, Iterable) else [num_samples]
    counts = tuple(sorted(set(each(check_draws)("num_samples", several))))
    num_dual_particles = check_draws("num_dual_particles", num_dual_particles)
    optional(check_count)("parallel", parallel)
    check_seed("seed", seed)
    dual = DualPass(
        channel="sample",
        codes=as_codes(codes),
        observed=as_names(observed),
        data_args=data_args,
    )
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    device = tensors[0].device if tensors else torch.get_default_device()
    runs, edges = [], EdgeDraws()
    # A draw where the density is 0 has no weight, and is no error.
    with (
        evaluation(model, guide, device=device, seed=seed),
        pyro.validation_enabled(False),
        Progress("bounds", None, "draws", shown=progress) as bar,
    ):
        args = arguments(args, prepare)
        for run in range(num_dual_particles):
            bounds = Bounds(
                dual, Call(model, guide, args, kwargs), parallel, first=run == 0, edges=edges
            )
            if run == 0:
                passes = 2 if bounds.noise else 1
                what = f"bounds on I({', '.join(_names(bounds.codes))}; x')"
                bar.expect(passes * counts[-1] * num_dual_particles, what)
            runs.append(bounds(counts, bar))
    lower, upper, barber_agakov = (torch.cat(parts, -1).cpu() for parts in zip(*runs, strict=True))
    names = _names(bounds.codes)
    result = Sandwich(counts, lower, upper, barber_agakov, names, edges.note())
    if result.note:
        logger.warning("I(%s; x'): %s", ", ".join(result.codes), result.note)
    return result


def _names(codes: Codes) -> tuple[str, ...]:
    """Names of codes, as ``"z"``, or ``"z[:2]"`` for dimensions of a site."""
    return tuple(
        name if dims is None else f"{name}[{_index(dims)}]" for name, dims in codes.items()
    )


def _index(dims: Dims) -> str:
    if isinstance(dims, list):
        return ", ".join(map(str, dims))
    if isinstance(dims, int):
        return str(dims)
    ends = ["" if end is None else str(end) for end in (dims.start, dims.stop)]
    return ":".join(ends if dims.step is None else [*ends, str(dims.step)])
