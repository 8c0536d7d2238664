"""Measurements of codes against known factors: by the guide, and by the generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor

from experiments.open_question.jobs.carried_factors import carried, carried_share, leading_code
from pyro_mivae.disentanglement import (
    MIMatrix,
    ceiling,
    dci,
    ksg_matrix,
    mi_matrix,
    modularity,
    mutual_information_gap,
    top_factors,
    traversal_effects,
)
from pyro_mivae.disentanglement.classes import match_classes
from pyro_mivae.distributions import posterior_mean
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.priors import Prior
from pyro_mivae.runs.files import atomic_path
from pyro_mivae.training import evaluate, evaluation
from pyro_mivae.vae import MIVAE

Array = NDArray[np.float64]
Measure = Callable[[Tensor], Array]
"""Measures images in [0, 1], (N, H, W): (N, M)."""

PROBABILITIES = tuple(np.linspace(0.05, 0.95, 9).round(4).tolist())
"""Probabilities of the prior, at whose quantiles a code is put in a traversal."""


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Images as the guide sees them: (N, dim) each.

    Attributes:
        means: Posterior means of the continuous latents, by site.
        draws: Draws, one of each posterior, by site.
        categories: Likeliest category of each image (N,), if there is one.
    """

    means: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]
    categories: Tensor | None


def encode(vae: MIVAE, images: Tensor, *, seed: int = 0) -> Encoded:
    """Encodes uint8 images (N, H, W)."""
    parts: dict[str, list[Tensor]] = {}
    with evaluation(vae, device=images.device, seed=seed):
        for batch in torch.split(images, 1000):
            for site, q in vae.guide.encode(vae.observe(batch)).items():
                if site == "d":
                    parts.setdefault("d", []).append(q.logits.argmax(-1))
                    continue
                parts.setdefault(site, []).append(posterior_mean(q))
                parts.setdefault(f"draw/{site}", []).append(q.sample())
    joined = {name: torch.cat(part) for name, part in parts.items()}
    sites = [site for site in vae.priors if site != "d"]
    draws = {site: joined[f"draw/{site}"] for site in sites}
    return Encoded({site: joined[site] for site in sites}, draws, joined.get("d"))


def aggregate_distance(draws: Tensor, prior: Prior) -> list[float]:
    """Computes the Kolmogorov-Smirnov distance of draws (N, dim) to their prior, by dimension.

    It is taken at 2,000 quantiles of the prior: its largest value lies at most 1/2000 above.
    """
    probability = (torch.arange(2000) + 0.5) / 2000
    at = prior.quantile(probability)
    below = [
        torch.searchsorted(drawn.contiguous(), edges.contiguous(), right=True)
        for drawn, edges in zip(draws.sort(0).values.T, at.T, strict=True)
    ]
    return [float((b / len(draws) - probability).abs().max()) for b in below]


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """The factors of test images, by name (N,), and what a perfect code of them would score."""

    values: Mapping[str, Array]
    pair: tuple[str, str]
    """T and S."""
    nominal: tuple[str, ...]
    best: MIMatrix

    @classmethod
    def of(cls, values: Mapping[str, Array], pair: tuple[str, str], label: str) -> Factors:
        """Makes the factors with their ceiling, which is the same for all models."""
        return cls(values, pair, (label,), ceiling(values, nominal=(label,)))


def information(encoded: Encoded, factors: Factors) -> dict[str, Any]:
    """Measures the information of codes about factors, in corrected nats, and scores made of it.

    All but ``mi`` itself is of the code c alone.
    """
    sites = list(encoded.means)
    names = [f"{s}[{i}]" for s in sites for i in range(encoded.means[s].shape[1])]
    codes = torch.cat([encoded.means[site] for site in sites], 1).double().numpy()
    matrix = mi_matrix(codes, factors.values, nominal=factors.nominal)
    size = encoded.means["c"].shape[1]
    c = dataclasses.replace(
        matrix, **{n: getattr(matrix, n)[:size] for n in ("values", "plug_in", "bias", "live")}
    )
    first, second = factors.pair
    leading, top = leading_code(c), [*c.names, ""]
    by_code = [top[place] for place in top_factors(c)]
    both = [c.names.index(name) for name in factors.pair]
    predicted = dci(codes[:, :size], {name: factors.values[name] for name in factors.pair})
    best = factors.best
    return {
        "codes": names,
        "factors": list(matrix.names),
        "mi": matrix.values.tolist(),
        "bias": matrix.bias.tolist(),
        "live": matrix.live.tolist(),
        "entropies": matrix.entropies.tolist(),
        "I_T": carried(c, first),
        "I_S": carried(c, second),
        "share_T": carried_share(c, first, second),
        "sums": dict(zip(c.names, c.live_values.sum(0).tolist(), strict=True)),
        "leading": leading,
        "leading_top": by_code[leading] if leading >= 0 else "",
        "top": by_code,
        "num_live": c.num_live,
        "mig": float(mutual_information_gap(c.live_values, c.entropies).mean()),
        "mig_ceiling": float(mutual_information_gap(best.live_values, best.entropies).mean()),
        "modularity": _mean(modularity(c.live_values)),
        "modularity_ceiling": _mean(modularity(best.live_values)),
        "modularity_pair": _mean(modularity(c.live_values[:, both])),
        "dci_d": predicted.disentanglement,
        "dci_c": predicted.completeness,
        "informativeness": predicted.informativeness.tolist(),
    }


def cross_checks(encoded: Encoded, factors: Factors) -> dict[str, Any]:
    """Measures the information of c about the factors in two other ways, (codes, factors) in nats.

    ``ksg`` is from distances between neighbours in place of bins (2,000 points), ``within`` by
    ranks inside each label, of the factors that are none: without what a code and a factor share
    because both depend on the label.
    """
    codes, labels = encoded.means["c"].double().numpy(), factors.nominal
    ordered = {n: v for n, v in factors.values.items() if n not in labels}
    (label,) = (factors.values[name] for name in labels)
    return {
        "ksg": ksg_matrix(codes, factors.values, nominal=labels).tolist(),
        "within": mi_matrix(codes, ordered, within=label).values.tolist(),
        "within_factors": list(ordered),
    }


def category(encoded: Encoded, labels: Array) -> dict[str, float]:
    """Measures the information of the likeliest category about the label, and class accuracy."""
    if encoded.categories is None:
        return {}
    number = int(encoded.categories.max()) + 1  # those beyond are empty
    matched = match_classes(encoded.categories, torch.from_numpy(labels).long(), number)
    nats = float(mutual_info_score(labels, encoded.categories.numpy()))
    return {"mi_category_label": nats, "accuracy": matched.accuracy}


def terms(vae: MIVAE, images: Tensor) -> dict[str, float]:
    """Evaluates ELBO, its parts, and the bound on I(c; x') of drawn x', nats per image."""
    elbo = TraceMI_ELBO(channel="sample", codes=vae.codes)
    values = evaluate(vae.model, vae.guide, elbo, images, prepare=vae.observe)
    del values["loss"]  # of a weight that no run has
    return {**values, "elbo": values["log_likelihood"] - values["kl"]}


def generator(
    vae: MIVAE, measure: Measure, *, names: Sequence[str], scale: Array, number: int, seed: int = 0
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Measures what moving each code does to the images: each is put at quantiles of its prior.

    All else stays at draws from the priors, `number` of them. (Where dimensions depend on each
    other, as those of a square that is turned, a moved code may leave the prior's support.)

    Args:
        vae: Model to measure.
        measure: Function that measures images.
        names: Names of what is measured.
        scale: Standard deviation of each over the data: slopes are in these, per standard
            deviation of the prior.
        number: Traversals of each code.
        seed: Seed of the draws.

    Returns:
        Slopes and the like, (codes, names) each; and, of the first three traversals, mean images
        uint8 (codes, traversals, steps, H, W), what was measured of them and the code's values.
    """
    prior, probability = vae.priors["c"], torch.tensor(PROBABILITIES)
    with evaluation(vae, device=torch.device("cpu"), seed=seed):
        values = prior.quantile(probability)  # (steps, dim)
        drawn = {site: each().expand((number, 1)).sample() for site, each in vae.priors.items()}
        moved = []
        for d in range(prior.dim):
            c = drawn["c"].repeat(1, len(values), 1)
            c[..., d] = values[:, d]
            others = [drawn[site].expand(-1, len(values), -1) for site in drawn if site != "c"]
            moved.append(vae.model.decode(c, *others).mean)
        images = torch.stack(moved).clamp(0, 1)
        measurements = measure(images.flatten(0, 2)).reshape(*images.shape[:3], len(names))
        spread = prior().stddev
    unit = (values / spread).T.double().numpy()
    effects = traversal_effects(unit, measurements, scale=scale)
    numbers = {name: value.tolist() for name, value in dataclasses.asdict(effects).items()}
    arrays = {
        "images": (255 * images[:, :3]).round().byte().numpy(),
        "measured": measurements[:, :3],
        "values": values.T.numpy(),
    }
    return {"measured": list(names), **numbers}, arrays


def write_traversals(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes the arrays of :func:`generator` atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, images=arrays["images"], measured=arrays["measured"], values=arrays["values"]
        )


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else 0.0
