"""The benchmarks' arithmetic, their smoke runs, and what they say of a package that is missing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    breakdown,
    contenders,
    peers,
    peers_report,
    scaling_report,
    seeds_report,
)
from benchmarks.contenders.by_hand import HandWritten
from benchmarks.contenders.library import memory_mapped
from benchmarks.machine import anonymous_memory, describe_machine
from benchmarks.peers_report import Row, table
from benchmarks.scaling_report import Curve, Point, fit_exponent
from pyro_mivae.batches import Batches
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import fit
from pyro_mivae.vae import MIVAE

ROOT = Path(__file__).parents[2]
XS = (10, 20, 40, 80, 160, 320)


def program(*arguments):
    # Threads that wait for each other take minutes where a machine is busy.
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=environment
    )


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law(exponent):
    value, error = fit_exponent(XS, [3 * x**exponent for x in XS])
    assert value == pytest.approx(exponent, abs=1e-12)
    assert error == pytest.approx(0, abs=1e-7)


def test_the_exponent_is_that_of_the_upper_half():
    # Constant up to 40, quadratic from 80 on.
    assert fit_exponent(XS, [1, 1, 1, 80**2, 160**2, 320**2])[0] == pytest.approx(2)


def test_the_error_of_an_exponent_is_that_of_least_squares():
    ys = [*[1.0] * 3, 80.0, 160 * 1.1, 320.0]
    x, y = np.log(XS[3:]), np.log(ys[3:])
    _, covariance = np.polyfit(x, y, 1, cov="unscaled")
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    expected = np.sqrt(covariance[0, 0] * (residual @ residual) / 1)
    assert fit_exponent(XS, ys)[1] == pytest.approx(expected)


@pytest.mark.parametrize(("exponent", "verdict"), [(0.9, "no"), (1.05, "no"), (1.3, "**yes**")])
def test_what_grows_faster_than_the_mathematics(exponent, verdict):
    points = [Point(x, x**exponent, 0, 0, 1, x) for x in XS]
    assert Curve("batch", 1, points).verdict() == verdict


def test_noise_is_no_proof_that_nothing_grows_faster():
    seconds = [1, 1, 1, 80, 800, 320]
    points = [Point(x, y, 0, 0, 1, x) for x, y in zip(XS, seconds, strict=True)]
    curve = Curve("batch", 0.5, points)
    assert curve.exponent()[0] > 0.6
    assert curve.verdict() == "too noisy to tell"


@pytest.mark.slow
def test_the_figures_show_what_was_measured(tmp_path):
    points = [Point(x, x / 1000, 0, 0, 1, x) for x in XS]
    curves = [Curve(name, 1, points) for name in scaling_report.TITLES]
    drawn = scaling_report.figure(tmp_path / "scaling.png", curves, "here")
    for ax in drawn.axes:
        assert ax.get_lines()[0].get_ydata().tolist() == list(XS)
    rows = [
        Row(task, 10, name, step=1.0, ratio=1.5, low=1.0, high=2.0, first=3.0, peak=512.0)
        for task in contenders.TASKS
        for name in ("one", "other")
    ]
    drawn = peers_report.figure(tmp_path / "peers.png", rows, "here")
    widths = [{bar.get_width() for bar in ax.patches} for ax in drawn.axes]
    assert widths == [{1.5}, {0.5}, {3.0}]
    assert all(len(ax.patches) == 4 for ax in drawn.axes)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "model name : AMD EPYC\ncpu family : 26\nmodel : 2\nflags : avx2 avx512f avx512_bf16",
            "AMD EPYC (family 26, model 2), AVX-512, bf16, ",
        ),
        (
            "model name : Intel Xeon\ncpu family : 6\nmodel : 143\n"
            "flags : avx2 avx512f avx512_bf16 amx_tile\nmodel name : of the second core",
            "Intel Xeon (family 6, model 143), AVX-512, bf16, AMX, ",
        ),
        ("model name : Old\nflags : sse2 avx2", "Old, AVX2, no bf16, no AMX, "),
        ("Features : fp asimd", ", NEON, no bf16, no AMX, "),
    ],
)
def test_a_processor_is_named_with_what_it_can_do(lines, words, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(lines)
    assert words in describe_machine(info)
    assert f"{torch.get_num_threads()} threads" in describe_machine(tmp_path / "none")


def test_a_missing_package_has_a_row_that_says_so(monkeypatch):
    monkeypatch.setattr(contenders, "find_spec", lambda name: None)
    monkeypatch.setattr(peers, "ENTRIES", [contenders.HAND_WRITTEN, "NumPyro, jitted SVI"])
    config = peers.Config(batch_sizes=(4,), steps=2, images=8, draws=2, alone=False)
    text = table(peers.compare("VAE", 4, config), "here", 8)
    assert "| NumPyro, jitted SVI | not installed: jax, numpyro (pip install jax numpyro) |" in text
    assert "| hand-written PyTorch | not" not in text


def test_a_contender_without_the_objective_says_so():
    assert "no such objective" in contenders.missing("pythae, BaseTrainer", "MI-VAE")
    text = table([Row("MI-VAE", 1, "pythae", reason="no such objective")], "here", 8)
    assert "| pythae | no such objective |" in text


def test_a_contender_that_fails_has_a_row_with_its_error(monkeypatch):
    def fail(name, *args):
        raise TypeError("renamed\nin this version")

    monkeypatch.setattr(peers, "ENTRIES", ["pyro_mivae"])
    monkeypatch.setattr(peers, "loss_at_start", fail)
    config = peers.Config(batch_sizes=(4,), steps=2, images=8, draws=2, alone=False)
    (row,) = peers.compare("VAE", 4, config)
    assert row.reason == "does not run: TypeError: renamed"


@pytest.mark.slow
@pytest.mark.parametrize("mi", [False, True])
def test_all_compute_the_same_loss(mi, one_thread):
    problem = contenders.Problem(mi, contenders.synthetic_images(80), 20)
    task = contenders.TASKS[mi]
    found = {
        name: peers.loss_at_start(name, problem, 60)
        for name in contenders.ENTRIES
        if not contenders.missing(name, task) and "bf16" not in name and "Jit" not in name
    }
    mean, error = found.pop(contenders.HAND_WRITTEN)
    assert "pyro_mivae" in found
    for name, (value, own) in found.items():
        assert abs(value - mean) < 4 * (error**2 + own**2) ** 0.5, name
        assert error < 2, name


@pytest.mark.slow
def test_a_fresh_process_gives_start_up_and_memory():
    found = peers.fresh_process(contenders.HAND_WRITTEN, "VAE", 10, 2)
    assert 0 < found["alone"] < found["first"] < 200
    assert found["peak"] > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("peers", "**MI-VAE, batch 20**"),
        ("step_time", "compiled, bf16"),
        ("information", "aggregate"),
        ("breakdown", "products"),
        ("start_up", "pyro_mivae.infer"),
        ("main_job", "steps run in eager mode: recording pays"),
    ],
)
def test_a_smoke_prints_its_table_and_writes_nothing(name, words):
    """All that ``make smoke`` runs, but for those with tests of their own."""
    done = program(f"benchmarks.{name}", "--smoke")
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert "nan" not in done.stdout


@pytest.mark.slow
def test_scaling_smoke_writes_table_figure_and_csv(tmp_path):
    flags = ("--smoke", "--peak-tflops", "1", "--write", "--out", str(tmp_path))
    done = program("benchmarks.scaling", *flags)
    assert done.returncode == 0, done.stderr
    written = tmp_path / "results" / "scaling.md"
    assert written.read_text() in done.stdout
    assert (tmp_path / "figures" / "scaling.png").stat().st_size > 1000
    rows = (tmp_path / "results" / "scaling.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 * 3


@pytest.mark.slow
def test_seeds_smoke_writes_table_figure_and_csv(tmp_path):
    done = program("benchmarks.seeds", "--smoke", "--no-compile", "--write", "--out", str(tmp_path))
    written = tmp_path / "results" / "seeds.md"
    assert written.read_text() in done.stdout
    assert "| `fit_many` | 2 |" in done.stdout
    assert (tmp_path / "figures" / "seeds.png").stat().st_size > 1000
    rows = (tmp_path / "results" / "seeds.csv").read_text().splitlines()
    assert len(rows) == 1 + 3


def test_the_seconds_of_a_seed_are_shown_against_the_number_of_seeds(tmp_path, unrendered):
    rows = [seeds_report.Row(8, "fit", 1, 9.0, 1.0, 1.0, 1.0, 0.1)]
    rows += [
        seeds_report.Row(8, "fit_many, compiled", k, 9.0 / k, 1 / k, 0.0, 1.0, 5.0) for k in (1, 3)
    ]
    line, curve = seeds_report.figure(tmp_path / "seeds.png", rows, "here", 100).axes[0].lines
    assert set(line.get_ydata()) == {9.0}
    assert list(zip(*curve.get_data(), strict=True)) == [(1, 9.0), (3, 3.0)]
    text = seeds_report.table(rows, "here", 100)
    assert "| `fit_many`, compiled | 3 | 3.0 | 0.33 (0.00 to 1.00) | 5.0 |" in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_fit_reads_memory_mapped_images_without_copying_them(tmp_path, one_thread):
    count = 500_000
    with (tmp_path / "images").open("wb") as file:
        file.truncate(784 * count)  # 374 MiB of zeros that take no disk
    images = memory_mapped(str(tmp_path / "images"), count)
    vae = MIVAE()
    before = anonymous_memory()
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    options = {"prepare": vae.observe, "device": "cpu", "progress": False}
    fit(vae.model, vae.guide, elbo, images, steps=3, **options)
    assert anonymous_memory() - before < 150


def test_memory_mapped_images_are_shuffled_anew_each_epoch(tmp_path):
    path = tmp_path / "images"
    np.arange(60, dtype=np.uint8).repeat(784).tofile(path)
    batches = Batches([memory_mapped(str(path), 60)], 20, 0, None)
    epochs = []
    for epoch in range(2):
        taken = [batches.at(3 * epoch + number).args[0][:, 0, 0] for number in range(3)]
        epochs.append(torch.cat(taken))
        assert epochs[-1].sort().values.tolist() == list(range(60))
    assert (epochs[0] != epochs[1]).any()


def test_time_within_operations_goes_to_one_kind_each():
    class Event:
        def __init__(self, key, microseconds):
            self.key, self.self_cpu_time_total = key, microseconds

    events = [
        Event("aten::mm", 3e6),
        Event("aten::addmm", 1e6),
        Event("aten::_fused_adam_", 2e6),
        Event("## Call CompiledFxGraph abc", 5e6),
        Event("aten::copy_", 7e6),
        Event("aten::uniform_", 11e6),
        Event("aten::exp", 13e6),
        Event("Optimizer.step#Adam.step", 99e6),  # Python around operations
    ]
    found = breakdown.by_kind(events)
    assert found == {
        "products": 4,
        "optimiser": 2,
        "random numbers": 11,
        "copies and casts": 7,
        "fused kernels": 5,
        "other operations": 13,
    }


def test_products_alone_are_those_of_the_hand_written_step():
    batch_size = 6
    module = HandWritten()
    with FlopCounterMode(display=False) as whole:
        module(torch.rand(batch_size, 28, 28).round()).backward()
    step = breakdown.products_alone(batch_size, torch.float32, torch.device("cpu"))
    with FlopCounterMode(display=False) as alone:
        step()
    assert alone.get_total_flops() == whole.get_total_flops() > 0
