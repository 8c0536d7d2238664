"""The last lines of each program: what came out, which number to trust, the next command."""

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.command_line import command, say
from experiments.factors import program as factors
from experiments.factors.fitted_laws import LAWS
from experiments.information import program as information
from experiments.mnist import closing
from experiments.open_question import program as open_question
from experiments.poster import program as poster
from experiments.poster.trainings import blocks
from experiments.runner.engine import StudyConfig, keep_apart
from experiments.runner.pool import report_outcomes
from experiments.runner.run import Outcome, Run
from experiments.runner.stages import run_stages
from experiments.sweep import program as sweep
from pyro_mivae.progress import Progress

METRICS = {
    "test": {"elbo": -105.25, "mi/c/sample": 3.25, "mi/c/mean": 9.5, "mi/z/sample": 1.0},
    "log_evidence": {"mean": -101.5, "standard_error": 0.25, "unreliable": 0.0},
}


def test_a_run_says_its_bound_and_what_to_compare_models_by():
    assert closing.sentences(METRICS) == [
        "The code c carries at least 3.25 nats about an image. Trust this bound (x' drawn). The "
        "score 9.50 (x' the mean) is no bound: never report it alone.",
        "The log-evidence of an image is -101.50 ± 0.25 nats, the ELBO -105.25.",
        "To compare models trust the log-evidence. Both are lower bounds.",
    ]
    test = {**METRICS["test"], "mi/c/sample": -0.5, "mi/d/sample": 2.0, "mi/d/mean": 2.25}
    evidence = {**METRICS["log_evidence"], "unreliable": 0.125}
    lines = closing.sentences({"test": test, "log_evidence": evidence})
    assert lines[0].startswith("No information in the code c is shown: the bound is -0.50 nats.")
    assert lines[1].startswith("The category d carries at least 2.00 nats")
    assert lines[3].startswith("To compare models trust the ELBO: for 12 % of the images")
    assert closing.next_command(Path("runs/my run")).endswith(
        "  python -m experiments.information 'runs/my run'"
    )


@pytest.mark.parametrize("upper", [3.0, 5.0])
def test_a_measurement_says_the_interval_and_what_helps_where_it_is_wide(upper):
    curves = xr.Dataset(
        {
            "lower": (("guide", "codes", "num_samples"), [[[0.0, 1.0]], [[2.95, math.nan]]]),
            "upper": (("guide", "codes", "num_samples"), [[[9.0, 9.0]], [[upper, math.nan]]]),
            **{f"{side}_se": (("guide", "codes", "num_samples"), np.full((2, 1, 2), 0.01))
               for side in ("lower", "upper")},
        },
        {"guide": ["own", "refitted"], "codes": ["c"], "num_samples": [1, 10]},
    )  # fmt: skip
    lines = information.sentences(curves)
    assert lines[0] == f"I(c; x') lies between 2.93 and {upper + 0.02:.2f} nats (95 %)."
    assert lines[1].startswith("Trust these, by the refitted guide. The score is no bound")
    assert (len(lines) == 3) == (upper == 5.0)
    if upper == 5.0:
        assert lines[2].startswith("Of c the bounds are over 0.1 nats apart, and the truth may be")


def test_a_sweep_says_what_the_weight_changes():
    same = {"prior": "uniform", "channel": "sample"}
    rows = [
        {**same, "mi_weight": weight, "mi/c/sample": bound, "run": run}
        for weight, bound, run in ((0.0, 1.0, "a"), (0.0, 2.0, "b"), (1.0, 4.0, "best"))
    ]
    assert sweep.sentences(rows) == [
        "uniform, sample: the code carries at least (nats) 1.50 at λ 0 (1.00 to 2.00), 4.00 at λ 1 "
        "(4.00 to 4.00).",
        "Trust these bounds (x' drawn), and means over seeds with their range, not single runs.",
    ]
    assert sweep._measure(rows, Path("runs")) == "python -m experiments.information runs/best"
    assert sweep.sentences([]) == []


def test_the_factors_say_which_law_fits_the_thickness():
    row = {"label": "all", "factor": "thickness", **{f"ks_{law}": 0.25 for law in LAWS}}
    row |= {"ks_lognormal": 0.03125, "ks_gamma": math.nan}
    rows = [{"label": "all", "factor": "area"}, row]
    assert factors.sentences(rows)[0] == (
        "The thickness of a digit's strokes is closest to the lognormal law (Kolmogorov-Smirnov "
        "distance 0.031); from the uniform law it is 0.250 away."
    )


def test_the_poster_says_score_and_interval(monkeypatch):
    measured = {"lower/c/refitted": 8.0, "upper/c/refitted": 8.5}
    rows = [
        {"mi_weight": 1.0, "mi/c/mean": 14.0, **measured},
        {"mi_weight": 1.0, "mi/c/mean": 16.0},
        {"mi_weight": 0.0, "mi/c/mean": 6.0},
    ]
    monkeypatch.setattr(poster, "read_rows", lambda trainings, folder: rows)
    assert poster.sentences(blocks(1, 1), Path()) == [
        "With the term on c the poster's score of c is 15.0 nats; the information I(c; x') itself "
        "lies between 8.0 and 8.5 nats (means over seeds).",
        "Without the term the poster's score of c is 6.0 nats (means over seeds).",
        "Trust the columns 'between' of the refitted guide. The score is no bound.",
    ]


def test_the_open_question_says_its_verdict(tmp_path):
    (tmp_path / "open_question.md").write_text("a\n\n**H1: refuted.** Two of three.\n")
    first, second = open_question.sentences(tmp_path)
    assert first == "The poster's claim, H1: refuted. Two of three."
    assert second.startswith("Trust the verdicts, which the rules fixed before the runs give")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("done", 0, "1 done\nstudy folder: study\nnext: read it\n"),
        ("skipped", 0, "next: read it\n"),
        ("failed", 1, "next: look into the logs above, then go on with the rest"),
        ("stopped", 130, "next: go on with the rest (what is done is kept)\n  python -m"),
        ("busy", 0, "next: go on with the rest (what is done is kept)\n  python -m"),
    ],
)
def test_a_study_says_what_to_do_next(status, code, words, capsys):
    outcomes = [Outcome("run", status, Path("run.log"), "it broke")]
    again = command("sweep", ["--seeds", "0"])
    assert report_outcomes(outcomes, Path("study"), again, "read it") == code
    shown = capsys.readouterr().out
    assert words in shown
    assert (again in shown) == (status not in ("done", "skipped"))


def test_sentences_fit_80_columns_and_commands_are_whole(capsys):
    say([*closing.sentences(METRICS), "a" * 100])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1] == "a" * 100


shown = []


class Machines(StudyConfig):
    """Machines on which every run is done at once; `shown` keeps what the bars were called."""

    def run(self, todo, folder, what="runs", ended=None):
        with Progress(what, len(todo), "runs") as bar:
            shown.append(bar.what)
        outcomes = [Outcome(run.name, "done", folder / "run.log") for run in todo]
        for outcome in outcomes:
            ended(outcome)
        return outcomes


def test_a_study_names_its_stages_and_ends_with_what_came_out(tmp_path, capsys):
    shown.clear()
    trained, measured = Run("a"), Run("b", module="experiments.information")
    names = []
    code = run_stages(
        Machines(),
        tmp_path,
        [[trained], [], [measured], [trained, measured]],
        lambda: tmp_path / "report.md",
        again="again",
        closing=lambda: say(["It came out."]),
        ended=lambda outcome: names.append(outcome.name),
    )
    assert code == 0
    assert names == ["a", "b", "a", "b"]
    assert shown == ["1/3 trainings", "2/3 measurements", "3/3 runs"]
    lines = capsys.readouterr().out.splitlines()
    report = tmp_path / "report.md"
    assert lines[:2] == ["It came out.", f"report: {report}"]
    assert lines[-1] == f"next: read {report}"


def row(run, **settings):
    same = {"prior": "uniform", "channel": "sample", "mi_weight": 1.0, "seed": 0}
    return {"run": run, **same, "likelihood": "bernoulli", "mi/c/sample": 2.0, **settings}


def test_runs_of_other_settings_are_no_seeds():
    rows = [row("a"), row("b", seed=1), row("c", seed=2, likelihood="gaussian")]
    assert sweep.distinguished(rows[:2]) == rows[:2]
    told = sweep.distinguished(rows)
    assert [r["prior"] for r in told] == [
        *["uniform, likelihood bernoulli"] * 2,
        "uniform, likelihood gaussian",
    ]
    assert len(sweep.sentences(told)) == 3
    todo = [Run("next", ("--prior", "uniform", "--channel", "sample", "--likelihood", "grey"))]
    with pytest.raises(ValueError, match=r"a has other settings .*likelihood bernoulli for grey"):
        sweep.require_same_settings(rows, todo, Path("study"))
    own = [Run("next", ("--prior", "uniform", "--channel", "sample", "--seed", "5"))]
    sweep.require_same_settings(rows[:1], own, Path("study"))
    others = [Run("next", ("--prior", "laplace", "--channel", "sample", "--likelihood", "grey"))]
    sweep.require_same_settings(rows, others, Path("study"))


@pytest.mark.parametrize("smoke", [True, False])
def test_runs_of_a_smoke_and_of_full_size_are_kept_apart(tmp_path, smoke):
    keep_apart(tmp_path, smoke)
    (tmp_path / ".study").mkdir(exist_ok=True)
    keep_apart(tmp_path, smoke)
    there = "of a --smoke" if smoke else "of full size"
    with pytest.raises(ValueError, match=f"has runs {there}: choose another --out"):
        keep_apart(tmp_path, not smoke)
    machines = Machines(smoke=not smoke)
    with pytest.raises(ValueError, match="choose another --out"):
        run_stages(machines, tmp_path, [], lambda: None, again="", closing=lambda: None)
