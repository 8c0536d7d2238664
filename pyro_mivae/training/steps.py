"""How the loss of a step is computed: in eager mode, replayed or compiled, and who chooses."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_mivae.infer import CompiledELBO, compile_elbo

logger = logging.getLogger(__name__)

Compile = bool | Literal["auto", "replay"] | CompiledELBO
"""What ``fit(compile=...)`` takes."""
EAGER, REPLAYED, COMPILED = "eager", "replayed", "compiled"
CHECKED, CHECKED_EVERY = (1, 10, 100), 1000
"""Steps in which what was recorded is compared with an eager step."""
FEWEST = 500
"""Steps to come for which recording pays: it takes about as long as they save."""
TIMED = 20
"""Replayed steps whose times decide whether to compile."""
SHARE = 0.15
"""Share of a replayed step that compiling saves; 0.14 in fp32 and 0.2 in bf16 for the main job."""
COMPILATION = 50
"""Time of a compilation over the processor time of recording: 20 s over 0.4 s for the main job."""


def is_checked(step: int, last: int) -> bool:
    """Tells whether what was recorded is looked at again in a step, as in the last one."""
    return step in (*CHECKED, last) or (step > 0 and step % CHECKED_EVERY == 0)


class Steps:
    """The way in which the loss of a step and its gradients are computed.

    Args:
        elbo: ELBO whose loss it is.
        model: A Pyro model.
        guide: Its guide.
        compile: False for eager mode, ``"replay"`` for the recorded operations one by one, True
            for what a compiler makes of them, ``"auto"`` to choose, or what ``compile_elbo`` has
            made of these.

    Attributes:
        done: Steps done, those before a resumption included.
        why: Reason of the choice, in words; empty where there was none.

    Raises:
        ValueError: If what was compiled is of another model, guide or ELBO.
    """

    def __init__(self, elbo: ELBO, model: Any, guide: Any, compile: Compile) -> None:  # noqa: A002
        self._parts = elbo, model, guide
        self._chooses = compile == "auto"
        self._seconds: list[float] = []
        self._recorded: CompiledELBO | None = None
        self.done = self._last = 0
        self.why = ""
        if isinstance(compile, CompiledELBO):
            parts = compile.elbo, compile.model, compile.guide
            if not all(a is b for a, b in zip(parts, self._parts, strict=True)):
                raise ValueError(
                    "compile: expected what compile_elbo made of this model, guide and ELBO, found "
                    "that of others: pass the same objects to both, or compile=True"
                )
            self._recorded = compile
        elif compile and not self._chooses:
            self._recorded = compile_elbo(
                *self._parts, backend=None if compile == "replay" else "inductor"
            )

    @property
    def way(self) -> str:
        """The way of the next step: ``"eager"``, ``"replayed"`` or ``"compiled"``."""
        if self._recorded is None or self._recorded.fallback is not None:
            return EAGER
        return REPLAYED if self._recorded.backend is None else COMPILED

    def compute(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], scale: float
    ) -> tuple[dict[str, Tensor], Tensor] | None:
        """Computes the terms, and the loss times `scale`; None in eager mode.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            scale: Factor of the loss.

        Raises:
            RecordingError: If a step that is checked differs from an eager one.
        """
        recorded, step = self._recorded, self.done + 1
        if recorded is None:
            return None
        checked = is_checked(step, self._last)
        if checked:
            recorded.check(args, kwargs, scale=scale)
        timed = self._chooses and not checked
        started = _now() if timed else 0.0
        values = recorded.scaled_terms(args, kwargs, scale=scale)
        if timed:
            self._seconds.append(_now() - started)
        if recorded.fallback is not None and self._chooses:
            self._settle(f"steps run in eager mode: {recorded.fallback}")
        return values

    def plan(self, to_come: int) -> None:
        """Decides between eager and replayed steps, by the number of those to come."""
        self._last = self.done + to_come
        if not self._chooses or self._recorded is not None:
            return
        if to_come < FEWEST:
            self.why = f"steps run in eager mode: recording pays from {FEWEST} steps on"
            return
        self._record(None)
        self.why = "steps are replayed from what was recorded of the first"

    def choose(self, to_come: int, agree: Callable[[bool], bool]) -> None:
        """Decides between replaying and compiling, once, by the times of the first steps.

        Args:
            to_come: Number of steps to come.
            agree: Gives all processes of a training the choice of the first.
        """
        if len(self._seconds) < TIMED or self._recorded is None or not self._chooses:
            return
        step = statistics.median(self._seconds[TIMED // 2 :])
        saved = SHARE * step * to_come
        capture = max((graph.capture_seconds for graph in self._recorded.graphs), default=0.0)
        pays = agree(saved > COMPILATION * capture)
        sums = (
            f"{to_come} steps of {1e3 * step:.1f} ms are to come, of which compiling saves about "
            f"{saved:.0f} s and takes about {COMPILATION * capture:.0f} s"
        )
        if pays:
            self._recorded.use("inductor")
        self._settle(f"steps are {'compiled' if pays else 'replayed, not compiled'}: {sums}")

    def note(self) -> dict[str, str]:
        """Returns the way, and why it was chosen; nothing while the choice is to come."""
        if self._chooses and (self._recorded is not None or not self.why):
            return {}
        return {"steps": self.way, "steps_because": self.why or "asked for"}

    def resume(self, done: int, way: str | None) -> None:
        """Takes up the choice that a checkpoint notes.

        Args:
            done: Steps done.
            way: How they were computed; None in checkpoints that do not note it.
        """
        self.done = done
        if self._chooses and way in (REPLAYED, COMPILED):
            self._record("inductor" if way == COMPILED else None)
            self._settle(f"steps are {way}, as those before the checkpoint")

    def _record(self, backend: str | None) -> None:
        self._recorded = compile_elbo(*self._parts, backend=backend)
        self._recorded.warns = False  # nobody asked for it

    def _settle(self, why: str) -> None:
        self._chooses, self.why = False, why
        logger.info(why)


def _now() -> float:
    """The time, after the device has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
