"""Bars on a terminal of 80 columns; elsewhere a line every half minute."""

import io
import os
import re
from types import SimpleNamespace

import pytest
import torch

from pyro_mivae import information, progress
from pyro_mivae.training.loop import _short


class Terminal(io.StringIO):
    encoding = "utf-8"

    def fileno(self):
        return 2

    def isatty(self):
        return True

    def frames(self):
        return [frame.rstrip() for frame in re.split(r"[\r\n]+", self.getvalue()) if frame.strip()]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns; tqdm leaves the last of them free."""
    screen = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    return screen


@pytest.fixture
def log(monkeypatch):
    """A file in the place of the terminal, and a clock that is set by hand."""
    file, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=file))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return file, clock


TERMS = {
    "loss": 1053.26,
    "mi": 12.345,
    "kl": 3.0,
    "kl/c": 1.0,
    "log_likelihood": -99.0,
    "mi/c": 3.0,
}


def test_the_bar_of_a_training_has_loss_and_mi_in_80_columns(terminal):
    with progress.part(1, 3), progress.Progress("training", 100_000, "steps") as bar:
        bar.note(_short(TERMS))
        bar.update(41_000)
        bar.tick()
    for frame in terminal.frames():
        assert len(frame) <= 80
        assert frame.startswith("1/3 training ")
    assert "41000/100000 steps |" in terminal.frames()[-1]
    assert terminal.frames()[-1].endswith("left, loss 1053.3, MI 12.35 nats")


def test_a_bar_that_is_done_says_how_long_it_took(terminal):
    with progress.Progress("log-evidence", 3, "data") as bar:
        bar.update(3)
    assert re.fullmatch(r"log-evidence 3/3 data \|█+\| took 00:00", terminal.frames()[-1])


def test_losses_without_a_term_have_no_mi():
    assert _short({"loss": 2.0}) == "loss 2.0 nats"


def test_without_a_terminal_there_is_a_line_every_half_minute(log):
    file, clock = log
    with progress.Progress("training", 100, "steps", done=10) as bar:
        for step in range(11, 101):
            clock[0] += 1.0
            bar.note(f"loss {step}.0 nats")
            bar.update()
    assert file.getvalue().splitlines() == [
        "training: 40 of 100 steps after 0:00:30, about 0:01:00 left, loss 40.0 nats",
        "training: 70 of 100 steps after 0:01:00, about 0:00:30 left, loss 70.0 nats",
        "training: 100 of 100 steps after 0:01:30, loss 100.0 nats",
    ]


def test_a_slow_unit_has_its_lines_too(log):
    file, clock = log
    with progress.Progress("runs", 2, "runs") as bar:
        for clock[0] in (10.0, 31.0, 40.0, 62.0):
            bar.tick()
    assert file.getvalue().splitlines() == [
        "runs: 0 of 2 runs after 0:00:31",
        "runs: 0 of 2 runs after 0:01:02",
    ]


@pytest.mark.parametrize("shown", [True, False])
def test_quick_and_hidden_loops_leave_no_line(log, shown):
    file, clock = log
    with progress.Progress("training", 2, "steps", shown=shown) as bar:
        bar.update()
        clock[0] = 29.0 if shown else 1000.0
        bar.update()
    assert file.getvalue() == ""


def test_each_measurement_names_what_it_measures(terminal, monkeypatch):
    from pyro_mivae.vae import MIVAE

    monkeypatch.setattr(information.aggregate_scores, "_ELEMENTS", 64)
    vae = MIVAE(code_dim=1, noise_dim=1)
    images = torch.zeros(6, 28, 28, dtype=torch.uint8)
    pair, prepare = (vae.model, vae.guide), {"prepare": vae.observe}
    information.per_dimension(*pair, images, **prepare)
    information.log_evidence(*pair, images, num_samples=2, **prepare)
    information.sandwich(*pair, images, num_samples=2, codes="c", **prepare)
    with progress.titled("refitting the guide"):
        information.aggregate_information(vae.guide, images, **prepare)
    names = list(dict.fromkeys(re.split(r" \d+/", frame)[0] for frame in terminal.frames()))
    assert names == [
        "aggregate posterior",
        "use of dimensions",
        "pairs of dimensions",
        "log-evidence",
        "bounds on I(c; x')",
        "refitting the guide",
    ]
    assert all(re.search(r" \d+/[1-9]\d* (draws|data) \|", frame) for frame in terminal.frames())
