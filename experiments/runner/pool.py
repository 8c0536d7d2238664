"""Many runs: those of a list that are not done yet, on this machine or on a Dask cluster.

A run is a program, ``python -m MODULE ARGUMENTS --out FOLDER``, that leaves ``metrics.json`` (or
another file that the run names) in its folder when it is done, goes on from a checkpoint there
with ``--resume FOLDER``, and writes one at SIGTERM: ``experiments.mnist``, for example. Each is a
process of its own, whose environment limits its threads. A study's folder holds a folder for each
run, ``logs/NAME.log``, and ``.study`` with what the engine has to know.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from experiments.runner.run import (
    Outcome,
    Run,
    Study,
    execute,
)
from pyro_mivae.checks import check_count, optional
from pyro_mivae.progress import Progress
from pyro_mivae.runs.names import check_name

STATUS = {
    "done": "done",
    "skipped": "done before",
    "failed": "failed",
    "stopped": "stopped",
    "busy": "with another process",
}
"""Words for what became of a run."""


def run_study(
    todo: Sequence[Run],
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    threads: int | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Executes the runs that are not done, each once, whatever else works on the folder.

    Ctrl-C (or SIGTERM) stops the runs after a checkpoint; a second Ctrl-C does not wait for them.

    Args:
        todo: Runs to execute.
        folder: Folder of the study; on a cluster all machines must see it under this path.
        workers: Runs at a time on this machine.
        scheduler: Address of a Dask scheduler, whose workers' threads take a run each, instead.
        threads: Threads of each run; None shares the cores of this machine, or on a cluster leaves
            what a worker's environment says (Dask's nannies say 1).
        report: Function that is called here with what became of each run, once.

    Returns:
        What became of each run, in their order.

    Raises:
        ValueError: If names are doubled or no names of folders, or a number is below 1.
        RuntimeError: If the cluster is not there or breaks down.
    """
    names = [run.name for run in todo]
    for name in names:
        check_name("a run's name", name)
        if name == "logs":
            raise ValueError(f"a run's name must differ from that of the logs, found {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"the names of runs must differ, found {name!r} twice: drop one")
    check_count("--workers", workers)
    optional(check_count)("--threads", threads)
    folder = folder.resolve()
    (folder / ".study").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    if threads is None and scheduler is None:
        threads = max(1, _cores() // workers)
    stop = folder / ".study" / f"stop-{uuid.uuid4().hex}"
    study = Study(folder, threads, stop, os.getcwd())
    outcomes: dict[str, Outcome] = {}
    with _backend(workers, scheduler) as options, _stopped_by_signals(stop):
        # What another process has, or what was stopped with its worker, gets a second chance.
        for patient in (False, True):
            calls = [delayed(execute)(r, study, patient) for r in todo if r.name not in outcomes]
            for outcome in _parallel(calls, options, scheduler):
                retry = outcome.status in ("busy", "stopped") and not (patient or stop.exists())
                if not retry:
                    outcomes[outcome.name] = outcome
                    report(outcome)
    return [outcomes[name] for name in names]


def run_with_bar(
    todo: Sequence[Run],
    folder: Path,
    what: str = "runs",
    ended: Callable[[Outcome], None] = lambda outcome: None,
    **settings: Any,
) -> list[Outcome]:
    """Runs :func:`run_study` with a progress bar, and a line for each run that fails."""
    by_status: Counter[str] = Counter()
    with Progress(what, len(todo), "runs") as bar, _ticking(bar):

        def report(outcome: Outcome) -> None:
            by_status[outcome.status] += 1
            bar.note(", ".join(f"{n} {STATUS[s]}" for s, n in by_status.items() if s != "done"))
            bar.update()
            if outcome.status == "failed":
                bar.write(f"{outcome.name} failed: {outcome.log}")
            ended(outcome)

        return run_study(todo, folder, report=report, **settings)


@contextmanager
def _ticking(bar: Progress) -> Iterator[None]:
    """Shows each second how much time went by, while the runs' processes are waited for."""
    end = threading.Event()

    def tick() -> None:
        while not end.wait(1.0):
            bar.tick()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def report_outcomes(outcomes: Sequence[Outcome], folder: Path, again: str, then: str) -> int:
    """Prints what became of the runs, and what to do next; returns the program's exit code.

    Args:
        outcomes: What became of each run.
        folder: Folder of the study.
        again: Command that goes on with what is not done.
        then: Command, or words, for when all is done.
    """
    by_status: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_status.setdefault(outcome.status, []).append(outcome)
    for status, text in STATUS.items():
        if status in by_status:
            print(f"{len(by_status[status])} {text}")
    for outcome in by_status.get("busy", []):
        print(f"  {outcome.name}: {outcome.note}")
    for outcome in by_status.get("failed", []):
        print(f"error: {outcome.name}: {outcome.note}\n  log: {outcome.log}", file=sys.stderr)
    print(f"study folder: {folder}")
    if by_status.keys() <= {"done", "skipped"}:
        print(f"next: {then}")
    else:
        why = "look into the logs above, then go" if "failed" in by_status else "go"
        print(f"next: {why} on with the rest (what is done is kept)\n  {again}")
    if "failed" in by_status:
        return 1
    return 130 if "stopped" in by_status else 0


def _cores() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _parallel(calls: list[Any], options: dict[str, Any], scheduler: str | None) -> Iterator[Any]:
    parallel = Parallel(
        batch_size=1, pre_dispatch="all", return_as="generator_unordered", **options
    )
    try:
        yield from parallel(calls)
    except Exception as error:  # `execute` raises nothing: it is the cluster's
        if scheduler is None:
            raise
        raise RuntimeError(
            f"the cluster at {scheduler} lost a run ({type(error).__name__}: {error}); what is "
            "done is kept: see to the workers' logs, and start the same command again"
        ) from error


@contextmanager
def _stopped_by_signals(stop: Path) -> Iterator[None]:
    """Makes the file at SIGINT or SIGTERM; a second SIGINT is a KeyboardInterrupt as usual."""
    old: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        # SIGTERM may come twice: `timeout` and Slurm signal the process and its group.
        if stop.exists() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.touch()

    if threading.current_thread() is threading.main_thread():
        old |= {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        stop.unlink(missing_ok=True)  # not after an exception: runs of a cluster may go on
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _backend(workers: int, scheduler: str | None) -> Iterator[dict[str, Any]]:
    """Sets joblib's backend; gives the options of ``Parallel``."""
    if scheduler is None:
        # Threads: they only wait for the processes of the runs.
        yield {"n_jobs": workers, "backend": "threading"}
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError("--scheduler needs Dask: pip install 'pyro-mivae[cluster]'") from error
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]  # joblib has no types
        """joblib's, but for a cluster of one thread: Parallel would run its tasks *here*."""

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

    try:
        client = Client(  # type: ignore[no-untyped-call]  # Dask's stubs
            scheduler, timeout=20, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise RuntimeError(
            f"expected a Dask scheduler at {scheduler}, found none ({error}): start one with "
            "`dask scheduler`, and give the address that it prints"
        ) from error
    with client, parallel_config(Backend(client=client, wait_for_workers_timeout=60)):
        yield {"n_jobs": -1}
