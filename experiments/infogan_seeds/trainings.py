"""The runs of `experiments.infogan_seeds`: which forms, which seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.generator.config import RESULT
from experiments.runner.run import Run


@dataclass(frozen=True)
class Form:
    """A form of InfoGAN, or a VAE, that is trained with each seed."""

    name: str
    """Name that --blocks takes."""
    words: str
    """What it is, for tables."""
    flags: tuple[str, ...] = ()
    """What differs from the program's defaults."""
    module: str = "experiments.infogan"
    """Program that trains it."""

    def training(self, seed: int, scale: str = "full") -> Run:
        """Makes the run that trains it."""
        made_of = ("--smoke",) if scale == "smoke" else ("--data", "mnist")
        return Run(
            f"{self.name}-seed{seed}",
            (*self.flags, "--seed", str(seed), *made_of),
            module=self.module,
        )

    def measurement(self, seed: int, folder: Path, scale: str = "full") -> Run:
        """Makes the run of experiments.generator on the images of a training."""
        trained = self.training(seed).name
        return Run(
            f"generator-{trained}",
            (
                str(folder.resolve() / trained),
                *("--channels", *self.channels),
                *(["--smoke"] if scale == "smoke" else []),
            ),
            module="experiments.generator",
            result=RESULT,
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """What is measured: a VAE's drawn pixels, too, as its data are drawn."""
        return ("mean", "sample") if self.module == "experiments.mnist" else ("mean",)


VAE = ("--prior", "uniform", "--code-dim", "2")
FORMS = (
    Form("infogan", "InfoGAN's form, λ = 1"),
    Form("vae", "VAE of the main job", VAE, module="experiments.mnist"),
    Form("weight0", "no term on c, λ = 0", ("--mi-weight", "0")),
    Form("learnt-scale", "learnt scale, λ = 0.1", ("--code-scale", "None")),
    Form("own-trunk", "a guide of its own", ("--no-shared-trunk",)),
    Form("weight0.1", "InfoGAN's form, λ = 0.1", ("--mi-weight", "0.1")),
)
"""All forms, in the order in which they are run."""
