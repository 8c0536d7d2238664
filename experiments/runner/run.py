"""One run of a study, in a process of its own: see :mod:`experiments.runner.pool`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.tables import read_json
from pyro_mivae import runs
from pyro_mivae.runs.flock import POLL, Lock, acquire, owner_of, wait
from pyro_mivae.training.checkpoints import has_checkpoint

ROOT = Path(__file__).parents[2]
GRACE = 60.0
"""Seconds that a run has for its last checkpoint."""
MOVED = {
    "experiments._arms": "experiments.open_question.jobs.train_arm",
    "experiments._codes": "experiments.open_question.jobs.measure_codes",
}
"""Programs that studies begun before 0.1.0 name by their old modules."""
FORMER = {"--compile": ("--compile", "always"), "--no-compile": ("--compile", "never")}
"""Flags that studies begun before 0.1.0 note, and the words that took their place."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# Lets the kernel stop the run when whoever started it is killed (on Linux; elsewhere it goes on and
# keeps the lock). Before the run's own program, as preexec_fn is not safe beside threads.
_LAUNCH = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this run is gone")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@dataclass(frozen=True)
class Run:
    """One run of a study."""

    name: str
    """Name of its folder in the study's."""
    arguments: tuple[str, ...] = ()
    """Arguments of the program, without ``--out``."""
    module: str = "experiments.mnist"
    """The program, as ``python -m`` takes it."""
    result: str = runs.METRICS
    """The file in the run's folder that is there when the run is done, and not before."""
    goes_on: bool = False
    """Whether the program goes on in its folder by itself, with the same arguments."""


@dataclass(frozen=True)
class Study:
    """The parts of a study that a worker has to know."""

    folder: Path
    threads: int | None
    stop: Path
    """A file that stops the study, as soon as it is there."""
    cwd: str


@dataclass(frozen=True)
class Outcome:
    """The end of a run, as the study sees it."""

    name: str
    status: Literal["done", "skipped", "failed", "stopped", "busy"]
    """``skipped``: it was done before; ``busy``: another process has it; ``stopped``: it can go
    on."""
    log: Path
    note: str = ""
    seconds: float = 0.0


def execute(run: Run, study: Study, patient: bool) -> Outcome:
    """Executes one run, unless it is done or (but for the `patient`) another process has it."""
    log = study.folder / "logs" / f"{run.name}.log"
    status: Any
    started = time.monotonic()
    try:
        path = study.folder / ".study" / f"{run.name}.lock"
        lock = wait(path, study.stop.exists) if patient else acquire(path)
        if lock is None:
            status = "stopped" if study.stop.exists() else "busy"
            return Outcome(run.name, status, log, owner_of(path))
        try:
            status, note = _execute(run, study, lock, log)
        finally:
            lock.release()
    except (OSError, ValueError) as error:
        status, note = "failed", f"{type(error).__name__}: {error}"
    return Outcome(run.name, status, log, note, time.monotonic() - started)


def _execute(run: Run, study: Study, lock: Lock, log: Path) -> tuple[Any, str]:
    folder = study.folder / run.name
    _check_same(run, study.folder / ".study" / f"{run.name}.json")
    if (folder / run.result).exists():
        read_json(folder / run.result)  # one that is damaged fails this run, and no other
        return "skipped", ""
    if study.stop.exists():
        return "stopped", ""
    command = ["-m", run.module, *_where(run, folder)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if study.threads is not None:
        environment |= dict.fromkeys(THREADS, str(study.threads))
    with log.open("ab") as file:
        file.write(f"== {time.strftime('%F %T')} {lock.token}: {' '.join(command)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _LAUNCH, str(os.getpid()), *command],
            cwd=study.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.descriptor,),
            start_new_session=True,  # a terminal's Ctrl-C reaches it through us, once
        )
        try:
            ours = _watch(process, study.stop, lock)
        finally:
            _kill(process)
    if not ours:
        return "busy", f"another machine took it over ({owner_of(lock.path)})"
    if process.returncode == 0:
        if (folder / run.result).exists():
            return "done", ""
        return "failed", f"it ended well, but left no {run.result}"
    if process.returncode in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        return "stopped", ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "failed", f"exit code {process.returncode}: {lines[-1]}"


def _check_same(run: Run, path: Path) -> None:
    """Notes the command that makes the run's folder, or compares it with the one noted before.

    Raises:
        ValueError: If the folder was made by another command.
    """
    command = {"module": run.module, "arguments": list(run.arguments)}
    if not path.exists():
        runs.write_json(path, command)
        return
    before = read_json(path)
    module = MOVED.get(before["module"], before["module"])
    arguments = _renamed(before["arguments"])
    if {**before, "module": module, "arguments": arguments} != command:
        raise ValueError(
            f"the run in this folder was started with {' '.join(before['arguments'])}, but now "
            f"with {' '.join(run.arguments)}: say the same flags, or choose another --out"
        )


def _renamed(arguments: Sequence[str]) -> list[str]:
    """The arguments with what took the place of former flags, which had no word after them."""
    words: list[str] = []
    for word, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        former = word in FORMER and following.startswith("--")
        words += FORMER[word] if former else (word,)
    return words


def _where(run: Run, folder: Path) -> list[str]:
    """The arguments: to go on from a checkpoint, or to start anew over what has none."""
    if has_checkpoint(folder):
        return ["--resume", str(folder)]
    for left in folder.glob(".*.tmp"):  # of atomic files, by a process that was killed
        left.unlink()
    if run.goes_on:
        return [*run.arguments, "--out", str(folder)]
    anew = ["--overwrite"] if (folder / runs.CONFIG).exists() else []
    return [*run.arguments, "--out", str(folder), *anew]


def _watch(process: subprocess.Popen[bytes], stop: Path, lock: Lock) -> bool:
    """Waits for the end of the process, and stops it if need be; returns whether it was ours."""
    ours, asked = True, None
    while process.poll() is None:
        time.sleep(POLL)
        ours = ours and lock.beat()
        if asked is None and (not ours or stop.exists()):
            process.terminate()
            asked = time.monotonic()
        elif asked is not None and time.monotonic() - asked > GRACE:
            _kill(process)
    return ours


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
