"""The look, once for each pair, whether a draw moves the terms of other cells of a plate."""

from __future__ import annotations

import warnings
from functools import partial

from pyro import poutine
from torch import Tensor

from pyro_mivae.infer.dual.channel import Channel, Forward, generate
from pyro_mivae.infer.dual.crossed_plates import Runs, crossed_plates
from pyro_mivae.infer.dual.guide_run import GuideRun
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.rerun import plate_indices
from pyro_mivae.traces.sites import Codes

_CROSSED = (
    "a draw in one cell of the plates [{}] moves the terms of other cells (of a guide that reads "
    "x' along the plate, say), so the score-function terms weigh each draw by those of all cells "
    "along it: unbiased, but of high variance. Where the cells are not independent, make the plate "
    "a dimension of the event (to_event), or use channel='straight-through'"
)


class CrossingLook:
    """A look for plates along which a draw without a pathwise gradient moves other cells' terms.

    Args:
        channel: How x' is generated.
        observed: Observed sites that keep their data value.
        run_guide: Runs the guide on x'.
    """

    def __init__(self, channel: Channel, observed: tuple[str, ...], run_guide: GuideRun) -> None:
        self.channel = channel
        self.observed = observed
        self.run_guide = run_guide

    def __call__(
        self,
        forward: Forward,
        guide_trace: poutine.Trace | None,
        codes: Codes,
        call: Call,
        memory: PairMemory,
        *,
        coupled: bool,
    ) -> frozenset[str]:
        """Names the plates, with a warning at the first look.

        Args:
            forward: The forward run.
            guide_trace: The guide on it; None to look at the model alone.
            codes: The codes.
            call: The pair and its arguments.
            memory: What is known of the pair.
            coupled: Whether all data depend on each other anyway.
        """
        with_guide = guide_trace is not None
        if coupled:
            return frozenset()
        if with_guide not in memory.crossed:

            def generate_again(given: dict[str, Tensor]) -> Forward:
                return generate(
                    call.model,
                    call.args,
                    call.kwargs,
                    channel=self.channel,
                    observed=self.observed,
                    indices=plate_indices(forward.trace),
                    given=given,
                )

            read = partial(self.run_guide.again, codes, call, memory)
            crossed = crossed_plates(Runs(forward, guide_trace, codes, call, generate_again, read))
            memory.crossed[with_guide] = crossed
            if crossed:
                warnings.warn(_CROSSED.format(", ".join(sorted(crossed))), stacklevel=5)
        return memory.crossed[with_guide]
