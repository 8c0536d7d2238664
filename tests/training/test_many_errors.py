"""What `fit_many` refuses, with a remedy and before anything is made."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from many_pairs import COUNTS, POINTS, Line, Mixture, Nothing, Sign, counts, line, many
from pyro.infer import (
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader

from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.training import CheckpointError, RecordingError, fit_many


def enumerated(seed):
    return config_enumerate(Mixture()), Nothing(), TraceEnum_ELBO(max_plate_nesting=1)


def stored(seed):
    def model(x):
        loc = pyro.param("loc", torch.zeros(3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    return model, lambda x: None, Trace_ELBO()


class Branching(Line):
    def forward(self, x):
        return super().forward(x if x.sum() > -1e9 else -x)


class Scaled(Line):
    """A number that is an attribute is a constant of the graph."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return super().forward(x * self.scale)


class Wide(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(size))
        self.line = Line()

    def forward(self, x):
        return self.line(x)


ONE = TraceMI_ELBO(channel="mean")
SHARED = Line()


def clipped(parameters):
    optimizer = torch.optim.Adam(parameters)
    optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(parameters, 1.0))
    return optimizer


def hooked(seed):
    model = Line()
    model.loc.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return model, Nothing(), TraceMeanField_ELBO()


PAIRS = {
    "enumeration": (enumerated, "TraceEnum_ELBO reads values"),
    "dependencies of draws": (
        lambda seed: (Mixture(), Sign(), TraceGraph_ELBO()),
        "dependencies of draws",
    ),
    "an adversary": (
        lambda seed: (Line(), Nothing(), TraceMI_GAN(nn.Linear(3, 1), codes="c")),
        "TraceMI_GAN",
    ),
    "parameters in the store": (stored, "'loc'.*make model and guide modules"),
    "a value that is read": (
        lambda seed: (Branching(), Nothing(), Trace_ELBO()),
        "depends on the value of a tensor",
    ),
    "an attribute that differs": (
        lambda seed: (Scaled(1.0 + seed), Nothing(), Trace_ELBO()),
        "differ, first in .*4.0.*1.0",
    ),
    "a channel that differs": (
        lambda seed: (
            *counts(seed)[:2],
            TraceMI_ELBO(channel="mean" if seed else "sleep", codes="z"),
        ),
        r"differ, first in '(?!def)[^']*' and '(?!def).*not the channel",
    ),
    "sizes that differ": (
        lambda seed: (Wide(seed + 1), Nothing(), Trace_ELBO()),
        r"'model.unused': \(4,\) float32 of seed 3, \(1,\) float32 of seed 0",
    ),
    "one module": (lambda seed: (SHARED, Nothing(), Trace_ELBO()), "share the parameter"),
    "one ELBO": (lambda seed: (Line(), Nothing(), ONE), "share one TraceMI_ELBO"),
    "weights of two kinds": (
        lambda seed: (Line(), Nothing(), TraceMI_ELBO(channel="mean", mi_weight=float(seed > 0))),
        "weights or scales of different kinds",
    ),
    "no pair": (lambda seed: (Line(), Nothing()), r"\(model, guide, elbo\), found a tuple of 2"),
    "a hook": (hooked, "hooks of the optimiser or of parameters"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_are_refused(name, tmp_path):
    make, words = PAIRS[name]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        many(make, COUNTS, steps=2, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


SETTINGS = {
    "an optimiser of the whole": ({"optimizer": torch.optim.LBFGS}, "found LBFGS.*in a loop"),
    "clipping": ({"optimizer": clipped}, "clipping of a total norm"),
    "an optimiser made before": (
        {"optimizer": torch.optim.Adam([torch.zeros(1, requires_grad=True)])},
        "optimizer must be a callable",
    ),
    "an optimiser of others": (
        {"optimizer": lambda p: torch.optim.Adam([torch.zeros(1, requires_grad=True)])},
        "with other parameters",
    ),
    "a schedule by the loss": (
        {"lr_scheduler": schedules.ReduceLROnPlateau},
        "another one in each copy",
    ),
    "a short schedule": (
        {"lr_scheduler": partial(schedules.OneCycleLR, max_lr=1.0, total_steps=1)},
        "total_steps=1",
    ),
    "no seeds": ({"seeds": []}, "each another one"),
    "a seed twice": ({"seeds": [1, 1]}, r"each another one, found \[1, 1\]"),
    "one seed, not in a list": ({"seeds": 5}, "one or more whole numbers"),
    "a seed that is none": ({"seeds": [-1]}, "at least 0"),
    "no folder to resume": ({"resume": True}, "needs the folder"),
    "folders of other seeds": ({"folder": {3: "a"}}, r"none of \[0, 8\]"),
    "one folder for all": ({"folder": dict.fromkeys((3, 0, 8), "a")}, "another one for each"),
    "a precision": ({"precision": "16-mixed"}, "32-true"),
    "a decay": ({"average": 1.0}, "below 1"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_refused(name):
    settings, words = SETTINGS[name]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        many(line, POINTS, steps=2, **settings)


DATA = {
    "a loader": (DataLoader(POINTS), "found DataLoader"),
    "lengths": ({3: POINTS, 0: POINTS[:9], 8: POINTS}, "equally many data"),
    "shapes": ({3: POINTS, 0: POINTS[:, :1], 8: POINTS}, "seeds 3 and 0 differ in shape"),
    "a seed without data": ({3: POINTS, 8: POINTS}, r"none of \[0\]"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_are_refused(name):
    data, words = DATA[name]
    with pytest.raises(ValueError, match=words):
        many(line, data, steps=2)


def test_an_error_of_a_pair_says_of_which_seed():
    def make(seed):
        return 1 / (seed - 8)

    with pytest.raises(ZeroDivisionError) as error:
        many(make, POINTS, steps=2, seeds=[8])
    assert error.value.__notes__ == ["while the pair of seed 8 was made"]


def test_seeds_at_different_steps_do_not_go_on_together(tmp_path):
    many(line, POINTS, steps=2, folder=tmp_path)
    many(line, POINTS, steps=6, checkpoint_every=2, folder=tmp_path, seeds=[0, 8], resume=True)
    with pytest.raises(CheckpointError, match=r"seed 3 at step 2, where 0 \(step 6\), 8"):
        many(line, POINTS, steps=8, folder=tmp_path, resume=True)


def test_settings_of_another_training_are_refused(tmp_path):
    many(line, POINTS, steps=2, folder=tmp_path)
    with pytest.raises(CheckpointError, match="learning rate of Adam"):
        many(
            *(line, POINTS),
            steps=4,
            folder=tmp_path,
            resume=True,
            optimizer=partial(torch.optim.Adam, lr=0.5),
        )


def test_the_parent_is_no_file(tmp_path):
    path = tmp_path / "seed-3"
    path.write_text("")
    with pytest.raises(ValueError, match="found the file"):
        fit_many(line, POINTS, seeds=[3], steps=1, folder=tmp_path)


class Counting(Line):
    """Anneals by a counter of its own."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x * min(1.0, self.calls / 40))


class Held(Line):
    """Reads a tensor that is neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__()
        self.factor = torch.ones(())

    def forward(self, x):
        return super().forward(x * self.factor)


def test_a_program_that_changes_is_refused():
    words = r"the step of seed 3 is not any more what was recorded"
    with pytest.raises(RecordingError, match=words):
        many(lambda seed: (Counting(), Nothing(), Trace_ELBO()), POINTS, steps=5)
    pairs = {}

    def make(seed):
        pairs[seed] = Held(), Nothing(), Trace_ELBO()
        return pairs[seed]

    def change(event):
        for held, _, _ in pairs.values():
            held.factor = torch.tensor(0.5 if event.step >= 4 else 1.0)

    settings = {"callbacks": lambda seed: [change]}
    many(make, POINTS, steps=4, **settings)  # another tensor of the same number
    for steps in (12, 7):  # at the check in step 11, and in the last step
        with pytest.raises(RecordingError, match=words):
            many(make, POINTS, steps=steps, **settings)
