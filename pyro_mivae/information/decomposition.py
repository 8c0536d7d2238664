"""The ELBO taken apart: what the KL pays for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.batches import Data, Prepare
from pyro_mivae.infer.guide_checks import require_same_measure_of
from pyro_mivae.information.aggregate import (
    AggregateInformation,
    information,
    per_datum,
)
from pyro_mivae.information.aggregate_densities import aggregate_densities, by_site, together
from pyro_mivae.information.batching import Batching
from pyro_mivae.information.densities import Density, sum_inside
from pyro_mivae.information.estimate import Estimate, in_lines, mean_and_error
from pyro_mivae.information.posteriors import Batch, posteriors, require_plate
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.importance import density
from pyro_mivae.traces.rerun import run_again
from pyro_mivae.traces.sites import latent_sites, observed_sites


@dataclass(frozen=True, repr=False)
class ElboDecomposition:
    """The terms of an ELBO over N data, in nats per datum, all from the same draws.

    Attributes:
        elbo: `log_likelihood` - `kl`.
        log_likelihood: E_q[log p(x|z)], the reconstruction. I_q(z; x) is at least this plus the
            data's entropy, which is not known: between guides differences count.
        kl: The mean of KL(q(z|x) || p(z)); `information` + `marginal_kl`.
        information: I_q(z; x), in all and of every dimension.
        marginal_kl: KL(q(z) || p(z)) of the aggregate; `total_correlation` + the sum of
            `dimension_kl`.
        total_correlation: KL(q(z) || prod_d q(z_d)), or None, see `note`.
        dimension_kl: KL(q(z_d) || p(z_d)) by site, double precision, each of the site's event
            shape, or None.
        dimension_kl_standard_error: Likewise.
        note: Why terms are missing; empty where none is.
    """

    elbo: Estimate
    log_likelihood: Estimate
    kl: Estimate
    information: AggregateInformation
    marginal_kl: Estimate
    total_correlation: Estimate | None
    dimension_kl: dict[str, Tensor] | None
    dimension_kl_standard_error: dict[str, Tensor] | None
    note: str

    def __repr__(self) -> str:
        names = ", ".join(self.information.codes)
        lines = [
            f"ELBO {self.elbo} = log-likelihood {self.log_likelihood} - KL {self.kl} nats per "
            f"datum ({self.information.num_data} data)",
            f"KL = I_q({names}; x) {self.information.estimate} + KL(q({names}) || p({names})) "
            f"{self.marginal_kl}",
        ]
        if self.total_correlation is not None and self.dimension_kl is not None:
            total = sum(float(kl.sum()) for kl in self.dimension_kl.values())
            lines.append(
                f"KL(q({names}) || p({names})) = total correlation {self.total_correlation} + KL "
                f"by dimension {total:.3f}"
            )
        return in_lines(*lines, self.note)

    def __str__(self) -> str:
        names = ", ".join(self.information.codes)
        parts = f"I_q({names}; x) {self.information.estimate}"
        parts += f" + KL(q({names}) || p({names})) {self.marginal_kl}"
        return f"ELBO {self.elbo} = log-likelihood {self.log_likelihood} - KL {self.kl} ({parts})"


def elbo_decomposition(
    model: Any,
    guide: Any,
    data: Data,
    *,
    codes: str | Iterable[str] | None = None,
    num_samples: int = 1,
    batch_size: int = 500,
    prepare: Prepare | None = None,
    seed: int = 0,
    progress: bool = True,
) -> ElboDecomposition:
    r"""Takes the ELBO apart, with the exact aggregate :math:`q(z) = \frac{1}{N} \sum_j q(z|x_j)`.

    .. math::

        \frac{1}{N} \sum_i \mathrm{KL}(q(z|x_i) \,\|\, p(z))
            &= I_q(z; x) + \mathrm{KL}(q(z) \,\|\, p(z)), \\
        \mathrm{KL}(q(z) \,\|\, p(z))
            &= \mathrm{KL}\Big(q(z) \,\Big\|\, \prod_d q(z_d)\Big)
             + \sum_d \mathrm{KL}(q(z_d) \,\|\, p(z_d))

    The second line, with the total correlation first, needs a prior that factorises and a guide
    whose marginals are known. Both hold to rounding, as all terms are means over the same draws.
    Where the information is saturated (at log N), what it lacks is in the marginal KL and in the
    total correlation. Scales are left out, masks of latent sites too; those of the data are kept.

    Args:
        model: A Pyro model, with the guide's latent sites.
        guide: Its guide.
        data: Tensors of equal length N.
        codes: Names of the model's latent sites; None for all sites of the guide. Sites of the
            guide alone (auxiliary ones) are left out by naming the others.
        num_samples: Draws per datum.
        batch_size: Data in a batch.
        prepare: Makes the arguments of model and guide from a batch.
        seed: Seed of the draws.
        progress: Whether to show progress: a bar on a terminal, elsewhere a line every half minute.

    Raises:
        ValueError: If model and guide have different latent sites, a prior differs between data, or
            as in :func:`aggregate_information`.

    References:
        Hoffman and Johnson (2016), *ELBO surgery: yet another way to carve up the variational
        evidence lower bound*; Chen, Li, Grosse and Duvenaud (2018), *Isolating sources of
        disentanglement in variational autoencoders*, eq. 2.
    """
    batching = Batching.of(data, batch_size, prepare, seed, progress)
    run, likelihoods, priors, priors_each = [], [], [], []
    with batching.evaluation(model, guide):
        scoring = _Scoring(model)
        for args, batch in posteriors(guide, batching, codes=codes, num_samples=num_samples):
            run.append(batch)
            log_x, log_p, log_p_each = scoring(args, batch)
            likelihoods.append(log_x)
            priors.append(log_p)
            priors_each.append(log_p_each)
        densities = aggregate_densities(run, progress=progress)
    num_data = batching.num_data
    log_x, log_p, log_p_each = (torch.cat(p) for p in (likelihoods, priors, priors_each))

    def mean(terms: Tensor) -> Estimate:
        return Estimate.of(per_datum(terms, num_data))

    note = scoring.note
    total_correlation = each = each_error = None
    if not note:
        total_correlation = mean(densities.joint - densities.each.sum(1))
        by_dimension = mean_and_error(per_datum(densities.each - log_p_each, num_data))
        each, each_error = (by_site(columns, run[0]) for columns in by_dimension)
    return ElboDecomposition(
        elbo=mean(log_x + log_p - densities.own),
        log_likelihood=mean(log_x),
        kl=mean(densities.own - log_p),
        information=information(run, densities),
        marginal_kl=mean(densities.joint - log_p),
        total_correlation=total_correlation,
        dimension_kl=each,
        dimension_kl_standard_error=each_error,
        note=note,
    )


class _Scoring:
    """Scores the guide's draws under the model.

    Attributes:
        note: Why densities of single dimensions are of no use; empty where they are.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.note = ""
        self._upstream: dict[str, frozenset[str]] | None = None
        self._first: dict[str, Tensor] = {}
        self._expected: dict[str, Tensor] = {}

    def __call__(self, args: tuple[Any, ...], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Gives log p(x|z), log p(z), shape (draws,), and log p(z_d), (draws, dimensions)."""
        if self._upstream is None:
            self._upstream = dependencies(self.model, args, {})
        runs = [self._score(args, batch, number) for number in range(batch.num_samples)]
        log_x, log_p, each = (torch.stack(parts, 1) for parts in zip(*runs, strict=True))
        return log_x.flatten(), log_p.flatten(), each.flatten(0, 1)

    def _score(
        self, args: tuple[Any, ...], batch: Batch, number: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of one draw of each datum."""
        values = {n: draws[number].to(batch.dtypes[n]) for n, draws in batch.draws.items()}
        trace = run_again(self.model, args, {}, values)
        if different := set(latent_sites(trace)) ^ set(values):
            raise ValueError(
                f"the latent sites {sorted(different)} are not in both model and guide (or not "
                "named with codes): expected all latent sites of the model, each with one of the "
                "guide"
            )
        parts, dims = [], set()
        for name, q in batch.densities.items():
            fn = trace.nodes[name]["fn"]
            dims.add(require_plate(trace.nodes[name], {q.position + fn.event_dim}, batch.count))
            require_same_measure_of(name, fn, q.fn)
            p = Density(name, fn, q.position, q.event_shape)
            self._examine(name, p, q, batch)
            parts.append(p(batch.draws[name][number : number + 1]))
        joint, each = together(parts)
        log_x = torch.zeros_like(joint[0])
        for name in observed_sites(trace):
            site = trace.nodes[name]
            dim = require_plate(site, dims, batch.count)
            log_x = log_x + sum_inside(density(site)[None], dim, 1)[0, 0]
        return log_x, joint[0], each[0].T

    def _examine(self, name: str, p: Density, q: Density, batch: Batch) -> None:
        """Notes what keeps the dimensions apart; raises an error if there is no one prior."""
        upstream = sorted((self._upstream or {}).get(name, ()))
        if upstream:
            self.note = self.note or f"the prior of '{name}' depends on {upstream}"
            return
        first = self._first.setdefault(name, batch.draws[name][:1].narrow(q.position, 0, 1))
        log_p = p(first)[0]
        expected = self._expected.setdefault(name, log_p[0, 0])
        if not torch.allclose(log_p, expected, rtol=1e-4, atol=1e-4):
            raise ValueError(
                f"the prior of '{name}' differs between data, so that KL(q(z) || p(z)) is of no "
                "one p(z): expected a prior that does not read the data or covariates"
            )
        if not q.num_marginals:
            self.note = self.note or f"the marginals of q({name}|x) are not known"
        elif not p.factorised:
            self.note = self.note or f"the prior of '{name}' may not factorise over its dimensions"
