"""A run's folder as model, guide, ELBO and data.

Runs are on the ground floor, and what rebuilds a pair is on the highest one: :func:`load` finds it
by its name in :data:`REBUILDING` when it is called, and only then is torch loaded.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pyro_mivae.runs.folder import CONFIG, METRICS, read_config
from pyro_mivae.runs.history import History

logger = logging.getLogger(__name__)

REBUILDING = "pyro_mivae.training.rebuilding"
"""Module that rebuilds pairs and loads data; a folder never names one."""
GROUPS = ("model", "objective", "data", "training")
"""Groups of settings that a run has to have."""
EXPECTED = "expected the folder of a run of experiments.mnist or .infogan"


@dataclass(frozen=True, eq=False, repr=False)
class LoadedRun:
    """A run that is back in memory: what it trained, and on what.

    Attributes:
        folder: Folder of the run.
        settings: Settings of the run, as in its ``config.json``.
        module: What model and guide belong to, a :class:`~pyro_mivae.vae.MIVAE` or an
            :class:`~pyro_mivae.gan.InfoGAN`.
        model: The model, with the trained parameters.
        guide: The guide as it was trained; with a category the one that enumerates it
            (`module.guide` draws it).
        elbo: The :class:`~pyro_mivae.infer.TraceMI_ELBO`, or for InfoGAN the
            :class:`~pyro_mivae.infer.TraceMI_GAN`, its schedules at the step of the run.
        prepare: Function that makes the data x of images, for functions that take `prepare`.
        step: Steps that were trained.
        history: History of the training.
        metrics: What the run measured, as in its ``metrics.json``; None if it is not finished.
    """

    folder: Path
    settings: Mapping[str, Any]
    module: Any
    model: Any
    guide: Any
    elbo: Any
    prepare: Callable[..., Any]
    step: int
    history: History
    metrics: Mapping[str, Any] | None
    _data: Callable[[], Any] = field(repr=False)

    @cached_property
    def data(self) -> Any:
        """The :class:`~pyro_mivae.datasets.Digits` of the run, read and checked at the first use.

        Raises:
            DigitsNotFoundError: If MNIST is not found.
            ValueError: If the data found are not those of the run.
        """
        return self._data()

    @property
    def finished(self) -> bool:
        """Whether the run has done all of its steps and was measured."""
        return self.metrics is not None

    def __repr__(self) -> str:
        model, objective = self.settings["model"], self.settings["objective"]
        state = "finished" if self.finished else f"not finished, of {_steps(self.settings)} steps"
        lines = [
            f"run in {self.folder}: {self.step} steps, {state}",
            f"prior {model.get('prior')}, "
            + (
                f"adversary {objective['adversary']}"
                if "adversary" in objective
                else f"channel {objective.get('channel')}"
            )
            + f", lambda {objective.get('mi_weight')}, seed "
            f"{self.settings['training'].get('seed')}",
        ]
        test = (self.metrics or {}).get("test", {})
        if {"elbo", "mi/c/sample"} <= test.keys():
            lines.append(
                f"on the test images ELBO {test['elbo']:.2f}, I(c; x') at least "
                f"{test['mi/c/sample']:.2f} nats per datum"
            )
        return "\n  ".join(lines)


def load(
    folder: str | Path, *, device: Any = "cpu", data_dir: str | Path | None = None
) -> LoadedRun:
    """Loads the model, guide, ELBO and data of a run of ``experiments.mnist`` or ``.infogan``.

    Of a run that is not finished this is the last checkpoint, and a warning says so. Nothing in the
    folder is executed, and no path in its ``config.json`` is followed: name `data_dir` where the
    data are not in the usual place. Random states stay as they are.

    Args:
        folder: Folder of the run.
        device: Device of the model and the data, for example ``"cuda"``.
        data_dir: Folder with ``MNIST/raw``, as in :func:`~pyro_mivae.datasets.load_digits`.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no run.
        ValueError: If the run is of another program, or its settings can't be read.
        CheckpointError: If there is no good checkpoint, or it is of other settings.

    Example:
        >>> run = runs.load("runs/mine")  # doctest: +SKIP
        >>> evaluate(run.model, run.guide, run.elbo, run.data.test.images, prepare=run.prepare)
    """
    folder = Path(folder)
    config = _config(folder)
    metrics = _metrics(folder / METRICS)
    rebuilding = importlib.import_module(REBUILDING)
    settings = config["settings"]
    pair = rebuilding.load_pair(folder, settings, device)
    if metrics is not None and (measured := metrics.get("step", pair["step"])) != pair["step"]:
        logger.warning(
            "the run in %s was measured at step %s, and its last good checkpoint is of step %s: "
            "the measurements are left out",
            *(folder, measured, pair["step"]),
        )
        metrics = None
    if metrics is None:
        logger.warning(
            "the run in %s is not finished: this is its last checkpoint, of step %d of %s. To "
            "finish it, go on with the program that started it",
            *(folder, pair["step"], _steps(settings)),
        )

    def data() -> Any:
        return rebuilding.load_data(config.get("data"), folder, device, data_dir)

    return LoadedRun(folder=folder, settings=settings, metrics=metrics, _data=data, **pair)


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: {EXPECTED}")
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is not a run, it has no {CONFIG}: {_instead(folder)}")
    config = read_config(folder)
    settings = config["settings"]
    lacking = [g for g in GROUPS if not isinstance(settings.get(g), dict)]
    if lacking:
        raise ValueError(
            f"{folder / CONFIG}: {EXPECTED}, with the settings {', '.join(GROUPS)}; "
            f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing. It is of "
            "another program: load it as that program says"
        )
    return config


def _instead(folder: Path) -> str:
    """What to do with a folder that is no run."""
    if any(folder.glob("*.ckpt")):
        return (
            f"{EXPECTED}. It has checkpoints of fit, which do not say what model they are of: "
            "build the pair, and call fit(..., folder=folder, resume=True)"
        )
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if inside:
        more = f" and {len(inside) - 4} more" if inside[4:] else ""
        return f"name one of the runs in it, {', '.join(inside[:4])}{more}"
    return EXPECTED


def _metrics(path: Path) -> dict[str, Any] | None:
    """The measurements, None of a run that is not finished."""
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} can't be read as a run's measurements ({error}): delete it, and let the run "
            "go on, which measures it anew"
        ) from error


def _steps(settings: Mapping[str, Any]) -> Any:
    return settings["training"].get("steps", "?")
