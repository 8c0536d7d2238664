"""Training in two processes on the CPU (gloo).

This file is also the program that the processes execute: ``python tests/training/test_parallel.py
FOLDER`` trains several pairs and leaves what each rank saw in ``FOLDER/NAME-RANK.pt``.
"""

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from pyro_mivae.batches import Batches, permutation
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.training import (
    Interrupted,
    NonFiniteError,
    fit,
    make_fabric,
    parallel,
    torchrun,
)
from pyro_mivae.training.checkpoints import load_checkpoint

ROOT = Path(__file__).parents[2]
BATCH = 8
SIZES = (24, 21, 17)  # with 8 data, 5 data (shares of 3 and 2) and 1 datum in the last batch
GANS = ((24, 1), (21, 1), (17, 2))  # with turns of the discriminator
CHANNELS = ("mean", "straight-through")
STEPS = 6  # of the comparison with one process: two epochs
DRAWS = 400
# Model and guide are called twice a step, and before the first one to find the parameters,
# and those that are not used. In these runs the model is called twice more, to see whether it
# draws x' given the real data, and four times, to see whether a draw moves other data's terms.
BEFORE = 10
IN_STEP_5 = BEFORE + 2 * 5


@pytest.fixture(autouse=True)
def rank_0(monkeypatch):
    """Fabric notes the rank for the whole process: afterwards it is what it was."""
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)


class Given(dist.Normal):
    """A Normal whose draw comes from noise that is handed in, so that runs can share it."""

    def __init__(self, loc, scale, noise):
        super().__init__(loc, scale)
        self.noise = noise

    def expand(self, batch_shape, _instance=None):
        return self  # is of the plate's size already

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * self.noise


class Model(nn.Module):
    """A pair's model; `number` data are in its plate, or those of the batch."""

    def __init__(self, number=None):
        super().__init__()
        self.number = number
        self.weight = nn.Parameter(torch.randn((), dtype=torch.float64))
        self.shift = nn.Parameter(torch.randn((), dtype=torch.float64))

    def forward(self, x, prior_noise, guide_noise, noise):
        with pyro.plate("data", self.number or len(x), subsample_size=len(x)):
            z = pyro.sample("z", Given(torch.zeros_like(x), torch.ones_like(x), prior_noise))
            mean = self.weight * z + self.shift
            pyro.sample("x", Given(mean, torch.ones_like(x), noise), obs=x)


class Guide(nn.Module):
    def __init__(self, number=None):
        super().__init__()
        self.number = number
        self.linear = nn.Linear(1, 2, dtype=torch.float64)

    def forward(self, x, prior_noise, guide_noise, noise):
        loc, raw = self.linear(x.unsqueeze(-1)).unbind(-1)
        with pyro.plate("data", self.number or len(x), subsample_size=len(x)):
            pyro.sample("z", Given(loc, nn.functional.softplus(raw) + 0.1, guide_noise))


class Drawing(nn.Module):
    """x ~ Bernoulli, which has no pathwise gradient; notes data and draws of each step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.5))
        self.unused = nn.Parameter(torch.tensor(3.0))
        self.data, self.broken_at, self.stopped_at = [], None, None

    def forward(self, x):
        self.data.append(x.clone())
        if self.stopped_at == len(self.data):
            os.kill(os.getpid(), signal.SIGTERM)
        weight = self.weight * (float("nan") if self.broken_at == len(self.data) else 1.0)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Bernoulli(logits=weight * z, validate_args=False), obs=x)


class DrawingGuide(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3))
        self.draws = []

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.weight * (2 * x - 1), 1.0))
        self.draws.append(z.detach().clone())


class Recording(torch.optim.SGD):
    """Notes the gradients of every step."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr, weight_decay=0.1)
        self.gradients = []

    def step(self, closure=None):
        given = [p.grad for group in self.param_groups for p in group["params"]]
        self.gradients.append(torch.cat([g.flatten() for g in given if g is not None]))
        super().step(closure)


def state(*modules):
    return [p.detach().clone() for m in modules for p in m.parameters()]


def given_data(size):
    generator = torch.Generator().manual_seed(size)
    return list(torch.randn(4, size, dtype=torch.float64, generator=generator))


BITS = (torch.arange(64) % 3 == 0).float()


def train_given(size, channel, devices, pair, compile_it=False):
    made = []

    def optimizer(parameters):
        made.append(Recording(parameters, lr=0.05))
        return made[0]

    history = fit(
        *pair,
        TraceMI_ELBO(channel=channel, mi_weight=0.7),
        given_data(size),
        steps=STEPS,
        batch_size=BATCH,
        optimizer=optimizer,
        device="cpu",
        precision="64-true",
        devices=devices,
        log_every=3,
        progress=False,
        compile=compile_it,
    )
    return {
        "gradients": torch.stack(made[0].gradients),
        "state": state(*pair),
        "rows": history.rows,
    }


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def forward(self, x):
        return self.net(x.unsqueeze(-1))


def train_gan(size, turns, devices, rank=0):
    """A GAN whose draws are handed in; the initial weights of rank 0 are to count."""
    torch.manual_seed(rank)
    parts = Model(), Guide(), Critic()
    history = fit(
        *parts[:2],
        TraceMI_GAN(parts[2], codes="z", mi_weight=0.5),
        given_data(size),
        steps=STEPS,
        batch_size=BATCH,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05),
        discriminator_steps=turns,
        average=0.7,
        device="cpu",
        precision="64-true",
        devices=devices,
        log_every=3,
        progress=False,
    )
    return {"state": state(*parts), "rows": history.rows}


def train_drawing(devices, model=None, guide=None, lr=0.1, **kwargs):
    made = []

    def optimizer(parameters):
        made.append(Recording(parameters, lr))
        return made[0]

    model, guide = model or Drawing(), guide or DrawingGuide()
    settings = {"steps": 12, "batch_size": 16, "log_every": 4, "channel": "sample", **kwargs}
    elbo = TraceMI_ELBO(channel=settings.pop("channel"), mi_weight=1.0)
    history = fit(
        model,
        guide,
        elbo,
        BITS,
        device="cpu",
        devices=devices,
        optimizer=optimizer,
        progress=False,
        **settings,
    )
    return {
        "gradients": torch.stack(made[0].gradients),
        "state": state(model, guide),
        "data": model.data,
        "draws": guide.draws,
        "rows": history.rows,
    }


def error_of(call):
    try:
        call()
    except (ValueError, NonFiniteError, Interrupted) as error:
        return {"type": type(error).__name__, "message": str(error)}
    return None


def function_model(x):
    shift = pyro.param("shift", torch.zeros(()))
    with pyro.plate("data", len(x)):
        pyro.sample(
            "x", dist.Bernoulli(logits=shift + pyro.sample("z", dist.Normal(0.0, 1.0))), obs=x
        )


def function_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x, 1.0))


def program(folder):
    """What each of the two processes does."""
    found = {}
    # The first call starts the other process. The initial weights differ on purpose:
    # those of rank 0 are to count.
    fabric = make_fabric("cpu", devices=2)
    parallel.launch(fabric)
    rank = fabric.global_rank
    for size in SIZES:
        for channel in CHANNELS:
            torch.manual_seed(rank)
            pair = Model(), Guide()
            found[f"{channel}-{size}"] = train_given(size, channel, 2, pair)
    torch.manual_seed(rank)
    found["replayed-21"] = train_given(21, "mean", 2, (Model(), Guide()), "replay")
    for size in SIZES:
        torch.manual_seed(rank)
        found[f"of all-{size}"] = train_given(size, "mean", 2, (Model(size), Guide(size)))
    for size, turns in GANS:
        found[f"gan-{size}"] = train_gan(size, turns, 2, rank)
    found["drawing"] = train_drawing(2)
    found["expectation"] = train_drawing(2, steps=DRAWS, batch_size=64, lr=0.0)["gradients"]

    # Folders of each rank's own: only rank 0 is to write, and to be called back.
    own, events = folder / f"own-{rank}", []
    own.mkdir()
    train_drawing(2, folder=own, callbacks=[events.append])
    found["events"] = len(events)
    shared = folder / "shared"
    if rank == 0:
        shared.mkdir()
    fabric.barrier()
    train_drawing(2, steps=5, folder=shared)
    found["resumed"] = train_drawing(2, folder=shared, resume=True)

    stopped = Drawing()
    stopped.stopped_at = IN_STEP_5 if rank == 1 else None
    found["stopped"] = error_of(lambda: train_drawing(2, stopped, folder=shared))
    broken = Drawing()
    broken.broken_at = IN_STEP_5 - 1 if rank == 1 else None
    found["broken"] = error_of(lambda: train_drawing(2, broken, log_every=1))
    found["odd"] = error_of(lambda: train_drawing(2, batch_size=15))
    found["store"] = error_of(lambda: train_drawing(2, function_model, function_guide))
    found["other"] = error_of(lambda: train_drawing(3))
    torch.save(found, folder / f"found-{rank}.pt")


@contextmanager
def started(*command):
    """A process without the caller's own distributed environment; nothing of it outlives this."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {k: v for k, v in os.environ.items() if k not in names}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The workers of torchrun are not in its group.
        for pid in [*children(process.pid), process.pid]:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        process.communicate()


def children(parent):
    """The processes that one started, where there is a /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.name))
    return found


def output(process):
    """What a process said until its end, which has to be a good one."""
    out, _ = process.communicate(timeout=150)
    assert process.returncode == 0, out[-4000:]
    return out


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What the two ranks of :func:`program` found, and the folder."""
    folder = tmp_path_factory.mktemp("ranks")
    with started(__file__, str(folder)) as process:
        out = output(process)
    assert "find_unused_parameters" not in out
    found = [torch.load(folder / f"found-{r}.pt", weights_only=False) for r in (0, 1)]
    return (*found, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "turns"), GANS)
def test_both_players_of_a_gan_are_those_of_one_process(ranks, size, turns):
    one = train_gan(size, turns, 1)
    for rank in ranks[:2]:
        two = rank[f"gan-{size}"]
        for a, b in zip(two["state"], one["state"], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        assert [row["step"] for row in two["rows"]] == [3, 6]
        for row, expected in zip(two["rows"], one["rows"], strict=True):
            terms = {name: value for name, value in row.items() if name != "split"}
            # Fabric hands terms on in single precision.
            assert terms == pytest.approx({n: expected[n] for n in terms}, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channel", "size"),
    [
        *((f"{channel}-{size}", channel, size) for channel in CHANNELS for size in SIZES),
        ("replayed-21", "mean", 21),
        *((f"of all-{size}", "mean", size) for size in SIZES),
    ],
)
def test_gradients_weights_and_terms_are_those_of_one_process(ranks, name, channel, size):
    torch.manual_seed(0)
    one = train_given(size, channel, 1, (Model(), Guide()))  # the plate of the batch
    assert one["gradients"].abs().min() > 1e-6
    for rank in ranks[:2]:
        two = rank[name]
        assert torch.allclose(two["gradients"], one["gradients"], rtol=0, atol=1e-10)
        assert all(
            torch.allclose(a, b, atol=1e-10)
            for a, b in zip(two["state"], one["state"], strict=True)
        )
        for row, expected in zip(two["rows"], one["rows"], strict=True):
            assert (row.pop("split"), expected["split"]) == ("train", "train")
            expected = {name: expected[name] for name in row}
            assert row == pytest.approx(expected, abs=1e-6)  # Fabric gives them in float32


@pytest.mark.slow
def test_ranks_share_each_batch_in_the_order_of_one_process_and_draw_on_their_own(ranks):
    zero, one = (rank["drawing"] for rank in ranks[:2])
    order = permutation(64, 0, 0)[:16]
    assert torch.equal(zero["data"][BEFORE], BITS[order[0::2]])
    assert torch.equal(one["data"][BEFORE], BITS[order[1::2]])
    assert not any(map(torch.equal, zero["draws"][BEFORE:], one["draws"][BEFORE:]))
    assert torch.equal(zero["gradients"], one["gradients"])
    assert all(map(torch.equal, zero["state"], one["state"]))
    assert zero["rows"] == one["rows"]


@pytest.mark.slow
def test_the_score_function_gradient_has_the_expectation_of_one_process(ranks):
    def mean_and_error(gradients):
        gradients = gradients.double()
        return gradients.mean(0), gradients.std(0) / math.sqrt(len(gradients))

    two, two_error = mean_and_error(ranks[0]["expectation"])
    one, one_error = mean_and_error(
        train_drawing(1, steps=DRAWS, batch_size=64, lr=0.0, seed=7)["gradients"]
    )
    error = (two_error**2 + one_error**2).sqrt()
    assert ((two - one).abs() < 4 * error).all()
    assert (one.abs() > 12 * error).all()  # a factor of two would be seen


@pytest.mark.slow
def test_parameters_without_gradient_are_left_alone(ranks):
    # Weight decay would move one whose gradient is zero.
    assert 3.0 in [float(p) for p in ranks[0]["drawing"]["state"]]


@pytest.mark.slow
def test_rank_0_writes_and_is_called_back(ranks):
    folder = ranks[2]
    assert (folder / "own-0" / "checkpoint.ckpt").exists()
    assert not list((folder / "own-1").iterdir())
    assert (ranks[0]["events"], ranks[1]["events"]) == (7, 0)


@pytest.mark.slow
def test_resumed_equals_uninterrupted_bit_for_bit_on_every_rank(ranks):
    for rank in ranks[:2]:
        whole, resumed = rank["drawing"], rank["resumed"]
        assert all(map(torch.equal, whole["state"], resumed["state"]))
        assert torch.equal(whole["draws"][-1], resumed["draws"][-1])


@pytest.mark.slow
def test_a_checkpoint_keeps_each_ranks_random_state_and_one_process_can_go_on(ranks, caplog):
    folder = ranks[2] / "own-0"
    states = [s["cpu"] for s in load_checkpoint(folder)["random"]]
    assert len(states) == 2
    assert not torch.equal(*states)
    with caplog.at_level(logging.WARNING, "pyro_mivae"):
        train_drawing(1, steps=14, folder=folder, resume=True)
    assert "the checkpoint is of 2 process(es), this training of 1" in caplog.text
    assert load_checkpoint(folder)["step"] == 14


@pytest.mark.slow
def test_all_ranks_stop_at_a_signal_that_one_receives(ranks):
    message = "stopped by SIGTERM after step 8"
    assert [rank["stopped"]["message"] for rank in ranks[:2]] == [message] * 2


@pytest.mark.slow
def test_all_ranks_stop_at_a_term_of_one_that_is_not_finite(ranks):
    assert ranks[0]["broken"]["type"] == "NonFiniteError"
    assert "is nan at step 5" in ranks[0]["broken"]["message"]
    assert ranks[0]["broken"] == ranks[1]["broken"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("odd", "batch_size=15 is of all processes together.*use a multiple of 2"),
        ("store", r"parameters \['shift'\] live in Pyro's store"),
        ("other", "runs in 2 processes already"),
    ],
)
def test_what_several_processes_can_not_do(ranks, name, words):
    for rank in ranks[:2]:
        assert rank[name]["type"] == "ValueError"
        assert re.search(words, rank[name]["message"])


class Normed(nn.Module):
    """Batch normalisation, a draw, and perhaps a parameter that nothing uses."""

    def __init__(self, unused):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.unused = nn.Parameter(torch.ones(())) if unused else None
        self.game = SimpleNamespace(alone=False)

    def forward(self, turn, count, x):
        return {}, (self.norm(x) * torch.rand(3)).square().sum() / count


@pytest.mark.parametrize("unused", [False, True])
def test_looking_for_unused_parameters_changes_nothing_else(monkeypatch, unused):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *args: None)
    fabric = SimpleNamespace(world_size=2, device=torch.device("cpu"), strategy=DDPStrategy())
    module, x = Normed(unused), torch.randn(4, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    draws = torch.get_rng_state()
    parallel.allow_unused(fabric, module, Batches([x], None, 0, None))
    assert fabric.strategy._ddp_kwargs["find_unused_parameters"] == unused
    assert torch.equal(torch.get_rng_state(), draws)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_shares_of_a_batch_weigh_their_data_alike():
    for size in SIZES:
        data = torch.arange(float(size))
        shares = [Batches([data], 8, 0, None, (rank, 4)) for rank in range(4)]
        whole = Batches([data], 8, 0, None)
        for step in range(2 * whole.steps_per_epoch):
            batches = [source.at(step) for source in (*shares, whole)]
            *means, mean = [float(batch.args[0].sum() / batch.count) for batch in batches]
            assert sum(means) / 4 == pytest.approx(mean)


def test_under_torchrun_its_processes_count(monkeypatch):
    assert torchrun.job() is None
    assert torchrun.restarts() == (0, 0)
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "6",
        "RANK": "5",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "2",
    }.items():
        monkeypatch.setenv(name, value)
    fabric = make_fabric("cpu")
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (6, 5, False)
    with pytest.raises(ValueError, match=r"devices=3, but torchrun started .* devices=2"):
        make_fabric("cpu", devices=3)
    assert torchrun.job().endswith(f":{os.getppid()}")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    assert torchrun.job() == "mine"


@pytest.mark.parametrize("settings", [{"devices": 0}, {"num_nodes": 0}])
def test_numbers_of_processes_are_checked(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be at least 1, found 0"):
        make_fabric("cpu", **settings)


FLAGS = ("experiments.mnist", "--device", "cpu", "--smoke", "--steps", "40", "--code-dim", "2")
FLAGS += ("--checkpoint-every", "10", "--batch-size", "50")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A run of the experiment that starts its second process itself."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    with started("-m", *FLAGS, "--devices", "2", "--out", str(folder)) as process:
        out = output(process)
    return folder, out


@pytest.mark.slow
def test_the_experiment_in_two_processes(smoke):
    folder, out = smoke
    assert out.count("run folder:") == 1
    assert {p.name for p in folder.parent.iterdir()} == {"run"}
    assert len(json.loads((folder / "config.json").read_text())["commands"]) == 1
    assert (folder / "metrics.json").exists()
    assert len(load_checkpoint(folder)["random"]) == 2


def worker(agent, rank):
    """The process of a local rank that an agent of torchrun started."""
    for pid in children(agent):
        with suppress(OSError):
            if f"LOCAL_RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
                return pid
    raise AssertionError(f"no worker {rank} of {agent}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker in /proc")
def test_torchrun_resumes_after_a_worker_was_killed(smoke, tmp_path):
    folder = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = (*launcher, "--max-restarts", "1", "-m", *FLAGS, "--out", str(folder))
    with started(*command) as process:
        deadline = time.monotonic() + 90
        while not (folder / "checkpoint.ckpt").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = [worker(process.pid, rank) for rank in (0, 1)]
        os.kill(workers[1], signal.SIGKILL)
        while any(pid in children(process.pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # The same weights would also come of a start from scratch: mark what is resumed.
        left = load_checkpoint(folder)
        left["history"].append({"step": 0, "epoch": 0.0, "split": "mark"})
        torch.save(left, folder / "checkpoint.ckpt")
        output(process)
    assert left["step"] < 40
    assert [row["split"] for row in load_checkpoint(folder)["history"]].count("mark") == 1
    assert len(json.loads((folder / "config.json").read_text())["commands"]) == 2
    expected, found = (load_checkpoint(path)["objective"] for path in (smoke[0], folder))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (folder / "metrics.json").exists()


if __name__ == "__main__":
    program(Path(sys.argv[1]))
