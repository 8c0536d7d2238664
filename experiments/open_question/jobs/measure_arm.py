"""The measurements of a trained arm."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.open_question.design.datasets import LABEL
from experiments.open_question.jobs import alignment
from experiments.open_question.jobs.alignment import Factors
from experiments.open_question.jobs.arm_data import ArmData, measure
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import evaluate
from pyro_mivae.vae import MIVAE

_SOME = 2000  # test images, for the spread of what is measured


class ArmEvaluator:
    """The evaluator of trained arms on one data set, with what is the same for all models.

    Args:
        data: Data set to measure on.
    """

    def __init__(self, data: ArmData) -> None:
        self.data = data
        self.factors = Factors.of(data.factors, data.factor_set.pair, LABEL)
        measurements = measure(data.test[:_SOME] / 255, data.factor_set)
        self.scale: NDArray[np.float64] = np.nanstd(measurements, axis=0)

    def measure(
        self,
        vae: MIVAE,
        *,
        seed: int,
        trained_on: NDArray[np.int64],
        traversals: int,
        code_scale: float | None,
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Measures a model: its numbers, and its traversals.

        Args:
            vae: Model to measure.
            seed: Seed of all random draws.
            trained_on: Part of the pool that it was trained on.
            traversals: Number of traversals of each code.
            code_scale: Standard deviation by which the term scored the codes, if it was given one:
                then this score is measured, too.
        """
        data = self.data
        encoded = alignment.encode(vae, data.test, seed=seed)
        terms = alignment.terms(vae, data.test)
        if code_scale is not None:
            elbo = TraceMI_ELBO(channel="sample", codes=vae.codes, code_scale=code_scale)
            score = evaluate(vae.model, vae.guide, elbo, data.test, prepare=vae.observe)
            terms["fixed_scale/c"] = score["mi/c"]
        moved, arrays = alignment.generator(
            vae,
            partial(measure, factor_set=data.factor_set),
            names=data.factor_set.moved,
            scale=self.scale,
            number=traversals,
            seed=seed,
        )
        prior = vae.priors["c"]
        numbers = {
            "seed": seed,
            "units": "nats",
            "terms": terms,
            "alignment": alignment.information(encoded, self.factors),
            "category": alignment.category(encoded, data.factors[LABEL]),
            "generator": moved,
            "checks": {
                "posterior_ks": alignment.aggregate_distance(encoded.draws["c"], prior),
                "factor_ks": data.distance(trained_on),
                "set_measured": dict(data.set_measured),
                "unmeasured": data.unmeasured,
            },
        }
        return numbers, arrays
