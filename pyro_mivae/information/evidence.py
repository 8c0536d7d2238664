"""Importance-weighted log-evidence, with diagnostics of the weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_mivae.batches import Data, Prepare
from pyro_mivae.checks import check_count, check_draws, optional
from pyro_mivae.extras import fit_tails
from pyro_mivae.infer.guide_checks import require_same_measure
from pyro_mivae.information.batching import Batching, Run
from pyro_mivae.information.dimension_terms import pair
from pyro_mivae.information.edges import EdgeDraws
from pyro_mivae.information.estimate import Estimate, in_lines
from pyro_mivae.information.posteriors import data_dims
from pyro_mivae.information.proposal import Proposal, depth
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.importance import Cells, plates, proposed, shared_cells
from pyro_mivae.traces.sites import as_names, is_data, latent_sites, observed_sites

logger = logging.getLogger(__name__)

_FLAT = 1e-2
"""Nats between log-weights that count as equal: those of an exact guide differ by rounding."""


@dataclass(frozen=True, repr=False)
class LogEvidence:
    r"""An importance-weighted estimate of log p(x), with diagnostics of its weights.

    Attributes:
        per_datum: Estimates in nats, shape ``(N,)``; a lower bound in expectation.
        num_samples: Draws K of the guide per datum.
        effective_samples: :math:`(\sum_k w_k)^2 / \sum_k w_k^2`, from 1 to K, shape ``(N,)``.
        pareto_k: Shape of the generalised Pareto distribution that fits the largest weights,
            shape ``(N,)``; infinite where there are too few to fit it, minus infinity where the
            largest are equal.
        note: What to mind of the draws (some lie at an edge of their support), or None.
    """

    per_datum: Tensor
    num_samples: int
    effective_samples: Tensor
    pareto_k: Tensor
    note: str | None = None

    def __repr__(self) -> str:
        number, doubtful = len(self.per_datum), int(self.unreliable.sum())
        return in_lines(
            f"log-evidence {self.estimate} nats per datum ({number} data, K = {self.num_samples})",
            f"effective samples {float(self.effective_samples.median()):.1f} (median); {doubtful} "
            f"of {number} data unreliable (Pareto k above {self.threshold:.2f})",
            self.note,
        )

    @property
    def estimate(self) -> Estimate:
        """Mean and standard error over data."""
        return Estimate.of(self.per_datum)

    @property
    def mean(self) -> float:
        """The mean over data."""
        return self.estimate.mean

    @property
    def standard_error(self) -> float:
        """The standard error of :attr:`mean` over data; NaN for a single datum."""
        return self.estimate.standard_error

    @property
    def threshold(self) -> float:
        r"""The largest reliable shape, :math:`\min(1 - 1 / \log_{10} K, 0.7)` (Vehtari et al.)."""
        return min(1 - 1 / math.log10(max(self.num_samples, 2)), 0.7)

    @property
    def unreliable(self) -> Tensor:
        """Where the weights' tail is too heavy for K draws, booleans ``(N,)``."""
        return ~(self.pareto_k <= self.threshold)


def log_evidence(
    model: Any,
    guide: Any,
    data: Data,
    *,
    observed: str | Iterable[str] = (),
    num_samples: int = 5000,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    parallel: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> LogEvidence:
    r"""Estimates the log-evidence by importance weighting (Burda et al. 2016, eq. 8).

    .. math:: \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k|x)}, \qquad z_k \sim q(z|x)

    Not the ELBO's term ``log_likelihood``, which is :math:`\log p(x|z)`. Every observed site
    counts, ``pyro.factor`` too; masks are honoured, scales left out. The K log-weights of a batch
    are kept, 8 bytes each; nothing else grows with K. Where the weights' tail is too heavy
    (``unreliable``) the estimate is still a lower bound in expectation, and may be far below.

    Args:
        model: A Pyro model whose latent sites and data are in one vectorised plate.
        guide: Its guide.
        data: Tensors of equal length N.
        observed: Observed sites that are given (covariates, labels): their density is left out, and
            the evidence is that of the other data given them, log p(x|y).
        num_samples: The number K of draws.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        parallel: Draws evaluated at once, see :func:`sandwich`.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Raises:
        ValueError: If a site is not in the data's plate, a weight is NaN, one of prior and guide
            is discrete at a site and the other continuous, or many draws lie at an edge of their
            support.

    References:
        Burda, Grosse and Salakhutdinov (2016), *Importance weighted autoencoders*; Vehtari,
        Simpson, Gelman, Yao and Gabry (2024), *Pareto smoothed importance sampling*, sec. 3.
    """
    num_samples = check_draws("num_samples", num_samples)
    optional(check_count)("parallel", parallel)
    batching = Batching.of(data, batch_size, prepare, seed, progress)
    diagnostics, place, edges = [], None, EdgeDraws()
    dependent: frozenset[str] | None = None
    # A draw where the density is 0 has no weight, and is no error.
    with batching.evaluation(model, guide), pyro.validation_enabled(False):
        for args, count in batching.with_progress("log-evidence"):
            call = Call(model, guide, args)
            model_trace, guide_trace = pair(call)
            if place is None:
                _check_given(as_names(observed), call, model_trace)
                run = lambda *args: pair(Call(model, guide, args))[0]  # noqa: E731
                place = _data_dim(run, batching, model_trace, guide_trace, count)
            proposal = _proposal(
                call, model_trace, guide_trace, as_names(observed), parallel, edges
            )
            if dependent is None:
                dependent = proposal.dependent_plates()
                _require_independent_data(proposal.cells, dependent, place)
            proposal.cells = proposal.cells.without(dependent)
            weights = torch.cat(list(proposal.draws(num_samples)))
            diagnostics.append(_diagnose(weights.movedim(place, 1).reshape(num_samples, count, -1)))
    per_datum, effective, pareto_k = (torch.cat(parts) for parts in zip(*diagnostics, strict=True))
    result = LogEvidence(per_datum, num_samples, effective, pareto_k, edges.note())
    if result.note:
        logger.warning("log-evidence: %s", result.note)
    doubtful = int(result.unreliable.sum())
    if doubtful:
        logger.warning(
            "the log-evidence of %d of %d data is unreliable (Pareto k above %.2f at %d samples): "
            "it is a lower bound in expectation, and may be far below; take more samples or a "
            "better guide",
            *(doubtful, len(per_datum), result.threshold, num_samples),
        )
    return result


def _proposal(
    call: Call,
    model_trace: Any,
    guide_trace: Any,
    given: tuple[str, ...],
    parallel: int | None,
    edges: EdgeDraws,
) -> Proposal:
    counted = [name for name in observed_sites(model_trace) if name not in given]
    nodes = model_trace.nodes
    data = {name: nodes[name]["value"] for name in counted if is_data(nodes[name])}
    require_same_measure(model_trace, guide_trace, proposed(model_trace, guide_trace, counted))
    return Proposal(
        call,
        guide_args=(call.args, call.kwargs),
        data=data,
        counted=counted,
        source=model_trace,
        codes={},
        cells=shared_cells(model_trace, guide_trace, counted),
        depth=depth(model_trace, guide_trace),
        parallel=parallel,
        edges=edges,
    )


def _check_given(given: tuple[str, ...], call: Call, model_trace: Any) -> None:
    """Raises a ``ValueError`` unless given sites are observed and do not depend on latent ones."""
    if not given:
        return
    sites = observed_sites(model_trace)
    upstream = dependencies(call.model, call.args, call.kwargs)
    for name in given:
        if name not in sites or len(given) == len(sites):
            raise ValueError(
                f"observed={list(given)}: expected some of the observed sites {sites}, and not all"
            )
        if latent := sorted(upstream.get(name, frozenset()) - set(sites)):
            raise ValueError(
                f"observed={list(given)}: the site '{name}' depends on the latent sites {latent} "
                "in the model, so that leaving its density out does not condition on it: expected "
                "covariates, which depend on no latent site"
            )


def _data_dim(
    run: Run,
    batching: Batching,
    model_trace: Any,
    guide_trace: Any,
    count: int,
) -> int:
    """The dimension of the data's plate, which every site has to be in."""
    observed = observed_sites(model_trace)
    shared = shared_cells(model_trace, guide_trace, observed)
    if count not in plates(model_trace.nodes[observed[0]]).values():
        raise ValueError(_not_in_plate(model_trace, count))
    dim = data_dims(run, batching, model_trace, observed[:1], count)[observed[0]]
    if dim not in [frame.dim for frame in shared.frames]:
        raise ValueError(_not_in_plate(model_trace, count))
    return dim


def _require_independent_data(cells: Cells, dependent: Collection[str], place: int) -> None:
    for frame in cells.frames:
        if frame.dim == place and frame.name in dependent:
            raise ValueError(
                f"the data of the plate '{frame.name}' depend on each other: latents of one change "
                "the density of another, in model or guide, so that a datum has no evidence of its "
                "own. Expected data that are independent of each other"
            )


def _not_in_plate(trace: Any, count: int) -> str:
    for name in (*latent_sites(trace), *observed_sites(trace)):
        if count not in plates(trace.nodes[name]).values():
            return (
                f"site '{name}' is in no vectorised plate of the {count} data: expected a model "
                "whose every site is inside the data's pyro.plate"
            )
    return (
        f"the sites of model and guide share no vectorised plate of the {count} data: expected "
        "every site of both inside the data's pyro.plate, at the same dim"
    )


def _diagnose(log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate, effective samples and Pareto shape by datum, from ``(K, N, cells in a datum)``."""
    total = log_weights.logsumexp(0)
    estimate = (total - math.log(len(log_weights))).sum(-1)
    effective = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    shape = _pareto_shape(log_weights.movedim(0, -1))
    return estimate.cpu(), effective.amin(-1).cpu(), shape.amax(-1)


def _pareto_shape(log_weights: Tensor) -> Tensor:
    """Fitted along the last dimension; minus infinity for weights that are equal (no tail)."""
    shape = torch.full(log_weights.shape[:-1], torch.inf, dtype=torch.float64)
    spread = log_weights.amax(-1) - log_weights.amin(-1)  # NaN where all are minus infinity
    shape[(spread < _FLAT).cpu()] = -torch.inf
    tailed = (spread >= _FLAT) & log_weights.amax(-1).isfinite()
    if bool(tailed.any()):
        fitted = fit_tails(log_weights[tailed].cpu().numpy())
        shape[tailed.cpu()] = torch.as_tensor(fitted, dtype=torch.float64)
    return shape
