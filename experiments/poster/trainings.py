"""The runs of `experiments.poster`: which, for what, and what of the poster was shortened."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.command_line import as_arguments, plain
from experiments.runner.run import Run

EPOCHS_25 = 13_750
"""The poster's training: 25 epochs of 55,000 images in batches of 100."""
EPOCHS_10, EPOCHS_5 = 5_500, 2_750
CHANNELS = ("mean", "straight-through", "sample", "sleep")


@dataclass(frozen=True)
class Training:
    """One training at the poster's settings, but for what is named here."""

    channel: str = "mean"
    size: int = 5
    """Dimensions of the code, and as many of the noise."""
    mi_weight: float = 1.0
    seed: int = 0
    steps: int = EPOCHS_25
    kl_weight: float = 1.0
    init_seed: int | None = None
    mi_warmup: int = 0
    init_gain: float = 1.0
    precision: str = "32-true"
    eager: bool = False
    """Not compiled: the same numbers but for rounding."""

    @property
    def options(self) -> dict[str, str]:
        """Settings that are not the poster's, by flag."""
        own = {
            "kl-weight": (self.kl_weight, 1.0),
            "init-seed": (self.init_seed, None),
            "mi-warmup": (self.mi_warmup, 0),
            "init-gain": (self.init_gain, 1.0),
            "precision": (self.precision, "32-true"),
        }
        return {flag: plain(value) for flag, (value, usual) in own.items() if value != usual}

    @property
    def name(self) -> str:
        """The run's folder."""
        steps = {} if self.steps == EPOCHS_25 else {"steps": str(self.steps)}
        parts = [self.channel, f"{self.size}+{self.size}", f"lambda{plain(self.mi_weight)}"]
        parts += [f"seed{self.seed}"]
        parts += [f"{flag}{value}" for flag, value in (steps | self.options).items()]
        parts += ["eager"] if self.eager else []
        return "-".join(parts)

    def run(self, scale: str = "full") -> Run:
        """Makes the run of experiments.mnist; `scale` is ``"full"`` or ``"smoke"``."""
        flags = {
            "code-dim": self.size,
            "noise-dim": self.size,
            "channel": self.channel,
            "mi-weight": self.mi_weight,
            "steps": self.steps if scale == "full" else 40,
            "seed": self.seed,
        } | self.options
        poster = ("--prior", "gaussian", "--likelihood", "grey")
        compiled = ("--compile", "never" if self.eager else "always")
        full = ("--data", "mnist", *compiled, "--validate-every", "550")
        made_of = full if scale == "full" else ("--smoke",)
        return Run(self.name, (*poster, *made_of, *as_arguments(flags)))

    def measurement(self, folder: Path, scale: str = "full") -> Run:
        """Makes the run of experiments.information on this one, with a refitted guide."""
        flags = ["--num-samples", "1", "100", "1000", "--images", "100", "--num-data", "1000"]
        flags += ["--evidence-images", "5", "--decomposition-images", "1000"]
        asked = ["--smoke"] if scale == "smoke" else flags
        return Run(
            f"information-{self.name}",
            (str(folder.resolve() / self.name), *asked),
            module="experiments.information",
            result="information.json",
        )


@dataclass(frozen=True)
class Block:
    """The runs of one figure or claim."""

    name: str
    trainings: tuple[Training, ...]
    measured: bool = field(default=False)
    """Whether the information of these runs is measured from both sides."""


def blocks(seeds: int, figure_4_seeds: int) -> list[Block]:
    """Lists all blocks, in the order in which they are run.

    Args:
        seeds: Seeds of the poster's settings; claims that need less have fewer.
        figure_4_seeds: Trainings with 10 + 10 dimensions; those beyond `seeds` have 10 epochs.
    """
    few = range(min(2, seeds))
    every = range(seeds)
    return [
        Block("figure-3", tuple(_each(every, mi_weight=(1.0, 0.0))), measured=True),
        Block("figure-4", tuple(_each(every, size=(10,))), measured=True),
        Block(
            "channels",
            (
                *_each(every, size=(10,), channel=("straight-through",)),
                *_each(few, size=(10,), channel=("sample", "sleep"), steps=(EPOCHS_10,)),
            ),
            measured=True,
        ),
        Block(
            "figure-4-seeds",
            tuple(_each(range(seeds, figure_4_seeds), size=(10,), steps=(EPOCHS_10,))),
        ),
        Block(
            "trade-off",
            (
                *_each([0], kl_weight=(1.0, 0.25, 0.5, 2.0, 4.0), mi_weight=(0.0,), **_SHORT),
                *_each([0], channel=CHANNELS[:2], mi_weight=_WEIGHTS, **_SHORT),
                *_each([0], channel=CHANNELS[2:], mi_weight=(1.0, 4.0), **_SHORT),
            ),
        ),
        Block(
            "capacity",
            (
                *_each(few, size=_SIZES, channel=CHANNELS[:3], **_SHORT),
                *_each([0], size=_SIZES, channel=("sleep",), **_SHORT),
            ),
        ),
        Block(
            "what-decides",
            (
                *_each(every, size=(10,), init_seed=tuple(every), **_SHORT),
                *_each(every, size=(10,), mi_warmup=(1100,), **_SHORT),
                *_each(every, size=(10,), init_gain=(0.5, 1.5), **_SHORT),
            ),
        ),
        Block(
            "precision",
            (*_each(every, precision=("bf16-mixed",)), *_each(every, eager=(True,))),
        ),
    ]


def smoke_blocks() -> list[Block]:
    """Lists a run or two for each figure and claim."""
    few = Training(size=2)
    trained = tuple(_each([0], size=(2,), mi_weight=(1.0, 0.0)))
    betas = tuple(_each([0], size=(2,), mi_weight=(0.0,), kl_weight=(0.5,)))
    return [
        Block("figure-3", trained, measured=True),
        Block("figure-4", (few,), measured=True),
        Block("channels", (few,), measured=True),
        Block("figure-4-seeds", ()),
        Block("trade-off", (*trained, *betas)),
        Block("capacity", (few,)),
        Block("what-decides", (dataclasses.replace(few, init_seed=1),)),
        Block("precision", ()),
    ]


_SIZES = (2, 5, 10, 20)
_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SHORT = {"steps": (EPOCHS_5,)}


def _each(seeds: Sequence[int], **settings: Sequence[object]) -> Iterator[Training]:
    """Trainings of every combination; those of the first seed come first."""
    for seed in seeds:
        for values in itertools.product(*settings.values()):
            chosen = dict(zip(settings, values, strict=True))
            yield Training(seed=seed, **chosen)  # type: ignore[arg-type]
