"""Settings of programs that make one run: from the command line, and from the folder of a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro

from experiments.command_line import as_arguments, check_settings
from pyro_mivae import runs
from pyro_mivae.checks import Check

Config = TypeVar("Config", bound=Any)

OF_THE_MACHINE = ("steps", "device", "devices", "data_dir")
"""Settings that may be others when a run goes on."""


@dataclass(frozen=True)
class RunSettings(Generic[Config]):
    """How the settings of a program are read.

    Attributes:
        program: Name of the program in `experiments`.
        default: Settings by default: a dataclass of groups, ``training``, ``output`` and others.
        description: What the program does, for its help.
        checks: What each setting may be beside its type, by group.
        settle: Sets what depends on other settings.
        name_of: Gives the words of a default folder's name.
    """

    program: str
    default: Config
    description: str | None
    checks: Mapping[str, Mapping[str, Check]]
    settle: Callable[[Config], Config]
    name_of: Callable[[Config], str]

    def parse(self, arguments: Sequence[str], default: Config | None = None) -> Config:
        """Parses the command line, over the settings of `default` where it says nothing."""
        return tyro.cli(
            type(self.default),
            args=arguments,
            default=default or self.default,
            prog=f"python -m experiments.{self.program}",
            description=self.description,
            config=(tyro.conf.OmitArgPrefixes,),
        )

    def check(self, config: Config, place: str = "") -> None:
        """Raises a ``ValueError`` unless all settings are in their ranges.

        Args:
            config: Settings.
            place: File that they are from, for the error; none for the command line.
        """
        for group, checks in self.checks.items():
            check_settings(getattr(config, group), checks, place)

    def parse_run(self, arguments: Sequence[str]) -> tuple[Config, Path]:
        """Parses the command line; names the run's folder, or finds the one to resume.

        Raises:
            ValueError: If a setting is out of range, or flags would change the settings of the run
                to resume.
            FileNotFoundError: If there is no run to resume.
        """
        config = self.parse(arguments)
        self.check(config)
        if config.output.resume is None:
            config = self.settle(config)
            name = f"{self.program}-{self.name_of(config)}-{time.strftime('%Y%m%d-%H%M%S')}"
            return config, config.output.out or Path("runs") / name
        folder = config.output.resume
        for flag, value in (("--out", config.output.out), ("--overwrite", config.output.overwrite)):
            if value:
                raise ValueError(
                    f"--resume goes on in {folder}, and {flag} is for a new run: leave one of them "
                    "out"
                )
        stored = self.read(folder)
        # Parsed again over the stored settings: what is given now would change them.
        output = {"resume": folder, "out": None, "overwrite": False, "smoke": False}
        default = dataclasses.replace(stored, output=dataclasses.replace(stored.output, **output))
        config = self.parse(arguments, default)
        self.check(config)
        changed = [
            f"--{name.replace('_', '-')}"
            for group in dataclasses.fields(config)
            if group.name != "output"
            for name, value in dataclasses.asdict(getattr(config, group.name)).items()
            if value != getattr(getattr(stored, group.name), name) and name not in OF_THE_MACHINE
        ]
        if changed:
            raise ValueError(
                f"--resume goes on with the settings of {folder}; {', '.join(changed)} would "
                "change them: leave them out, or start a new run"
            )
        return config, folder

    def flags(self, config: Config) -> list[str]:
        """Lists the flags that give these settings, but for the seed and those of the output.

        What follows from other settings, as the steps from the networks, needs no flag.
        """
        words: list[str] = []
        for group, values in dataclasses.asdict(self.default).items():
            for name, usual in values.items():
                value = getattr(getattr(config, group), name)
                if group == "output" or name == "seed" or value == usual:
                    continue
                changed = dataclasses.replace(getattr(config, group), **{name: usual})
                settled = self.settle(dataclasses.replace(config, **{group: changed}))
                flag = name.replace("_", "-")
                if getattr(getattr(settled, group), name) == value:
                    continue
                if isinstance(value, bool):
                    words.append(f"--{flag}" if value else f"--no-{flag}")
                else:
                    words += as_arguments({flag: value})
        return words

    def read(self, folder: Path) -> Config:
        """Reads the settings of the run in a folder.

        Raises:
            FileNotFoundError: If `folder` is not a run.
            ValueError: If they can't be read.
        """
        path = folder / runs.CONFIG
        try:
            config = self._of(runs.read_config(folder)["settings"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} has no settings of experiments.{self.program} ({error}): it was edited, "
                "or is of another version. Copy it back from a backup, or take the code that wrote "
                "it"
            ) from error
        self.check(config, str(path))
        return config

    def _of(self, settings: Mapping[str, Any]) -> Config:
        groups = {}
        for group in dataclasses.fields(self.default):
            values = dict(settings[group.name])
            if group.name == "training" and isinstance(values.get("compile"), bool):
                values["compile"] = "always" if values["compile"] else "never"  # before 0.1.0
            for path in ("data_dir", "out", "resume"):
                if values.get(path) is not None:
                    values[path] = Path(values[path])
            groups[group.name] = type(getattr(self.default, group.name))(**values)
        config: Config = type(self.default)(**groups)
        return config
