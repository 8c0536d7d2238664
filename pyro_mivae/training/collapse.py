"""Signs that an adversarial training fails, which no term that is not finite would show."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping

from torch import Tensor

from pyro_mivae.infer import TraceMI_GAN
from pyro_mivae.infer.adversarial.variety import measure_variety
from pyro_mivae.traces.call import Call

logger = logging.getLogger(__name__)

READINGS = 3
"""Readings in a row that have to show a sign before it is said."""
STEPS = 500
"""Steps between the first and the last of these, at least."""
WON = 0.2
"""The discriminator's loss below which it has won."""
SPREAD = 0.1
"""The spread of x', as a share of that of real data, below which generated data are alike."""
RARE = 0.1
"""The share of a class, divided by that under the prior, below which the class is rare."""
DATA = 20
"""Data for each class, at least, over which shares of classes are taken."""


class CollapseWatch:
    """A look for signs of collapse at the readings of a training, with a warning of each, once.

    It costs a run of the model and one of the guide at each reading, and changes nothing.

    Args:
        gan: The objective of the training.
    """

    def __init__(self, gan: TraceMI_GAN) -> None:
        self.gan = gan
        self._since: dict[str, list[int]] = {}  # the steps of the readings that show a sign
        self._said: set[str] = set()
        self._classes: deque[tuple[int, dict[str, Tensor]]] = deque(maxlen=10)

    def __call__(self, step: int, terms: Mapping[str, float], call: Call) -> None:
        """Looks at a reading.

        Args:
            step: Steps done.
            terms: Means of the terms since the last reading.
            call: Model and guide with the arguments of a batch.
        """
        self._look_at_loss(step, terms)
        variety = measure_variety(self.gan, call)
        if variety.spread is not None:
            percent = f"{variety.spread:.0%}"
            self._sign(
                *("spread", step, variety.spread < SPREAD),
                f"the data that the model generates are nearly alike: inside a batch their "
                f"standard deviation is {percent} of that of the real data. Let the discriminator "
                "see the batch (MinibatchDiscrimination before its last layer), use LayerNorm in "
                "the place of batch normalisation in it, or a smaller learning rate for the reader",
            )
        self._classes.append((variety.size, variety.classes))
        for site in variety.classes:
            self._look_at_classes(step, site)

    def _look_at_loss(self, step: int, terms: Mapping[str, float]) -> None:
        if self.gan.adversary == "wasserstein":  # whose loss has no lower end
            return
        loss = terms["discriminator/real"] + terms["discriminator/generated"]
        fair = 2 * math.log(2) if self.gan.adversary == "non-saturating" else 2.0
        self._sign(
            *("discriminator", step, loss < WON),
            f"the discriminator wins: its loss is {loss:.2f}, where {fair:.2f} is that of one that "
            "can't tell real from generated data, so that the model learns little from it. Try a "
            "smaller learning rate for the reader, a larger one for the model, or a smaller "
            "discriminator",
        )

    def _look_at_classes(self, step: int, site: str) -> None:
        """Compares the classes that the guide reads off the last real data with the prior's."""
        batches = [(size, classes[site]) for size, classes in self._classes if site in classes]
        sums = sum(pair for _, pair in batches[1:]) + batches[0][1]
        number = sum(size for size, _ in batches)
        if number < DATA * sums.shape[-1]:
            return
        read, prior = sums / number
        ratios = read / prior.clamp(min=1e-12)
        rarest = int(ratios.argmin())
        self._sign(
            *(f"class of {site}", step, float(ratios[rarest]) < RARE),
            f"class {rarest} of the code '{site}' is read off {float(read[rarest]):.1%} of the "
            f"real data, and has a probability of {float(prior[rarest]):.1%} under the prior: the "
            "model generates for it what no real data look like, or two classes share one kind of "
            "data. Train longer, try another seed or a smaller learning rate for the reader, or "
            "use fewer classes",
        )

    def _sign(self, name: str, step: int, shown: bool, words: str) -> None:
        steps = self._since.setdefault(name, [])
        if not shown:
            steps.clear()
            return
        steps.append(step)
        long = len(steps) >= READINGS and step - steps[0] >= STEPS
        if long and name not in self._said:
            self._said.add(name)
            logger.warning("at step %d, and since step %d, %s", step, steps[0], words)
