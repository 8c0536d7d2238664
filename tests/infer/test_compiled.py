"""compile_elbo: the compiled step against the eager one, under one seed."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import Bits, GaussianBernoulli, LinearGaussian
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.distributions import constraints

from pyro_mivae.infer import CHANNELS, TraceMI_ELBO, compile_elbo
from pyro_mivae.training import fit
from pyro_mivae.vae import MIVAE

pytestmark = pytest.mark.filterwarnings(
    # PyTorch's own, on import of its compiler.
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore:.*is deprecated:DeprecationWarning",
    "ignore:`torch._prims_common.check` is deprecated:FutureWarning",
)


def compiled(elbo, model, guide, **options):
    """What is captured is ours, what Inductor makes of it is PyTorch's: it is tested once."""
    return compile_elbo(elbo, model, guide, **{"backend": "eager", **options})


def evaluate(function, parameters, seed=5):
    """Loss and gradients under a seed, and the random state after."""
    for parameter in parameters:
        parameter.grad = None
    torch.manual_seed(seed)
    loss = function()
    loss.backward()
    grads = [None if p.grad is None else p.grad.clone() for p in parameters]
    return loss.detach(), grads, torch.get_rng_state()


def assert_same(elbo, owner, args, *, model=None, guide=None, tolerance=1e-10, **options):
    model, guide = model or owner.model, guide or owner.guide
    parameters = list(owner.parameters())
    function = compiled(elbo, model, guide, **options)
    assert list(function(*args).shape) == []
    eager = evaluate(lambda: elbo.differentiable_loss(model, guide, *args), parameters)
    ours = evaluate(lambda: function(*args), parameters)
    assert function.fallback is None
    torch.testing.assert_close(ours[0], eager[0], rtol=tolerance, atol=tolerance)
    assert [g is None for g in ours[1]] == [g is None for g in eager[1]]
    for a, b in zip(ours[1], eager[1], strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    assert torch.equal(ours[2], eager[2])  # as many random numbers were drawn
    return function


def small_vae(**options):
    sizes = {"code_dim": 2, "noise_dim": 1, "image_shape": (8, 8)}
    return MIVAE(**{**sizes, **options})


def images(count=6):
    return (torch.rand(count, 8, 8) < 0.4).to(torch.get_default_dtype())


# The base sees nothing of the channel: one of them is enough with the other base.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "channel"),
    [*((TraceMeanField_ELBO, channel) for channel in CHANNELS), (Trace_ELBO, "straight-through")],
)
def test_our_vae_has_the_eager_loss_and_gradients(float64, base, channel):
    vae = small_vae(prior="uniform" if base is Trace_ELBO else "mixture")
    elbo = TraceMI_ELBO(channel=channel, codes="c", mi_weight=0.7, kl_weight=1.3, elbo=base())
    assert_same(elbo, vae, [images()])


@pytest.mark.slow
def test_inductor_has_the_eager_loss_and_gradients():
    vae = small_vae(prior="uniform")
    elbo = TraceMI_ELBO(channel="straight-through", codes="c", mi_weight=0.7)
    function = assert_same(elbo, vae, [images()], backend="inductor", tolerance=1e-5)
    [graph] = function.graphs
    assert graph.nodes > 100
    assert graph.compile_seconds > 0


@pytest.mark.slow
def test_inductors_own_random_numbers_agree_in_distribution(float64):
    model = LinearGaussian()
    elbo = TraceMI_ELBO(channel="sample")
    own = compiled(elbo, model.model, model.guide, backend="inductor", eager_random=False)
    x = model.data(4000)
    with torch.no_grad():
        terms = own.terms(x)
    assert own.fallback is None
    expected = elbo.terms(model.model, model.guide, x)
    assert terms["mi"] != expected["mi"]  # other draws
    assert abs(terms["mi"] / 4000 - model.information()) < 0.1
    assert abs(terms["log_likelihood"] - expected["log_likelihood"]) / 4000 < 0.15


@pytest.mark.slow
def test_random_numbers_of_no_use_are_drawn_all_the_same(float64):
    # The guide's own noise in the dual pass; a backend drops what nothing depends on.
    elbo = TraceMI_ELBO(channel="mean", codes="c", num_dual_particles=2)
    assert_same(elbo, small_vae(), [images()], backend="aot_eager")


@pytest.mark.slow
def test_a_convolutional_vae(float64):
    vae = small_vae(encoder="conv", decoder="conv", image_shape=(16, 16))
    elbo = TraceMI_ELBO(channel="straight-through", codes="c")
    assert_same(elbo, vae, [torch.rand(3, 16, 16).round()], tolerance=1e-8)


@pytest.mark.parametrize("base", [TraceMeanField_ELBO, Trace_ELBO, TraceGraph_ELBO])
def test_the_linear_gaussian(float64, base):
    model = LinearGaussian()
    assert_same(TraceMI_ELBO(channel="sample", elbo=base()), model, [model.data(7)])


@pytest.mark.slow
def test_several_particles_and_samples(float64):
    model = GaussianBernoulli()
    base = TraceMeanField_ELBO(num_particles=2)
    elbo = TraceMI_ELBO(
        channel="straight-through", elbo=base, num_dual_particles=2, num_dual_samples=3
    )
    assert_same(elbo, model, [torch.ones(4, 3)])


@pytest.mark.parametrize("channel", ["sample", "sleep"])
def test_discrete_codes(float64, channel):
    bits = Bits(order="c,z")
    elbo = TraceMI_ELBO(channel=channel, codes="c", elbo=Trace_ELBO(), num_dual_particles=2)
    assert_same(elbo, bits, [bits.data(5)])


def test_what_tracks_dependencies_runs_eagerly(float64):
    bits = Bits(order="c,z")
    elbo = TraceMI_ELBO(channel="sample", codes="c", elbo=TraceGraph_ELBO())
    function = compiled(elbo, bits.model, bits.guide)
    with pytest.warns(UserWarning, match="TraceGraph_ELBO follows the dependencies of draws"):
        function(bits.data(5))


@pytest.mark.slow
def test_pyros_own_elbos(float64):
    model = LinearGaussian()
    x = model.data(7)
    for elbo in (Trace_ELBO(), TraceMeanField_ELBO(num_particles=2)):
        assert_same(elbo, model, [x])
    with pytest.raises(ValueError, match=r"with a differentiable_loss, found .*RenyiELBO"):
        compile_elbo(RenyiELBO(), model.model, model.guide)


def test_an_enumerated_label_runs_eagerly(float64):
    bits = Bits(order="c")
    guide = pyro.infer.config_enumerate(bits.guide)
    elbo = TraceMI_ELBO(channel="sample", elbo=TraceEnum_ELBO(max_plate_nesting=1))
    function = compiled(elbo, bits.model, guide)
    x = bits.data(5)
    with pytest.warns(UserWarning, match="TraceEnum_ELBO reads values of tensors"):
        function(x)
    parameters = list(bits.parameters())
    eager = evaluate(lambda: elbo.differentiable_loss(bits.model, guide, x), parameters)
    torch.testing.assert_close(evaluate(lambda: function(x), parameters), eager)


def test_terms_and_values_without_gradients(float64):
    vae = small_vae()
    x = images()
    elbo = TraceMI_ELBO(channel="mean", codes="c", mi_weight=0.0)
    function = compiled(elbo, vae.model, vae.guide)
    torch.manual_seed(1)
    expected = elbo.terms(vae.model, vae.guide, x)
    torch.manual_seed(1)
    terms = function.terms(x)
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].detach(), value.detach())
        assert terms[name].requires_grad == (name == "loss")
    with torch.no_grad():
        assert not function(x).requires_grad
    assert len(function.graphs) == 2  # with and without gradients; the call above


def test_equal_weights_are_different_inputs(float64):
    vae = Pair()
    x = torch.randn(4, 3)
    elbo = TraceMI_ELBO(channel="mean", codes="c", mi_weight=1.0, kl_weight=1.0)
    function = compiled(elbo, vae.model, vae.guide)
    function(x)
    for elbo.mi_weight, elbo.kl_weight, scale in ((1.0, 1.0, 0.25), (1.0, 3.0, 1.0), (2.0, 1.0, 1)):
        torch.manual_seed(1)
        terms, loss = function.scaled_terms((x,), {}, scale=scale)
        torch.manual_seed(1)
        expected = elbo.differentiable_loss(vae.model, vae.guide, x)
        torch.testing.assert_close(loss, scale * expected)
        torch.testing.assert_close(terms["loss"], expected.detach())
    assert len(function.graphs) == 1


@pytest.mark.slow
def test_weights_are_inputs_of_one_graph(float64):
    vae = small_vae()
    x = images()
    elbo = TraceMI_ELBO(channel="mean", codes="c", mi_weight=lambda s: 0.5 * s, kl_weight=2.0)
    function = compiled(elbo, vae.model, vae.guide)
    for step in (1, 2, 3):
        elbo.step = step
        torch.manual_seed(step)
        ours = function(x)
        torch.manual_seed(step)
        torch.testing.assert_close(ours, elbo.differentiable_loss(vae.model, vae.guide, x))
    assert len(function.graphs) == 1
    elbo.step = 0  # the number 0 leaves the dual pass out: another program
    function(x)
    assert len(function.graphs) == 2


@pytest.mark.slow
def test_single_precision_weights_do_not_promote():
    vae = small_vae()
    elbo = TraceMI_ELBO(channel="mean", codes="c", mi_weight=0.3, kl_weight=1.7)
    function = assert_same(elbo, vae, [images()], tolerance=1e-5)
    assert function(images()).dtype == torch.float32


@pytest.mark.slow
def test_a_new_shape_compiles_once_and_an_old_one_never_again(float64):
    vae = small_vae()
    counter = CompileCounterWithBackend("aot_eager")
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    function = compiled(elbo, vae.model, vae.guide, backend=counter)
    optimizer = torch.optim.Adam(function.parameters(), lr=1e-3)
    for _ in range(3):
        for count in (6, 6, 4):
            function(images(count)).backward()
            optimizer.step()
            optimizer.zero_grad()
    # Once in a process Dynamo compiles an empty graph of its own, too.
    assert sum(len(module.graph.nodes) > 0 for module in counter.graphs) == 2
    assert len(function.graphs) == 2
    assert [graph.shapes for graph in function.graphs] == [[(6, 8, 8)], [(4, 8, 8)]]


@pytest.mark.slow
def test_too_many_shapes_warn_once_and_run_eagerly(float64):
    vae = small_vae()
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    function = compiled(elbo, vae.model, vae.guide, max_graphs=2)
    function(images(1)), function(images(2))
    with pytest.warns(UserWarning, match="2 graphs were compiled.*raise max_graphs"):
        function(images(3))
    torch.manual_seed(0)
    ours = function(x := images(4))
    torch.manual_seed(0)
    x = images(4)
    assert ours.detach() == elbo.differentiable_loss(vae.model, vae.guide, x).detach()
    assert len(function.graphs) == 2


def branching(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1))
        loc = z if z.sum() > 0 else -z
        pyro.sample("x", dist.Normal(loc, 1), obs=x)


def reading(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1))
        pyro.sample("x", dist.Normal(z * z[0].item(), 1), obs=x)


def simple_guide(x):
    loc = pyro.param("loc", torch.zeros(()))
    scale = pyro.param("scale", torch.ones(()), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc + 0 * x, scale))


def simple_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1))
        pyro.sample("x", dist.Normal(z, 1), obs=x)


def test_a_program_that_depends_on_values_runs_eagerly_with_the_reason(float64):
    model = branching
    reason = "depends on the value of a tensor"
    elbo = TraceMI_ELBO(channel="sample")
    function = compiled(elbo, model, simple_guide)
    x = torch.ones(3)
    with pytest.warns(UserWarning, match=f"run in eager mode.*{reason}"):
        function(x)
    assert reason in function.fallback
    torch.manual_seed(2)
    expected = elbo.differentiable_loss(model, simple_guide, x)
    torch.manual_seed(2)
    assert function(x) == expected  # and no second warning, which would be an error


@pytest.mark.slow
def test_a_program_that_only_reads_values_is_recorded(float64):
    elbo = TraceMI_ELBO(channel="sample")
    function = compiled(elbo, reading, simple_guide)
    x = torch.ones(3)
    for seed in (1, 2):
        torch.manual_seed(seed)
        ours = function(x)
        torch.manual_seed(seed)
        torch.testing.assert_close(ours, elbo.differentiable_loss(reading, simple_guide, x))
    assert function.fallback is None


@pytest.mark.slow
def test_a_missing_compiler_means_replayed_operations(float64):
    from torch._inductor import config
    from torch._inductor.utils import fresh_inductor_cache

    model = LinearGaussian()
    function = compiled(Trace_ELBO(), model.model, model.guide, backend="inductor")
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        fresh_inductor_cache(),
        pytest.warns(UserWarning, match=r"the backend can't compile.*C\+\+ compiler.*one by one"),
    ):
        assert_same_loss(function, model)
    assert function.fallback is None
    assert not function.graphs[0].compiled


def assert_same_loss(function, model):
    x = model.data(3)
    torch.manual_seed(1)
    expected = function.elbo.differentiable_loss(model.model, model.guide, x)
    torch.manual_seed(1)
    torch.testing.assert_close(function(x), expected)


def test_recorded_operations_need_no_compiler(float64, monkeypatch):
    monkeypatch.delattr(torch, "compile")
    elbo = TraceMI_ELBO(channel="straight-through", codes="c", mi_weight=0.7, kl_weight=1.3)
    function = assert_same(elbo, small_vae(prior="uniform"), [images()], backend=None)
    assert not function.graphs[0].compiled
    with pytest.raises(ValueError, match="mode='max-autotune' is for the backend 'inductor'"):
        compile_elbo(elbo, small_vae().model, small_vae().guide, backend=None, mode="max-autotune")


def test_a_check_leaves_nothing_behind(float64):
    model = LinearGaussian()
    function = compiled(TraceMI_ELBO(channel="sample"), model.model, model.guide, backend=None)
    x = model.data(7)
    before = torch.get_rng_state()
    function.check((x,), {})
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in function.parameters())


def test_errors_of_the_program_are_its_own(float64):
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        compiled(Trace_ELBO(), broken, simple_guide)(torch.ones(3))
    with pytest.raises(ValueError, match="max_graphs must be at least 1, found 0"):
        compile_elbo(Trace_ELBO(), simple_model, simple_guide, max_graphs=0)
    with pytest.raises(ValueError, match="mode='max-autotune' is for the backend 'inductor'"):
        compile_elbo(Trace_ELBO(), simple_model, simple_guide, backend="eager", mode="max-autotune")


def test_functions_with_parameters_in_the_store(float64):
    elbo = TraceMI_ELBO(channel="sample")
    function = compiled(elbo, simple_model, simple_guide)
    x = torch.randn(20)
    function(x)
    leaves = [p.unconstrained() for p in (pyro.param("loc"), pyro.param("scale"))]
    eager = evaluate(lambda: elbo.differentiable_loss(simple_model, simple_guide, x), leaves)
    ours = evaluate(lambda: function(x), leaves)
    torch.testing.assert_close(ours, eager)
    assert all(g is not None for g in ours[1])
    # Another parameter under the name, and another constraint on it.
    pyro.get_param_store().clear()
    pyro.param("loc", torch.tensor(3.0))
    pyro.param("scale", torch.tensor(2.0), constraint=constraints.greater_than(1.0))
    leaves = [p.unconstrained() for p in (pyro.param("loc"), pyro.param("scale"))]
    eager = evaluate(lambda: elbo.differentiable_loss(simple_model, simple_guide, x), leaves)
    torch.testing.assert_close(evaluate(lambda: function(x), leaves), eager)
    assert len(function.graphs) == 2


class Constrained(PyroModule):
    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(2.0), constraint=constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * x, self.scale))


class Decoding(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 3)
        self.register_buffer("shift", torch.zeros(()))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Normal(torch.zeros(2), 1).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(c) + self.shift, 1.0).to_event(1), obs=x)


class Encoding(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 2)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Normal(self.encoder(x), 0.5).to_event(1))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.guide = Decoding(), Encoding()


@pytest.mark.slow
def test_what_changes_is_noticed(float64, caplog):
    vae = Pair()
    x = torch.randn(4, 3)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    function = compiled(elbo, vae.model, vae.guide)

    def check(graphs):
        parameters = list(vae.parameters())
        eager = evaluate(lambda: elbo.differentiable_loss(vae.model, vae.guide, x), parameters)
        ours = evaluate(lambda: function(x), parameters)
        torch.testing.assert_close(ours[0], eager[0])
        assert [g is None for g in ours[1]] == [g is None for g in eager[1]]
        assert len(function.graphs) == graphs

    check(1)
    vae.guide.encoder = Pair().guide.encoder
    with caplog.at_level(logging.INFO):
        check(2)
    assert "captured again: ['encoder'] changed" in caplog.text
    vae.model.decoder.requires_grad_(False)
    check(3)
    vae.model.decoder.bias = nn.Parameter(torch.ones(3))
    check(4)
    vae.model.decoder.register_parameter("more", nn.Parameter(torch.ones(1)))
    check(5)
    vae.model.shift = vae.model.shift + 1
    check(6)
    vae.guide = function.guide = Pair().guide
    check(7)
    elbo.num_dual_particles = 2
    check(8)
    with torch.no_grad():  # what an optimiser does is no change of the program
        vae.guide.encoder.weight.mul_(0.5)
    check(8)


@pytest.mark.slow
def test_a_changed_constraint_of_a_module_is_noticed(float64):
    guide = Constrained()
    function = compiled(TraceMI_ELBO(channel="sample"), simple_model, guide)
    x = torch.randn(5)
    before = function(x)
    guide.scale = PyroParam(torch.tensor(2.0), constraint=constraints.greater_than(1.5))
    torch.manual_seed(1)
    after = function(x)
    torch.manual_seed(1)
    expected = function.elbo.differentiable_loss(simple_model, guide, x)
    torch.testing.assert_close(after, expected)
    after.backward()
    assert guide.scale_unconstrained.grad is not None
    assert before != after
    assert len(function.graphs) == 2


class Normalised(nn.Module):
    """A guide with batch normalisation, whose buffers every call changes."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.norm(x[:, None])[:, 0], 1.0))


@pytest.mark.slow
def test_buffers_change_as_in_eager_mode(float64):
    x = 3 + torch.randn(10)
    elbo = TraceMI_ELBO(channel="sleep")
    guides = [Normalised(), Normalised()]
    function = compiled(elbo, simple_model, guides[0])
    for mode in (True, True, False):
        for guide in guides:
            guide.train(mode)
        torch.manual_seed(3)
        ours = function(x)
        torch.manual_seed(3)
        torch.testing.assert_close(ours, elbo.differentiable_loss(simple_model, guides[1], x))
    for ours, theirs in zip(guides[0].buffers(), guides[1].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (
        guides[0].norm.num_batches_tracked == 2
    )  # one in each step: the dual pass leaves no trace
    assert len(function.graphs) == 2


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.register_buffer("average", torch.zeros(()))

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.mean()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + self.shift, 1.0))


def test_replaced_buffers_are_refused(float64):
    guide = Counting()
    function = compiled(Trace_ELBO(), simple_model, guide)
    with pytest.warns(UserWarning, match=r"new tensors in the place of its buffers \['average'\]"):
        function(torch.ones(4))
    assert guide.average == pytest.approx(0.1)  # the one call that counts


@pytest.mark.slow
def test_gradients_are_scaled_and_given_once(float64):
    model = LinearGaussian()
    x = model.data(5)
    function = compiled(TraceMI_ELBO(channel="sample"), model.model, model.guide)
    parameters = list(model.parameters())
    once = evaluate(lambda: function(x), parameters)
    thrice = evaluate(lambda: 3 * function(x), parameters)
    for a, b in zip(once[1], thrice[1], strict=True):
        if a is not None:
            torch.testing.assert_close(3 * a, b)
    loss = function(x)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="given once: call it again"):
        loss.backward()


@pytest.mark.slow
def test_data_that_want_a_gradient(float64):
    model = LinearGaussian()
    x = model.data(5).requires_grad_()
    assert_same(TraceMI_ELBO(channel="sample"), model, [x])
    elbo = Trace_ELBO()
    function = compiled(elbo, model.model, model.guide)
    ours = evaluate(lambda: function(x), [x])
    eager = evaluate(lambda: elbo.differentiable_loss(model.model, model.guide, x), [x])
    torch.testing.assert_close(ours, eager)


def test_arguments_that_share_memory_are_another_program(float64):
    def model(x, y):
        simple_model(x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(y * pyro.param("a", torch.tensor(0.5)), 1.0))

    elbo = TraceMI_ELBO(channel="sample")
    function = compiled(elbo, model, guide)
    x = torch.randn(5)
    for args in ((x, x), (x, x.clone()), (x, x)):
        torch.manual_seed(1)
        ours = function(*args)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, elbo.differentiable_loss(model, guide, *args))
    assert len(function.graphs) == 2


def test_a_constant_argument_is_part_of_the_program(float64):
    def model(x, scale=1.0):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1))
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    def guide(x, scale=1.0):
        simple_guide(x)

    function = compiled(Trace_ELBO(), model, guide)
    x = torch.randn(5)
    values = []
    for scale in (1.0, 2.0, 1.0):
        torch.manual_seed(1)
        values.append(function(x, scale=scale).detach())
    assert values[0] == values[2] != values[1]
    assert len(function.graphs) == 2


@pytest.mark.slow
def test_a_subsampled_plate(float64):
    model = LinearGaussian()
    sub = model.subsampled(4)
    x = model.data(12)
    elbo = TraceMI_ELBO(channel="sample")
    pair = (sub.model, sub.guide) if hasattr(sub, "model") else sub
    assert_same(elbo, model, [x], model=pair[0], guide=pair[1])


@pytest.mark.slow
def test_mixed_precision_is_captured():
    vae = small_vae()
    x = images(32)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    function = compiled(elbo, vae.model, vae.guide)
    parameters = list(vae.parameters())
    full = evaluate(lambda: function(x), parameters)
    with torch.autocast("cpu", torch.bfloat16):
        ours = evaluate(lambda: function(x), parameters)
        eager = evaluate(lambda: elbo.differentiable_loss(vae.model, vae.guide, x), parameters)
    assert len(function.graphs) == 2
    assert ours[0].dtype == torch.float32
    assert ours[0] != full[0]
    torch.testing.assert_close(ours[0], eager[0], rtol=1e-3, atol=0)
    for a, b in zip(ours[1], eager[1], strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


@pytest.mark.slow
def test_fit_compiled_trains_as_eager_does(float64, tmp_path):
    x = torch.randn(24, 3)
    histories = []
    for compile_it in (False, True):
        torch.manual_seed(0)
        vae = Pair()
        elbo = TraceMI_ELBO(channel="mean", codes="c", mi_weight=lambda s: s / 10)
        histories.append(
            fit(vae.model, vae.guide, elbo, x, steps=9, batch_size=8, device="cpu", log_every=3,
                precision="64-true", progress=False, compile=compile_it)
        )  # fmt: skip
    eager, ours = (history.rows for history in histories)
    assert len(eager) == len(ours) == 3
    for a, b in zip(eager, ours, strict=True):
        numbers = {name: value for name, value in a.items() if isinstance(value, float)}
        assert {"loss", "kl", "log_likelihood"} <= set(numbers)
        assert {name: b[name] for name in numbers} == pytest.approx(numbers, rel=1e-7)


@pytest.mark.slow
def test_fit_takes_what_was_compiled_for_a_pair_that_is_trained_anew(float64):
    x = torch.randn(24, 3)
    vae, elbo = Pair(), TraceMI_ELBO(channel="mean", codes="c", mi_weight=0.5)
    function = compiled(elbo, vae.model, vae.guide)
    settings = {"steps": 6, "batch_size": 8, "device": "cpu", "precision": "64-true"}
    found = []
    for seed, compile_it in ((0, False), (0, function), (1, function)):
        torch.manual_seed(seed)
        vae.load_state_dict(Pair().state_dict())
        history = fit(vae.model, vae.guide, elbo, x, **settings, progress=False, compile=compile_it)
        found.append(history.rows[-1]["loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert abs(found[2] - found[0]) > 1e-3
    assert len(function.graphs) == 1
    other = TraceMI_ELBO(channel="mean", codes="c", mi_weight=0.5)
    with pytest.raises(ValueError, match="of this model, guide and ELBO, found that of others"):
        fit(vae.model, vae.guide, other, x, **settings, progress=False, compile=function)
