"""compile_elbo: modules behind functions, priors built elsewhere, and why it falls back."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch._dynamo.eval_frame import TorchPatcher

from pyro_mivae.infer import TraceMI_ELBO, compile_elbo
from pyro_mivae.infer.compiled import making
from pyro_mivae.training import fit

pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings(
        # PyTorch's own, on import of its compiler.
        "ignore:.*torch.jit:DeprecationWarning",
        "ignore:.*is deprecated:DeprecationWarning",
        "ignore:`torch._prims_common.check` is deprecated:FutureWarning",
    ),
]


class Plain:
    """A pair that is no module, its networks behind a dict and a function."""

    def __init__(self):
        torch.manual_seed(0)
        decoder = nn.Linear(2, 3)
        self.decoder, self.parts = lambda: decoder, {"encoder": networks()}

    def model(self, x):
        decoder = pyro.module("decoder", self.decoder())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.parts["encoder"])
        loc, log_scale = self.parts["encoder"](x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def state(self):
        values = [*self.decoder().state_dict().values()]
        return [v.clone() for v in [*values, *self.parts["encoder"].state_dict().values()]]


def networks():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4))


def step(function, owner, seed=4):
    parameters = [*owner.decoder().parameters(), *owner.parts["encoder"].parameters()]
    for parameter in parameters:
        parameter.grad = None
    torch.manual_seed(seed)
    loss = function()
    loss.backward()
    return [loss.detach(), *[p.grad.clone() for p in parameters]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    ["eager", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aot_eager", "inductor"))],
)
def test_modes_and_buffers_are_those_of_eager_mode(backend):
    x = 2 + torch.randn(6, 3)
    elbo = TraceMI_ELBO(channel="sample", codes="z", mi_weight=0.7, num_dual_particles=2)
    pyro.clear_param_store()
    ours, theirs = Plain(), Plain()
    function = compile_elbo(elbo, ours.model, ours.guide, backend=backend)
    modes = (True, True, False, True) if backend == "eager" else (True, False)
    for mode in modes:
        for owner in (ours, theirs):
            owner.parts["encoder"].train(mode)
        compiled = step(lambda: function(x), ours)
        eager = step(lambda: elbo.differentiable_loss(theirs.model, theirs.guide, x), theirs)
        torch.testing.assert_close(compiled, eager)
        torch.testing.assert_close(ours.state(), theirs.state())
    assert function.fallback is None
    assert len(function.graphs) == 2
    assert ours.parts["encoder"][1].num_batches_tracked == sum(modes)


def test_fit_compiled_trains_modules_behind_methods():
    x, states = 2 + torch.randn(24, 3), []
    for how in (False, True):
        pyro.clear_param_store()
        owner, elbo = Plain(), TraceMI_ELBO(channel="mean", codes="z", mi_weight=0.5)
        function = compile_elbo(elbo, owner.model, owner.guide, backend="eager")
        model, guide = function.model, function.guide
        fit(model, guide, elbo, x, steps=7, batch_size=8, device="cpu", precision="64-true",
            progress=False, compile=function if how else False)  # fmt: skip
        assert len(function.graphs) == how
        states.append(owner.state())
    torch.testing.assert_close(*states)


def test_validation_outlives_the_start_of_dynamo(monkeypatch):
    """At the first ``torch.compile`` of a process torch switches its validation off for good."""
    started = []

    def start():
        started.append(True)
        torch.distributions.Distribution.set_default_validate_args(False)

    monkeypatch.setattr(TorchPatcher, "patch", staticmethod(start))
    function = compile_elbo(
        TraceMI_ELBO(channel="sample"), prior_model(lambda: OUTSIDE), prior_guide, backend="eager"
    )
    function(torch.randn(5, 2))
    assert function.fallback is None
    assert started
    assert torch.distributions.Distribution._validate_args is True


OUTSIDE = dist.Normal(0.0, 1.0).expand([2]).to_event(1)


def prior_model(prior):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return model


def prior_guide(x):
    gain = pyro.param("gain", torch.tensor(0.3))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x * gain, 0.7).to_event(1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "prior",
    [
        lambda: OUTSIDE,
        lambda: dist.Normal(torch.zeros(2), 1.0, validate_args=True).to_event(1),
        lambda: dist.LogNormal(OUTSIDE.base_dist.loc, 1.0, validate_args=True).to_event(1),
    ],
)
def test_priors_that_validate_for_themselves_are_captured_and_stay_so(prior):
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    model = prior_model(prior)
    x = torch.randn(5, 2).exp()
    guide = prior_guide
    if isinstance(prior().base_dist, dist.LogNormal):

        def guide(x):
            gain = pyro.param("gain", torch.tensor(0.3))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.LogNormal(x * gain, 0.7).to_event(1))

    function = compile_elbo(elbo, model, guide, backend="eager")
    torch.manual_seed(1)
    function(x)
    assert function.fallback is None
    torch.manual_seed(1)
    ours = function(x)
    torch.manual_seed(1)
    torch.testing.assert_close(ours, elbo.differentiable_loss(model, guide, x))
    assert OUTSIDE.base_dist._validate_args
    assert torch.distributions.Distribution._validate_args is True
    with pytest.raises(ValueError, match="within the support"):
        OUTSIDE.log_prob(torch.tensor([float("nan"), 0.0]))


def by_int(z):
    return z * int(z[0, 0])


def by_float(z):
    return z * float(z.detach().sum())


def by_branch(z):
    if z.sum() > 0:
        return z
    return -z


@pytest.mark.parametrize("reading", [by_int, by_float, by_branch])
def test_the_line_that_reads_a_value_is_named(reading):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(reading(z), 1.0).to_event(1), obs=x)

    function = compile_elbo(TraceMI_ELBO(channel="sample"), model, prior_guide, backend="eager")
    line = reading.__code__.co_firstlineno + 1
    words = rf"depends on the value of a tensor.*{__file__}, line {line}: \w+"
    with pytest.warns(UserWarning, match=words):
        function(torch.randn(5, 2))


def test_a_large_graph_is_announced_before_it_is_compiled(monkeypatch, caplog):
    events = []
    monkeypatch.setattr(making, "MANY", 10)
    monkeypatch.setattr(torch, "compile", lambda function, **_: events.append("made") or function)
    monkeypatch.setattr(making.logger, "warning", lambda *args: events.append(args[0] % args[1:]))
    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    model = prior_model(lambda: OUTSIDE)
    with caplog.at_level(logging.WARNING):
        function = compile_elbo(elbo, model, prior_guide)
        function(torch.randn(5, 2))
    [words, then] = events
    assert then == "made"
    assert f"has {function.graphs[0].nodes} operations" in words
    assert "seconds" in words


def test_a_hook_that_is_added_later_is_seen():
    plain = Plain()
    elbo = Trace_ELBO()
    replayed = compile_elbo(elbo, plain.model, plain.guide, backend=None)
    x = torch.randn(5, 3)

    def both():
        losses = []
        for loss in (replayed, lambda x: elbo.differentiable_loss(plain.model, plain.guide, x)):
            torch.manual_seed(1)
            losses.append(float(loss(x).detach()))
        return losses

    before, eager = both()
    assert before == pytest.approx(eager)
    handle = plain.decoder().register_forward_hook(lambda module, args, output: 3 * output)
    changed, eager = both()
    assert changed == pytest.approx(eager)
    assert changed != pytest.approx(before)
    handle.remove()
    assert both()[0] == pytest.approx(before)


class Cached(nn.Module):
    """Keeps what it has made for a number of data."""

    def __init__(self):
        super().__init__()
        self.gain, self.cache = nn.Parameter(torch.tensor(0.5)), {}

    def origin(self, count):
        if count not in self.cache:
            self.cache[count] = torch.zeros(count)
        return self.cache[count]

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.origin(len(x)), 1.0))
            pyro.sample("x", dist.Normal(self.gain * z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.origin(len(x)) + self.gain * x, 0.8))


def test_what_a_program_keeps_by_shape_is_real():
    """A later shape was captured without a run: the cache kept a tensor of the capture."""
    x = torch.randn(7)
    elbo = TraceMI_ELBO(channel="sample")
    settings = {"steps": 12, "batch_size": 4, "device": "cpu", "progress": False, "log_every": 1}
    settings["optimizer"] = lambda parameters: torch.optim.SGD(parameters, lr=0.05)
    rows = [
        fit(p.model, p.guide, elbo, x, compile=way, **settings).rows
        for p, way in ((Cached(), "replay"), (Cached(), False))
    ]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    cached = Cached()
    replayed = compile_elbo(elbo, cached.model, cached.guide, backend=None)
    for count in (4, 3):
        replayed(x[:count])
    assert all(type(kept) is torch.Tensor for kept in cached.cache.values())
