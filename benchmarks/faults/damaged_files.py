"""Torn and edited files of a run: each is named, with what to do; a study goes on without it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults import Fault, refused
from benchmarks.faults.disk import WRITERS
from experiments.mnist.config import Config, read_settings
from experiments.run_data import data_of
from experiments.sweep.program import read_rows
from pyro_mivae import runs
from pyro_mivae.plotting.saving import heading
from pyro_mivae.runs import groups
from pyro_mivae.runs.history import History

WORDS = "damaged or edited|was edited|settings"


def write_run(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Writes what a sweep reads of a finished run; returns its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Config()
    settings = dataclasses.asdict(config)
    settings["training"]["seed"] = seed
    runs.write_config(folder, settings, {"name": "mnist-5k", "checksum": "0" * 64})
    metrics = {
        "test": {"elbo": -100.0, "kl/c": 1.0, "mi/c/sample": 0.5, "log_likelihood": -99.0},
        "log_evidence": {"mean": -98.0, "standard_error": 0.1},
        "seconds": {"training": 1.0},
    }
    runs.write_json(folder / runs.METRICS, metrics)
    return runs.read_config(folder)


def _edit(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Replaces a value of a configuration; None removes it."""
    place, *names = path.split(".")
    if names:
        _edit(config[place], ".".join(names), value)
    elif value is None:
        del config[place]
    else:
        config[place] = value
    return config


CONFIGS: dict[str, tuple[str, Any, str]] = {
    "no settings": ("settings", None, "expected an object 'settings'"),
    "settings of a list": ("settings", [1], "expected an object 'settings'"),
    "no group": ("settings.training", None, "no settings of experiments.mnist"),
    "a group of a number": ("settings.training", 3, "no settings of experiments.mnist"),
    "an unknown setting": ("settings.training.speed", 3, "no settings of experiments.mnist"),
    "words for steps": ("settings.training.steps", "many", "steps: --steps must be a whole number"),
    "half a step": ("settings.training.steps", 2.5, "must be a whole number, .*found 2.5"),
    "a negative weight": ("settings.objective.mi_weight", -1, "mi_weight: --mi-weight must be"),
    "an unknown prior": ("settings.model.prior", "$x$", "prior: --prior must be one of"),
    "a prior of a list": ("settings.model.prior", ["a"], "prior: --prior must be one of"),
    "an unknown channel": ("settings.objective.channel", "x", "--channel must be one of"),
    "unknown data": ("settings.data.data", "../../etc", "--data must be one of"),
    "words for compile": ("settings.training.compile", "yes", "--compile must be one of"),
    "no data": ("data", None, "expected an object 'data'"),
}
TORN = ("", "{", '{"settings": ', "[1, 2]", "\x00\x00", "[" * 5000)
HISTORIES = {
    "empty": "",
    "no header": "1,2,train\n",
    "a cell too few": "step,epoch,split,loss\n1,0.1\n",
    "a cell too many": "step,epoch,split,loss\n1,0.1,train,3,4\n",
    "words for a number": "step,epoch,split,loss\n1,0.1,train,many\n",
    "no step": "step,epoch,split,loss\n,0.1,train,3\n",
    "half a quote": 'step,epoch,split,loss\n1,0.1,"train,3\n',
    "bytes": "step,epoch,split,loss\n\x00\x01\x02",
}


def _config_edited(folder: Path, path: str, value: Any, words: str) -> None:
    config = _edit(write_run(folder), path, value)
    (folder / runs.CONFIG).write_text(json.dumps(config))
    with refused(ValueError, f"{runs.CONFIG}.*{words}"):
        read_settings(folder)


def _no_checksum(folder: Path) -> None:
    config = write_run(folder)
    del config["data"]["name"]
    (folder / runs.CONFIG).write_text(json.dumps(config))
    with refused(ValueError, "config.json has no 'name' of the data.*backup"):
        data_of(folder, read_settings(folder).data)


def _config_torn(folder: Path, content: str) -> None:
    write_run(folder)
    (folder / runs.CONFIG).write_text(content)
    for read in (read_settings, heading):
        with refused(ValueError, f"{runs.CONFIG} can't be read .*{WORDS}.*Copy it back"):
            read(folder)
    assert not runs.is_run(folder)


def _history(folder: Path, content: str) -> None:
    path = folder / runs.HISTORY
    path.write_text(content)
    with refused(ValueError, r"history.csv can't be read .*line \d.*Delete it: the run writes it"):
        History.read_csv(path)


def _posterior(folder: Path, share: float) -> None:
    path = folder / groups.FILE
    WRITERS[groups.FILE](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with refused(ValueError, "posterior.nc can't be read .*Delete it: the run draws it"):
        groups.read(folder)


def _posterior_edited(folder: Path, place: float) -> None:
    path = folder / groups.FILE
    WRITERS[groups.FILE](path)
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)
    with refused(ValueError, "posterior.nc can't be read .*Delete it: the run draws it"):
        groups.read(folder)


def _study(folder: Path, name: str, content: str) -> None:
    """A study with a damaged run: its table has the others, and the file is named."""
    for seed in range(3):
        write_run(folder / f"run{seed}", seed)
    (folder / "run1" / name).write_text(content)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        rows = read_rows(folder)
    assert [row["run"] for row in rows] == ["run0", "run2"]
    assert str(folder / "run1") in said.getvalue()
    assert "leave this run out" in said.getvalue()


FAULTS: dict[str, Fault] = {
    **{
        f"config.json with {name}": partial(_config_edited, path=path, value=value, words=words)
        for name, (path, value, words) in CONFIGS.items()
    },
    "config.json without the name of its data": _no_checksum,
    **{f"config.json: {c[:12]!r}": partial(_config_torn, content=c) for c in TORN},
    **{f"history.csv: {name}": partial(_history, content=c) for name, c in HISTORIES.items()},
    **{f"posterior.nc cut to {s:.0%}": partial(_posterior, share=s) for s in (0, 0.01, 0.5, 0.99)},
    "posterior.nc overwritten at its start": partial(_posterior_edited, place=0.0),
    "posterior.nc overwritten in its values": partial(_posterior_edited, place=0.6),
    **{
        f"a study with {name}: {content[:12]!r}": partial(_study, name=name, content=content)
        for name in (runs.CONFIG, runs.METRICS)
        for content in ("", '{"test": {', '{"settings": {}, "data": {}, "test": 3}')
    },
}
