"""Modules behind functions, methods and objects: as if model and guide were the modules."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from behind import STYLES, closures, guide_of, model_of, modules, networks
from torch import nn

from pyro_mivae.batches import Batches
from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import sandwich
from pyro_mivae.isolation import evaluation, modules_of, roots_of, undisturbed
from pyro_mivae.training import evaluate, fit, refit_guide
from pyro_mivae.training.discovery import discover
from pyro_mivae.training.objective import Objective, make_game

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {"batch_size": 16, "device": "cpu", "progress": False, "log_every": 5}


def data(count=64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, generator=generator) @ torch.tensor(
        [[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.2, 0.0, 1.0]]
    ) + torch.tensor([3.0, -3.0, 0.0])


def elbo(**options):
    return TraceMI_ELBO(**{"channel": "sample", "codes": "z", "mi_weight": 0.5, **options})


def made(style, seed=0):
    torch.manual_seed(seed)
    pyro.clear_param_store()
    return STYLES[style]()


def state(parts):
    return [t.detach().clone() for part in parts for t in part.state_dict().values()]


def trained(style, **settings):
    model, guide, parts = made(style)
    history = fit(model, guide, elbo(), data(), **{**SETTINGS, **settings})
    return state(parts), history.rows


@pytest.mark.parametrize("style", STYLES)
def test_every_style_trains_to_the_same_numbers_as_modules(style):
    expected, rows = trained("modules", steps=10)
    ours, own_rows = trained(style, steps=10)
    assert all(map(torch.equal, ours, expected))
    assert own_rows == rows


@pytest.mark.parametrize("style", STYLES)
def test_resumed_equals_uninterrupted_bit_for_bit(style, tmp_path):
    expected, _ = trained(style, steps=9)
    trained(style, steps=4, folder=tmp_path)
    ours, _ = trained(style, steps=9, folder=tmp_path, resume=True)
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("style", STYLES)
def test_measurements_are_in_evaluation_mode_and_leave_no_trace(style):
    model, guide, (encoder, decoder) = made(style)
    encoder[3].eval()  # modes that differ are as they were
    before = state([encoder, decoder])
    values = evaluate(model, guide, elbo(), data())
    both = sandwich(model, guide, data(8), num_samples=4, codes="z")
    assert all(map(torch.equal, state([encoder, decoder]), before))
    assert encoder.training
    assert encoder[1].training
    assert not encoder[3].training
    encoder.eval()
    assert evaluate(model, guide, elbo(), data()) == values
    again = sandwich(model, guide, data(8), num_samples=4, codes="z")
    assert str(again) == str(both)


@pytest.mark.parametrize("style", STYLES)
def test_the_dual_pass_leaves_no_trace_in_running_statistics(style):
    x = data()
    statistics = []
    for mi_weight in (0.0, 1.0):
        model, guide, (encoder, _) = made(style)
        loss = elbo(mi_weight=mi_weight, num_dual_particles=2).differentiable_loss(model, guide, x)
        loss.backward()
        statistics.append([b.clone() for b in encoder.buffers()])
        assert all(p.grad is not None for p in encoder.parameters())
    assert all(map(torch.equal, *statistics))
    mean = nn.functional.linear(x, encoder[0].weight, encoder[0].bias).mean(0)
    torch.testing.assert_close(statistics[1][0], 0.1 * mean)
    assert statistics[1][2] == 1


def test_generated_data_are_normalised_by_their_own_batch():
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.seen = nn.BatchNorm1d(3, affine=False), []

        def forward(self, x):
            self.seen.append(self.norm(x))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.seen[-1][:, :2], 1.0).to_event(1))

    _, decoder = networks()
    guide = Norm()
    elbo().loss(lambda x: model_of(decoder, x), guide, data())
    assert len(guide.seen) >= 2
    for normalised in guide.seen:
        assert torch.allclose(torch.as_tensor(normalised).mean(0), torch.zeros(3), atol=1e-5)


class Average(nn.Module):
    """A buffer that each call puts anew, in every mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(3))

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
        return x - self.average


KEEPING = {
    "batch": lambda: nn.BatchNorm1d(3),
    "cumulative": lambda: nn.BatchNorm1d(3, momentum=None),
    "instance": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.InstanceNorm1d(1, track_running_stats=True), nn.Flatten()
    ),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
    "spectral, old": lambda: nn.utils.spectral_norm(nn.Linear(3, 3)),
    "average": Average,
}


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated")
@pytest.mark.parametrize("kind", KEEPING)
@pytest.mark.parametrize("training", [True, False])
def test_buffers_of_every_kind_stay_apart_from_the_dual_pass(kind, training):
    values = []
    for mi_weight in (0.0, 1.0):
        torch.manual_seed(0)
        _, decoder = networks()
        norm, head = KEEPING[kind](), nn.Linear(3, 4)
        norm.train(training)
        objective = elbo(mi_weight=mi_weight)
        model = functools.partial(model_of, decoder)
        guide = functools.partial(guide_of, nn.Sequential(norm, head), register=False)
        for _ in range(2):
            objective.differentiable_loss(model, guide, data()).backward()
        values.append(state([norm]))
    assert all(map(torch.equal, *values))


def test_what_a_program_reaches():
    inner, listed, default, bound = (nn.Linear(1, 1) for _ in range(4))
    flow = dist.transforms.BatchNorm(2)

    class Holder:
        __slots__ = ("item",)
        shared = bound

        def __init__(self, item):
            self.item = item

    holder = Holder([{"a": (listed,)}, dist.TransformedDistribution(dist.Normal(0.0, 1.0), [flow])])

    def helper(x):
        return inner(x)

    def program(x, net=default):
        return helper(net(x)), holder

    for part in (program, pyro.poutine.block(program), lambda x: program(x)):
        reached = {id(module) for module in roots_of([part])}
        assert reached == {id(m) for m in (inner, listed, default, bound, flow)}
    sequence = nn.Sequential(inner)
    assert roots_of([sequence, inner]) == [sequence]
    assert len(modules_of([program, sequence])) == 6


def test_modules_that_nothing_reaches_are_seen_when_they_are_called():
    encoder, _ = networks()
    hidden = {f"{i}": encoder for i in range(2000)}  # more than are looked at

    class Odd:
        def __getattr__(self, name):
            return (lambda: hidden)()["1999"]

    names = iter(range(100))

    def guide(x):
        next(names)
        guide_of(Odd().encoder, x)

    before = state([encoder])
    with evaluation(guide, device=torch.device("cpu")):
        guide(data())
        assert not encoder[1].training
    with undisturbed([guide], torch.device("cpu")):
        guide(data())
    assert encoder.training
    assert all(map(torch.equal, state([encoder]), before))


@pytest.mark.parametrize("style", STYLES)
def test_modules_are_moved_to_the_device_of_the_training(style, monkeypatch):
    """The host has no other device that computes: a dtype stands for it."""
    model, guide, parts = made(style)
    double = nn.Module.double
    monkeypatch.setattr(nn.Module, "to", lambda self, device: double(self))
    objective = Objective(model, guide, make_game(model, guide, elbo()))
    trained_, stored = discover(
        objective, Batches([data().double()], 16, 0, None), torch.device("cpu")
    )
    assert all(p.dtype == torch.float64 for part in parts for p in part.parameters())
    ids = {id(p) for part in parts for p in part.parameters()}
    assert {id(p) for p in trained_} == ids
    assert stored == {}
    assert {id(m) for part in parts for m in part.modules()} <= {id(m) for m in objective.modules()}


def test_the_second_pair_of_a_process_trains_its_own_parameters():
    first, second = closures(), closures()
    fit(*first[:2], elbo(), data(), steps=2, **SETTINGS)
    before = state(first[2]), state(second[2])
    fit(*second[:2], elbo(), data(), steps=2, **SETTINGS)
    assert all(map(torch.equal, state(first[2]), before[0]))
    assert not torch.equal(state(second[2])[0], before[1][0])


def test_modules_that_no_one_registers_are_named():
    encoder, decoder = networks()
    model = lambda x: model_of(decoder, x, register=False)  # noqa: E731
    guide = lambda x: guide_of(encoder, x, register=False)  # noqa: E731
    with pytest.raises(ValueError, match=r"no parameters to train.*Linear \(weight, bias\).*pyro"):
        fit(model, guide, elbo(), data(), steps=1, **SETTINGS)
    before = decoder.weight.detach().clone()
    registered = lambda x: guide_of(encoder, x)  # noqa: E731
    with pytest.warns(UserWarning, match=r"not trained.*Linear \(weight, bias\)"):
        fit(model, registered, elbo(), data(), steps=1, **SETTINGS)
    assert torch.equal(decoder.weight, before)  # as under Pyro's SVI
    decoder.requires_grad_(False)
    fit(model, registered, elbo(), data(), steps=1, **SETTINGS)


@pytest.mark.parametrize("style", ["modules", "closures", "tutorial"])
def test_a_last_batch_of_one_datum(style, tmp_path):
    x = data(33)
    model, guide, parts = made(style)
    with pytest.raises(ValueError, match=r"33 data and batch_size=16 a batch of one.*drop_last"):
        fit(model, guide, elbo(), x, steps=5, **SETTINGS)
    runs = []
    for stops in ((7,), (3, 7)):
        folder = tmp_path / str(len(stops))
        folder.mkdir()
        for number, steps in enumerate(stops):
            model, guide, parts = made(style)
            history = fit(
                model, guide, elbo(), x, steps=steps, drop_last=True, resume=number > 0,
                folder=folder, **SETTINGS
            )  # fmt: skip
        runs.append(state(parts))
    assert all(map(torch.equal, *runs))
    assert history.rows[-1]["epoch"] == 3.5


def test_drop_last_leaves_out_smaller_batches_only():
    lengths = lambda b, n: [len(b.at(step).args[0]) for step in range(n)]  # noqa: E731
    assert lengths(Batches([torch.arange(25)], 10, 0, None, drop_last=True), 3) == [10, 10, 10]
    assert lengths(Batches([torch.arange(20)], 10, 0, None, drop_last=True), 2) == [10, 10]
    assert Batches([torch.arange(25)], None, 0, None, drop_last=True).steps_per_epoch == 1
    with pytest.raises(ValueError, match="leaves no batch of 25 data"):
        Batches([torch.arange(25)], 26, 0, None, drop_last=True)
    assert [Batches([torch.arange(n)], 10, 0, None).smallest() for n in (25, 21, 20)] == [5, 1, 10]
    assert Batches([torch.arange(23)], 10, 0, None, (0, 2)).smallest() == 1


@pytest.mark.parametrize("style", STYLES)
def test_refitting_trains_a_copy_of_the_guide_alone(style):
    model, guide, parts = made(style)
    if style != "unregistered":
        fit(model, guide, elbo(), data(), steps=3, **SETTINGS)
    before, stored = state(parts), dict(pyro.get_param_store()._params)
    refitted = refit_guide(model, guide, data(), steps=20, batch_size=16, progress=False)
    assert all(map(torch.equal, state(parts), before))
    assert dict(pyro.get_param_store()._params) == stored
    expected = refit_guide(*modules_like(before), data(), steps=20, batch_size=16, progress=False)
    with evaluation(refitted, expected, device=torch.device("cpu")):
        ours, theirs, own = (
            pyro.poutine.trace(fn).get_trace(data()).nodes["z"]["fn"].base_dist.loc
            for fn in (refitted, expected, guide)
        )
    torch.testing.assert_close(ours, theirs)
    with evaluation(guide, device=torch.device("cpu")):
        own = pyro.poutine.trace(guide).get_trace(data()).nodes["z"]["fn"].base_dist.loc
    assert not torch.allclose(ours, own)


def modules_like(values):
    model, guide, parts = modules()
    for part, count in zip(parts, (len(parts[0].state_dict()), 2), strict=True):
        part.load_state_dict(dict(zip(part.state_dict(), values[:count], strict=True)))
        values = values[count:]
    return model, guide


@pytest.mark.slow
def test_refitting_a_guide_with_parameters_in_the_store():
    def model(x):
        shift = pyro.param("shift", torch.tensor(1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)

    def guide(x):
        weight = pyro.param("weight", torch.tensor(0.0))
        bias = pyro.param("bias", torch.tensor(0.0))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(weight * x + bias, scale))

    x = torch.linspace(-2.0, 3.0, 50)
    fit(model, guide, elbo(), x, steps=1, batch_size=None, device="cpu", progress=False)
    before = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    rate = lambda p: torch.optim.Adam(p, lr=0.01)  # noqa: E731
    refitted = refit_guide(
        model, guide, x, steps=1000, optimizer=rate, batch_size=None, progress=False
    )
    after = {name: value.detach() for name, value in pyro.get_param_store().items()}
    assert before == after
    posterior = pyro.poutine.trace(refitted).get_trace(torch.tensor([0.0, 2.0])).nodes["z"]["fn"]
    # p(z | x) = N((x - shift) / 2, 1/2)
    exact = (torch.tensor([0.0, 2.0]) - before["shift"]) / 2
    assert (posterior.loc - exact).abs().max() < 0.15
    assert abs(posterior.scale[0].item() - 0.5**0.5) < 0.1
    assert pyro.get_param_store()["weight"] == before["weight"]


def test_refitting_leaves_shared_parameters_to_the_model():
    shared = nn.Linear(3, 3)
    encoder, decoder = networks()

    def model(x):
        model_of(nn.Sequential(decoder, shared), x)

    def guide(x):
        guide_of(nn.Sequential(shared, encoder), x)

    before = state([shared, encoder])
    refitted = refit_guide(model, guide, data(), steps=5, batch_size=16, progress=False)
    reached = {id(m): m for m in modules_of([refitted])}.values()
    copies = [m for m in reached if isinstance(m, nn.Linear) and m.weight.shape == (3, 3)]
    assert copies
    assert all(torch.equal(copy.weight, before[0]) for copy in copies)
    with pytest.raises(ValueError, match="no parameters to train that the model does not use"):
        refit_guide(model, model, data(), steps=1, progress=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_mode_of_a_compiled_module_is_as_it_was():
    encoder, _ = networks()
    encoder[3].eval()
    before = [module.training for module in encoder.modules()]
    fast = torch.compile(encoder, backend="eager")
    with evaluation(lambda x: fast(x), device=torch.device("cpu")):
        assert not any(module.training for module in encoder.modules())
    assert [module.training for module in encoder.modules()] == before
