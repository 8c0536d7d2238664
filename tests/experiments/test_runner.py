"""Many runs: each is executed once, whoever else works on the folder and whoever is killed."""

import collections
import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="studies need POSIX")

from matplotlib.image import imread

from experiments.runner import run as _execute
from experiments.runner.engine import Engine
from experiments.runner.pool import run_study
from experiments.runner.run import Run
from experiments.sweep import program as sweep
from experiments.sweep.figure import sweep_curves
from pyro_mivae.runs import flock

ROOT = Path(__file__).parents[2]
JOB = '''
"""A run in the manner of experiments.mnist, with nothing to learn. Notes all that it does."""
import argparse, json, os, signal, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path)
parser.add_argument("--resume", type=Path)
parser.add_argument("--overwrite", action="store_true")
parser.add_argument("--seconds", type=float, default=0.0)
parser.add_argument("--exit", type=int, default=0)
parser.add_argument("--deaf", action="store_true")
args = parser.parse_args()
folder = args.resume or args.out

def note(what):
    line = json.dumps({"what": what, "pid": os.getpid(), "parent": os.getppid(),
                       "threads": [os.environ.get(n) for n in ("OMP_NUM_THREADS",
                       "MKL_NUM_THREADS")], "argv": sys.argv[1:]})
    with open(folder.parent / f"trace-{folder.name}", "a") as file:
        file.write(line + "\\n")

def stop(number, frame):
    (folder / "checkpoint.ckpt").write_text("half")
    note("stopped")
    alive.unlink()
    sys.exit(128 + number)

alive = folder.parent / f"alive-{folder.name}"
try:
    alive.touch(exist_ok=False)
except FileExistsError:
    note("OVERLAP")
signal.signal(signal.SIGTERM, signal.SIG_IGN if args.deaf else stop)
if args.out:
    folder.mkdir(exist_ok=args.overwrite)
    (folder / "config.json").write_text("{}")
note("start" if args.out else "resume")
time.sleep(args.seconds)
alive.unlink()
if args.exit:
    sys.exit("this is why")
note("end")
(folder / "metrics.json").write_text("{}")
'''


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The folder of a study, and the program `job` where every process finds it."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path / "modules")]))
    return tmp_path / "study"


def job(name, *arguments):
    return Run(name, tuple(map(str, arguments)), "job")


def trace(study, name):
    path = study / f"trace-{name}"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps(study, name):
    return [line["what"] for line in trace(study, name)]


def statuses(outcomes):
    return {outcome.name: outcome.status for outcome in outcomes}


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.02)


def test_every_run_is_done_once_and_skipped_then(study):
    todo = [job(f"run{n}") for n in range(4)]
    seen = []
    outcomes = run_study(todo, study, workers=2, report=seen.append)
    assert [o.name for o in outcomes] == [run.name for run in todo]
    assert set(statuses(outcomes).values()) == {"done"}
    assert sorted(o.name for o in seen) == [run.name for run in todo]
    again = run_study([*todo, job("run4")], study)
    assert statuses(again) == {f"run{n}": "skipped" for n in range(4)} | {"run4": "done"}
    for n in range(5):
        assert steps(study, f"run{n}") == ["start", "end"]
    assert not list((study / ".study").glob("stop-*"))


def test_a_study_is_told_of_each_run_as_soon_as_it_has_ended(study):
    known = []

    def ended(outcome):
        result = study / outcome.name / "metrics.json"
        known.append((outcome.name, outcome.status, result.exists()))

    todo = [job("one"), job("two", "--exit", 3)]
    outcomes = Engine(workers=1).run(todo, study, "jobs", ended)
    assert known == [("one", "done", True), ("two", "failed", False)]
    assert [outcome.name for outcome in outcomes] == ["one", "two"]


def test_a_run_goes_on_from_its_checkpoint(study):
    (study / "half").mkdir(parents=True)
    (study / "half" / "checkpoint-previous.ckpt").touch()
    # Killed before a checkpoint, and in the middle of its very first file.
    (study / "early").mkdir()
    (study / "early" / "config.json").touch()
    (study / "first").mkdir()
    (study / "first" / ".config.json.abc.tmp").touch()
    run_study([job("half", "--seconds", 0), job("early")], study)
    assert steps(study, "half") == ["resume", "end"]
    assert trace(study, "half")[0]["argv"] == ["--resume", str(study / "half")]
    assert trace(study, "early")[0]["argv"] == ["--out", str(study / "early"), "--overwrite"]
    run_study([job("first")], study)
    assert not (study / "first" / ".config.json.abc.tmp").exists()


def test_threads_are_limited_by_the_environment(study, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "11")
    run_study([job("shared")], study, workers=2)
    run_study([job("said")], study, workers=2, threads=5)
    run_study([job("many")], study, workers=9)
    threads = {name: trace(study, name)[0]["threads"] for name in ("shared", "said", "many")}
    assert threads == {"shared": ["3", "3"], "said": ["5", "5"], "many": ["1", "1"]}


def test_failures_are_reported_and_the_others_go_on(study):
    todo = [job("bad", "--exit", 3), job("good"), Run("none", (), "no_such_module")]
    bad, good, none = run_study(todo, study)
    assert (bad.status, good.status, none.status) == ("failed", "done", "failed")
    assert bad.note == "exit code 1: this is why"
    assert "No module named no_such_module" in none.note
    assert bad.log == study / "logs" / "bad.log"
    assert "-m job --exit 3 --out" in bad.log.read_text()
    # It is no longer broken.
    (study / ".study" / "bad.json").unlink()
    assert statuses(run_study([job("bad")], study)) == {"bad": "done"}
    assert steps(study, "bad") == ["start", "start", "end"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("experiments._arms", "experiments.open_question.jobs.train_arm"),
        ("experiments._codes", "experiments.open_question.jobs.measure_codes"),
    ],
)
def test_a_study_begun_before_the_modules_moved_goes_on(study, old, new):
    (study / "run").mkdir(parents=True)
    (study / "run" / "metrics.json").write_text("{}")
    (study / ".study").mkdir()
    note = study / ".study" / "run.json"
    note.write_text(json.dumps({"module": old, "arguments": ["--smoke"]}))
    assert statuses(run_study([Run("run", ("--smoke",), new)], study)) == {"run": "skipped"}
    (outcome,) = run_study([Run("run", ("--other",), new)], study)
    assert "started with --smoke, but now with --other" in outcome.note
    (outcome,) = run_study([Run("run", ("--smoke",), "experiments.mnist")], study)
    assert outcome.status == "failed"


@pytest.mark.parametrize(("old", "new"), [("--compile", "always"), ("--no-compile", "never")])
def test_a_study_begun_before_compile_took_a_word_goes_on(study, old, new):
    (study / "run").mkdir(parents=True)
    (study / "run" / "metrics.json").write_text("{}")
    (study / ".study").mkdir()
    before = {"module": "experiments.mnist", "arguments": ["--seed", "1", old, "--smoke"]}
    (study / ".study" / "run.json").write_text(json.dumps(before))
    words = ("--seed", "1", "--compile", new, "--smoke")
    assert statuses(run_study([Run("run", words, "experiments.mnist")], study)) == {
        "run": "skipped"
    }
    other = ("--seed", "1", "--compile", "auto", "--smoke")
    (outcome,) = run_study([Run("run", other, "experiments.mnist")], study)
    assert "say the same flags" in outcome.note


def test_a_program_that_goes_on_by_itself_gets_the_same_arguments_again(study):
    (study / "run").mkdir(parents=True)
    (study / "run" / "config.json").touch()
    (study / "run" / ".seed1.json.abc.tmp").touch()
    (study.parent / "modules" / "goer.py").write_text(
        "import sys, pathlib; (pathlib.Path(sys.argv[-1]) / 'metrics.json').write_text('{}')\n"
        "print('arguments', *sys.argv[1:-1])"
    )
    (outcome,) = run_study([Run("run", ("--seconds", "0"), "goer", goes_on=True)], study)
    assert outcome.status == "done"
    assert "\narguments --seconds 0 --out\n" in outcome.log.read_text()
    assert not list((study / "run").glob(".*.tmp"))


def test_a_damaged_result_fails_its_run_and_no_other(study):
    todo = [job("torn"), job("whole"), job("edited")]
    for name, content in (("torn", '{"test": '), ("edited", "[3]"), ("whole", "{}")):
        (study / name).mkdir(parents=True)
        (study / name / "metrics.json").write_text(content)
    torn, good, edited = run_study(todo, study)
    assert good.status == "skipped"
    for outcome in (torn, edited):
        assert outcome.status == "failed"
        assert f"{study / outcome.name / 'metrics.json'} can't be read" in outcome.note
        assert "Delete it, and start the same command again" in outcome.note


def test_a_run_must_leave_metrics(study):
    (study.parent / "modules" / "idle.py").write_text("")
    (outcome,) = run_study([Run("idle", (), "idle")], study)
    assert outcome.status == "failed"
    assert outcome.note == "it ended well, but left no metrics.json"


def test_other_flags_are_not_mixed_into_a_folder(study):
    run_study([job("run", "--seconds", 0)], study)
    (outcome,) = run_study([job("run", "--seconds", 1)], study)
    assert outcome.status == "failed"
    assert "was started with --seconds 0, but now with --seconds 1" in outcome.note
    assert "choose another --out" in outcome.note


@pytest.mark.parametrize(
    ("names", "flags", "message"),
    [
        (["a", "a"], {}, "'a' twice"),
        (["a/b"], {}, "that of a folder inside its own .*found 'a/b'"),
        ([""], {}, "that of a folder inside its own .*found ''"),
        (["a"], {"workers": 0}, "--workers must be at least 1, found 0"),
        (["a"], {"threads": 0}, "--threads must be at least 1, found 0"),
    ],
)
def test_what_no_study_can_be_made_of(study, names, flags, message):
    with pytest.raises(ValueError, match=message):
        run_study([job(name) for name in names], study, **flags)


def test_two_studies_share_a_folder(study):
    todo = [job(f"run{n}", "--seconds", 0.5) for n in range(4)]
    found = []
    threads = [
        threading.Thread(target=lambda order: found.append(run_study(order, study)), args=(order,))
        for order in (todo, todo[::-1], todo)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 3
    count = collections.Counter(o.status for outcomes in found for o in outcomes)
    assert count == {"done": 4, "skipped": 8}
    for run in todo:
        assert steps(study, run.name) == ["start", "end"]


def engine(study, *runs):
    """A study in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from experiments.runner.pool import run_study\n"
        "from experiments.runner.run import Run\n"
        "todo = [Run(w.split()[0], tuple(w.split()[1:]), 'job') for w in sys.argv[2:]]\n"
        "print(*(o.status for o in run_study(todo, Path(sys.argv[1]), workers=2)))"
    )
    command = [sys.executable, "-c", code, str(study), *runs]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


# `timeout` and Slurm send SIGTERM to the process and to its group: it comes twice.
@pytest.mark.slow
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_ctrl_c_stops_after_a_checkpoint(study, signals):
    process = engine(study, "a --seconds 60", "b --seconds 60", "c --seconds 60")
    until(lambda: trace(study, "a") and trace(study, "b"))
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["stopped"] * 3
    assert steps(study, "a") == steps(study, "b") == ["start", "stopped"]
    assert steps(study, "c") == []
    assert (study / "a" / "checkpoint.ckpt").exists()


def test_a_deaf_run_is_killed_after_a_while(study, monkeypatch):
    monkeypatch.setattr(_execute, "GRACE", 0.3)
    stop = study / "stop"
    state = _execute.Study(study, 1, stop, str(ROOT))
    (study / ".study").mkdir(parents=True)
    (study / "logs").mkdir()
    timer = threading.Thread(
        target=lambda: (until(lambda: trace(study, "deaf")), time.sleep(0.1), stop.touch())
    )
    timer.start()
    started = time.monotonic()
    outcome = _execute.execute(job("deaf", "--deaf", "--seconds", 60), state, patient=False)
    timer.join()
    assert time.monotonic() - started < 20
    assert "exit code -9" in outcome.note


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_a_run_dies_with_its_killed_engine_and_goes_on_in_the_next(study):
    process = engine(study, "a --seconds 3", "deaf --deaf --seconds 3")
    until(lambda: trace(study, "a") and trace(study, "deaf"))
    process.kill()
    process.communicate(timeout=20)
    # The deaf one goes on as an orphan, and keeps its lock: it is waited for, not run twice.
    outcomes = run_study([job("a", "--seconds", 3), job("deaf", "--deaf", "--seconds", 3)], study)
    assert statuses(outcomes) == {"a": "done", "deaf": "skipped"}
    assert steps(study, "a") == ["start", "stopped", "resume", "end"]
    assert steps(study, "deaf") == ["start", "end"]


def test_who_was_taken_over_stops(study, monkeypatch):
    monkeypatch.setattr(flock, "BEAT", 0.0)
    path = study / ".study" / "run.lock"

    def take_over():
        until(lambda: trace(study, "run"))
        path.write_text("elsewhere/1 42 abc".ljust(flock.SIZE))

    thief = threading.Thread(target=take_over)
    thief.start()
    state = _execute.Study(study, 1, study / "stop", str(ROOT))
    (study / ".study").mkdir(parents=True)
    (study / "logs").mkdir()
    outcome = _execute.execute(job("run", "--seconds", 60), state, patient=False)
    thief.join()
    assert outcome.status == "busy"
    assert outcome.note == "another machine took it over (process 42 on elsewhere, since ?)"
    assert steps(study, "run") == ["start", "stopped"]
    assert path.read_text().split()[0] == "elsewhere/1"


@pytest.fixture
def cluster(study, tmp_path):
    """Address of a Dask scheduler with two workers, each a process, and the two processes."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    environment.pop("MKL_NUM_THREADS", None)
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    logs = [(tmp_path / f"dask{n}.log").open("wb") for n in range(3)]
    started = []

    def start(module, *flags, log):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *common, *flags]
        options = {"stdout": log, "stderr": log, "cwd": tmp_path, "env": environment}
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", log=logs[0])
    flags = ["--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path)]
    workers = [start("dask_worker", *flags, log=log) for log in logs[1:]]
    until(lambda: file.exists() and file.stat().st_size, 40)
    try:
        yield json.loads(file.read_text())["address"], workers
    finally:
        for process in started:
            process.kill()
            process.wait(timeout=20)
        for log in logs:
            log.close()


@pytest.mark.slow
def test_a_dask_worker_is_killed_in_mid_run(cluster, study):
    address, workers = cluster
    todo = [job(f"run{n}", "--seconds", 1) for n in range(6)]
    pids = {worker.pid for worker in workers}
    killed = {}

    def running():
        return [run.name for run in todo if steps(study, run.name) == ["start"]]

    def kill():
        """One of the two workers, in the middle of a run, once both have one."""
        until(lambda: {trace(study, name)[0]["parent"] for name in running()} == pids, 40)
        name = running()[0]
        killed[name] = trace(study, name)[0]["parent"]
        os.kill(killed[name], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = run_study(todo, study, scheduler=address)
    killer.join(timeout=40)
    assert statuses(outcomes) == {run.name: "done" for run in todo}
    ((victim, dead),) = killed.items()
    (left,) = pids - {dead}
    for run in todo:
        again = ["stopped", "resume"] if run.name == victim else []
        assert steps(study, run.name) == ["start", *again, "end"]
        # The environment of the workers' processes, which Dask or the user has set.
        assert trace(study, run.name)[0]["threads"] == ["7", None]
    assert trace(study, victim)[-1]["parent"] == left
    again = run_study([*todo, job("more")], study, scheduler=address, threads=3)
    assert statuses(again) == {run.name: "skipped" for run in todo} | {"more": "done"}
    # Even with one worker of one thread, the run is not the client's.
    assert trace(study, "more")[0]["parent"] == left
    assert trace(study, "more")[0]["threads"] == ["3", "3"]


def test_a_cluster_that_is_not_there(study, monkeypatch):
    pytest.importorskip("distributed")
    with pytest.raises(RuntimeError, match=r"expected a Dask scheduler at nowhere://1"):
        run_study([job("run")], study, scheduler="nowhere://1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RuntimeError, match=r"pip install 'pyro-mivae\[cluster\]'"):
        run_study([job("run")], study, scheduler="tcp://127.0.0.1:1")


@pytest.fixture(scope="module")
def swept(smoke, tmp_path_factory):
    """A sweep of two runs that were trained before: one run, under two values of lambda."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    settings = json.loads((smoke / "config.json").read_text())
    settings["settings"]["model"]["code_dim"] = 2
    settings["settings"]["training"]["steps"] = 20
    metrics = json.loads((smoke / "metrics.json").read_text())
    for weight in (0.0, 1.0):
        run = folder / f"uniform-straight-through-lambda{weight:g}-seed0"
        run.mkdir(parents=True)
        settings["settings"]["objective"]["mi_weight"] = weight
        metrics["test"]["mi/c/sample"] += weight
        (run / "config.json").write_text(json.dumps(settings))
        (run / "metrics.json").write_text(json.dumps(metrics))
    flags = ["--smoke", "--out", str(folder)]
    assert sweep.main([*flags, "--", "--code-dim", "2", "--steps", "20"]) == 0
    return folder


@pytest.mark.slow
def test_sweep_leaves_a_table_and_a_figure(swept):
    with (swept / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["mi_weight"] for row in rows] == ["0.0", "1.0"]
    assert {(row["prior"], row["code_dim"], row["seed"], row["steps"]) for row in rows} == {
        ("uniform", "2", "0", "20")
    }
    metrics = json.loads((swept / rows[1]["run"] / "metrics.json").read_text())
    assert float(rows[1]["mi/c/sample"]) == metrics["test"]["mi/c/sample"]
    assert float(rows[1]["log_evidence"]) == metrics["log_evidence"]["mean"]
    height, width = imread(swept / "figures" / "sweep_curves.png").shape[:2]
    assert 500 < height < width


@pytest.mark.slow
def test_sweep_goes_on_and_tells_what_fails(swept, tmp_path, capsys):
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    (folder / "sweep.csv").unlink()
    flags = ["--smoke", "--out", str(folder), "--", "--code-dim", "2", "--steps"]
    assert sweep.main([*flags, "20"]) == 0
    assert "2 done before" in capsys.readouterr().out
    assert (folder / "sweep.csv").read_bytes() == (swept / "sweep.csv").read_bytes()
    assert sweep.main([*flags, "30"]) == 1
    found = capsys.readouterr()
    assert "2 failed" in found.out
    assert str(folder / "logs" / "uniform-straight-through-lambda1-seed0.log") in found.err
    assert "choose another --out" in found.err


@pytest.mark.slow
def test_sweep_tells_the_class_accuracy_of_a_category(swept, tmp_path, capsys):
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    path = next(folder.glob("*lambda1*/metrics.json"))
    metrics = json.loads(path.read_text()) | {"categories": {"accuracy": 0.423}}
    path.write_text(json.dumps(metrics))
    flags = ["--smoke", "--out", str(folder), "--", "--code-dim", "2", "--steps", "20"]
    assert sweep.main(flags) == 0
    assert "uniform, straight-through, λ 1: 42.3 % (42 to 42 %)" in capsys.readouterr().out
    with (folder / "sweep.csv").open() as file:
        assert [row["class_accuracy"] for row in csv.DictReader(file)] == ["", "0.423"]


def test_sweep_refuses_flags_of_its_own(capsys, tmp_path):
    assert sweep.main(["--out", str(tmp_path / "new"), "--", "--mi_weight=3", "--steps", "9"]) == 1
    assert "--mi-weight after --" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sweep.main(["--out", str(tmp_path / "new"), "--", "--no-such-flag"])
    assert "no-such-flag" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_sweep_makes_every_combination():
    config = sweep.Config(mi_weights=(0, 0.1234567891), priors=("gaussian",), seeds=(0, 1))
    runs = sweep.make_runs(config, ["--steps", "9"])
    assert len({run.name for run in runs}) == 4
    assert runs[1].arguments == (
        *("--prior", "gaussian", "--channel", "straight-through"),
        *("--mi-weight", "0.1234567891", "--seed", "0", "--steps", "9"),
    )


def row(prior, channel, weight, seed):
    terms = {"mi/c/sample": weight + seed, "kl/c": 2 * weight, "log_likelihood": -90 - weight}
    return {"prior": prior, "channel": channel, "mi_weight": weight, "seed": seed, **terms}


def test_sweep_curves_show_mean_and_range():
    settings = itertools.product(("uniform", "gaussian"), ("mean", "sample"), (2.0, 0.0), (0, 1))
    rows = [row(*each) for each in settings]
    figure = sweep_curves([{name: str(value) for name, value in r.items()} for r in rows])
    assert len(figure.axes) == 6
    mi = figure.axes[0]
    line = next(line for line in mi.lines if line.get_linestyle() == "-")
    assert line.get_xydata().tolist() == [[0, 0.5], [2, 2.5]]
    points = next(line for line in mi.lines if line.get_linestyle() == "None")
    assert points.get_xydata().tolist() == [[0, 0], [0, 1], [2, 2], [2, 3]]
    band = mi.collections[0].get_paths()[0].vertices
    assert {(0, 0), (0, 1), (2, 2), (2, 3)} <= set(map(tuple, band))
    assert "channel mean" in mi.get_ylabel()
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["prior uniform", "prior gaussian"]
    assert legend.get_title().get_text().startswith("2 seeds")


def test_sweep_curves_need_rows():
    with pytest.raises(ValueError, match="no run to draw"):
        sweep_curves([])
    with pytest.raises(ValueError, match=r"row 0 has no kl/c: expected a row of sweep\.csv"):
        sweep_curves([row("uniform", "mean", 1.0, 0) | {"kl/c": ""}])
