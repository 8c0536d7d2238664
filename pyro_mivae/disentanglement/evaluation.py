"""All scores of a set of codes, beside what a perfect code would have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pyro_mivae.checks import MOST_DRAWS, check_count, check_seed, optional
from pyro_mivae.disentanglement.binning import Binning, bin_factors
from pyro_mivae.disentanglement.inputs import (
    Factors,
    Floats,
    as_factors,
    as_pair,
    group_numbers,
)
from pyro_mivae.disentanglement.interventions import (
    Encode,
    Sampler,
    beta_vae_score,
    factor_vae_score,
)
from pyro_mivae.disentanglement.matrix import (
    MIMatrix,
    from_bins,
    ksg_matrix,
    mi_matrix,
    top_factors,
)
from pyro_mivae.disentanglement.predictors import dci, explicitness
from pyro_mivae.disentanglement.scores import modularity, mutual_information_gap, sap

_MATRIX = ("code", "factor")
_NATS = {"units": "nats"}


def ceiling(
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    within: Any = None,
    bins: int = 20,
    binning: Binning = "rank",
    num_permutations: int = 200,
    seed: int = 0,
) -> MIMatrix:
    """Measures the factors themselves as codes: the information that a perfect code would have.

    Factors of real data depend on each other, and counting has a bias, so that a perfect code's MIG
    is below 1: a MIG means little without its ceiling. The ceiling needs many more points than
    bins. After the correction two independent factors in 20 bins keep .22 of 1 with 40 points, .68
    with 200 and .97 with 2,000.

    Args:
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.
        within: Groups to rank and to permute inside of, shape ``(N,)``.
        bins: Number of bins, at most N / 2.
        binning: Kind of the bins, see :func:`~pyro_mivae.disentanglement.bin_columns`.
        num_permutations: Number of permutations that estimate the bias; 0 for no correction.
        seed: Seed of the permutations.
    """
    check_count("num_permutations", num_permutations, least=0, most=MOST_DRAWS)
    check_seed("seed", seed)
    table = as_factors(factors, nominal)
    groups = None if within is None else group_numbers(within, len(table.values))
    binned = bin_factors(table, bins=bins, binning=binning, within=groups)
    settings: dict[str, Any] = {"num_permutations": num_permutations, "seed": seed}
    return from_bins(binned, binned, table.names, groups=groups, **settings)


def evaluate(
    codes: Any,
    factors: Any,
    *,
    nominal: Collection[str | int] = (),
    code_names: Sequence[str] | None = None,
    bins: int = 20,
    binning: Binning = "rank",
    num_permutations: int = 200,
    max_points: int | None = 2000,
    encode: Encode | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Measures codes against at least two factors of variation by all scores of this package.

    MIG, modularity and their ceilings are of the corrected information, and of live codes only.
    SAP, DCI and explicitness are of all codes: a code of noise adds nothing to what they measure
    on points that were held out. Information inside the labels, with its MIG and ceiling, is
    measured where exactly one factor is nominal.

    Args:
        codes: Shape ``(N, codes)``: an array, or a tensor of any device; for a VAE usually the
            means of the guide.
        factors: Shape ``(N, factors)``, or arrays of shape ``(N,)`` by name.
        nominal: Names or columns of factors that are labels.
        code_names: Names of the codes, by default ``"0"``, ``"1"``, ...
        bins: Number of bins of a continuous code or factor.
        binning: Kind of the bins: ``"rank"``, or ``"width"``, whose scores depend on the marginals
            (:func:`~pyro_mivae.disentanglement.bin_columns`).
        num_permutations: Number of permutations that estimate the bias of the information; 0 for no
            correction.
        max_points: Largest number of points for DCI and the estimate from neighbours, which take
            seconds; None for all points.
        encode: Function from factors to codes, for the scores that set factors; with `sampler`.
        sampler: Function that draws independent factors. Without both, FactorVAE's and beta-VAE's
            scores are not in the result.
        seed: Seed of all draws.

    Returns:
        By ``code`` and ``factor``: ``mi``, ``mi_plug_in``, ``mi_bias``, ``mi_ksg``, ``mi_within``
        (nats), ``dci_importance``. By ``factor``: ``entropy`` (nats), ``gap``, ``gap_ceiling``,
        ``gap_within``, ``gap_within_ceiling``, ``sap_gap``, ``informativeness``, ``explicitness``.
        By ``code``: ``live``, ``top_factor`` (empty for a code that isn't live),
        ``modularity_code`` (NaN for such a code). Numbers: ``mig``, ``mig_ceiling``,
        ``mig_within``, ``mig_within_ceiling``, ``modularity``, ``modularity_ceiling``, ``sap``,
        ``dci_disentanglement``, ``dci_completeness``, ``num_live``, and perhaps ``factor_vae`` and
        ``beta_vae``. What is not defined for labels, or inside them, is NaN there.

    Raises:
        ValueError: If there are fewer than two factors, only one of `encode` and `sampler`, or too
            few points for `bins`.
    """
    check_count("num_permutations", num_permutations, least=0, most=MOST_DRAWS)
    check_seed("seed", seed)
    optional(check_count)("max_points", max_points)
    check_count("bins", bins, least=2)
    array, table = as_pair(codes, factors, nominal)
    names = [str(i) for i in range(array.shape[1])] if code_names is None else list(code_names)
    if len(names) != array.shape[1]:
        raise ValueError(f"code_names: expected {array.shape[1]} names, found {len(names)}")
    if (encode is None) != (sampler is None):
        raise ValueError(
            "encode and sampler: expected both or neither, found only "
            f"{'sampler' if encode is None else 'encode'}"
        )
    settings: dict[str, Any] = {"bins": bins, "binning": binning, "seed": seed}
    settings["num_permutations"] = num_permutations
    variables: dict[str, Any] = {}
    _information(variables, mi_matrix(array, table, **settings), ceiling(table, **settings))
    _inside_labels(variables, array, table, settings)
    ksg = ksg_matrix(array, table, max_points=max_points, seed=seed)
    variables["mi_ksg"] = (_MATRIX, ksg, _NATS)
    by_factor = sap(array, table)
    variables |= {"sap_gap": ("factor", by_factor), "sap": by_factor.mean()}
    trees = dci(array, table, max_points=max_points, seed=seed)
    variables["dci_importance"] = (_MATRIX, trees.importance)
    variables["informativeness"] = ("factor", trees.informativeness)
    variables["dci_disentanglement"] = trees.disentanglement
    variables["dci_completeness"] = trees.completeness
    variables["explicitness"] = ("factor", explicitness(array, table, seed=seed))
    if encode is not None:
        variables["factor_vae"] = factor_vae_score(encode, sampler, seed=seed)
        variables["beta_vae"] = beta_vae_score(encode, sampler, seed=seed)
    coords = {"code": names, "factor": list(table.names)}
    attrs = {**settings, "num_points": len(array), "nominal": ", ".join(table.labels)}
    return xr.Dataset(variables, coords, attrs)


def _information(variables: dict[str, Any], matrix: MIMatrix, top: MIMatrix) -> None:
    for name, values in (("mi", matrix.values), ("mi_plug_in", matrix.plug_in)):
        variables[name] = (_MATRIX, values, _NATS)
    variables["mi_bias"] = (_MATRIX, matrix.bias, _NATS)
    variables["entropy"] = ("factor", matrix.entropies, _NATS)
    variables["live"] = ("code", matrix.live)
    variables["num_live"] = matrix.num_live
    names = np.array([*matrix.names, ""])
    variables["top_factor"] = ("code", names[top_factors(matrix)])
    _gaps(variables, "", matrix, top)
    by_code = modularity(matrix.live_values)
    spread = np.full(len(matrix.live), np.nan)
    spread[matrix.live] = by_code
    variables["modularity_code"] = ("code", spread)
    variables["modularity"] = _mean(by_code, 0.0)
    variables["modularity_ceiling"] = _mean(modularity(top.live_values), 0.0)


def _inside_labels(
    variables: dict[str, Any], array: Any, table: Factors, settings: dict[str, Any]
) -> None:
    """Adds what ordered factors share with codes inside each label; NaN for the label itself."""
    ordered = [name for name in table.names if name not in table.labels]
    if len(table.labels) != 1 or not ordered:
        return
    group = table.values[:, table.names.index(table.labels[0])]
    inside, part = {**settings, "within": group}, table.select(ordered)
    matrix, top = mi_matrix(array, part, **inside), ceiling(part, **inside)
    columns = [table.names.index(name) for name in ordered]
    values = np.full((array.shape[1], len(table.names)), np.nan)
    values[:, columns] = matrix.values
    variables["mi_within"] = (_MATRIX, values, _NATS)
    _gaps(variables, "_within", matrix, top)
    for name in ("gap_within", "gap_within_ceiling"):
        by_factor = np.full(len(table.names), np.nan)
        by_factor[columns] = variables[name][1]
        variables[name] = ("factor", by_factor)


def _gaps(variables: dict[str, Any], suffix: str, matrix: MIMatrix, top: MIMatrix) -> None:
    for end, each in (("", matrix), ("_ceiling", top)):
        varies = each.entropies > 0  # a factor may be constant inside each label
        gaps = np.full(len(varies), np.nan)
        if varies.any():
            values = each.live_values[:, varies]
            gaps[varies] = mutual_information_gap(values, each.entropies[varies])
        variables[f"gap{suffix}{end}"] = ("factor", gaps)
        variables[f"mig{suffix}{end}"] = _mean(gaps[varies], np.nan)


def _mean(values: Floats, default: float) -> float:
    return float(values.mean()) if values.size else default
