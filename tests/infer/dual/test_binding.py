"""Where x' goes among the guide's arguments."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import NATS, bit_guide, bit_model, copy_bit, read_bit
from pyro import poutine
from torch import nn

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.infer.dual.binding import Binding, argument_of
from pyro_mivae.infer.dual.channel import generate
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.infer.dual.views import (
    is_part,
    is_view,
    part_writer,
    whole_writer,
)
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def bind(model, guide, *args, data_args=None, observed=(), **kwargs):
    """The generated data and the guide's new arguments."""
    forward = generate(model, args, kwargs, channel="sample", observed=observed)
    call = Call(model, guide, args, kwargs)
    new_args, new_kwargs = Binding(data_args)(forward, forward.generated, call, PairMemory())
    return forward.generated, new_args, new_kwargs


def observe(value, name="x"):
    """Draws x' for `value` from a continuous distribution, so that each number is distinct."""
    pyro.sample(name, dist.Normal(torch.zeros_like(value), 1.0).to_event(value.dim()), obs=value)


def nothing(*args, **kwargs):
    """A guide with any arguments."""


# Views.


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x.reshape(-1, 4),
        lambda x: x.view(6, 2, 2),
        lambda x: x[None],
        lambda x: x.detach(),
        lambda x: x.squeeze(),
        lambda x: x.to(x.dtype),
    ],
)
def test_argument_is_a_view_of_the_observed_value(view):
    x = torch.randn(6, 1, 2, 2)
    generated, (found,), _ = bind(lambda x: observe(view(x)), nothing, x)
    assert found.shape == x.shape
    assert torch.equal(view(found), generated["x"])
    assert torch.equal(x, x.clone())


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize(
    "part",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x.permute(2, 0, 1),
        lambda x: x[:, 1:3],
        lambda x: x[..., 0],
        lambda x: x[::2],
        lambda x: x[3],
        lambda x: x.diagonal(),
        lambda x: x.unfold(0, 2, 2),
    ],
)
def test_observed_value_is_a_part_of_the_argument(part, offset):
    """x' is written in its place, the rest stays; also if the argument is a slice itself."""
    data = torch.randn(12, 4, 5)
    x, before = data[offset : offset + 6], data.clone()
    generated, (found,), _ = bind(lambda x: observe(part(x)), nothing, x)
    assert found.shape == x.shape
    assert torch.equal(part(found), generated["x"])
    assert torch.equal(data, before)
    rest = torch.ones_like(x, dtype=torch.bool)
    part(rest).fill_(False)
    assert torch.equal(found[rest], x[rest])


def test_gradient_flows_through_each_kind_of_place():
    x = torch.randn(3, 4)
    for original, leaf in [(x.view(12), x), (x.T, x), (x[:, 1], x)]:
        write = (
            whole_writer(original, leaf) if is_view(original, leaf) else part_writer(original, leaf)
        )
        value = torch.randn(original.shape, requires_grad=True)
        (slope,) = torch.autograd.grad(write(leaf, value).sum(), value)
        assert torch.equal(slope, torch.ones_like(value))


def test_what_is_no_view():
    x = torch.randn(4, 4)
    assert is_view(x.view(16), x)
    assert is_view(x, x.view(2, 8))
    assert not is_view(x, x.clone())
    assert not is_view(x[:2], x)
    assert not is_view(x[:2].reshape(2, 4), x[2:])
    assert not is_view(x, x.view(torch.int64))
    assert not is_view(x.view(16)[::2], x.view(16)[:8])
    assert not is_part(x[:1].expand(3, 4), x)
    assert not is_view(torch.zeros(0), torch.zeros(0))


def test_every_match_is_replaced_and_nothing_else():
    x, y = torch.randn(3), torch.randn(3)
    batch = {"image": x, "other": [y, x.view(3, 1)], "text": "a"}
    generated, (found, number), kwargs = bind(
        lambda batch, number, again=None: observe(batch["image"]), nothing, batch, 3, again=x
    )
    assert torch.equal(found["image"], generated["x"])
    assert torch.equal(found["other"][1][:, 0], generated["x"])
    assert torch.equal(kwargs["again"], generated["x"])
    assert (found["other"][0], found["text"], number) == (y, "a", 3)
    assert batch["image"] is x


@pytest.mark.parametrize("keyword", [True, False])
def test_keyword_arguments(keyword):
    x = torch.zeros(5)
    args, kwargs = ((), {"x": x}) if keyword else ((x,), {})
    found = DualPass(channel="sample", codes=None, observed=(), data_args=None)(
        Call(bit_model, bit_guide, args, kwargs)
    )
    torch.testing.assert_close(found.value, torch.tensor(NATS * 5))


def test_two_sites_at_one_argument():
    def model(x):
        observe(x, "x")
        observe(x, "again")

    x = torch.randn(3)
    with pytest.raises(
        ValueError, match=r"'x' and 'again' are observed at the same .*'again': None"
    ):
        bind(model, nothing, x)
    generated, (found,), _ = bind(model, nothing, x, data_args={"again": None})
    assert torch.equal(found, generated["x"])


def test_two_parts_of_one_argument():
    def model(x):
        observe(x[:, :2], "left")
        observe(x[:, 2:], "right")

    generated, (found,), _ = bind(model, nothing, torch.randn(3, 5))
    assert torch.equal(found, torch.cat([generated["left"], generated["right"]], -1))


# Subsampled plates.


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("order", [("data", "other"), ("other", "data")])
def test_subsample_goes_back_to_its_indices(size, order):
    """Also in the second call, where the argument is remembered."""
    values = {"data": torch.randn(8, 2), "other": torch.randn(8, 2)}

    def model(data, other):
        with pyro.plate("all", 8, subsample_size=size) as indices:
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=data[indices])

    binding, memory = Binding(), PairMemory()
    for _ in range(2):
        kwargs = {name: values[name] for name in order}
        forward = generate(model, (), kwargs, channel="sample")
        _, found = binding(forward, forward.generated, Call(model, nothing, (), kwargs), memory)
        indices = forward.trace.nodes["all"]["value"]
        rest = torch.ones(8, dtype=torch.bool).index_fill(0, indices, False)
        assert torch.equal(found["data"][indices], forward.generated["x"])
        assert torch.equal(found["data"][rest], values["data"][rest])
        assert found["other"] is values["other"]


def test_subsampled_argument_is_looked_for_once(monkeypatch):
    """Comparing values waits for the device."""
    x, binding, memory = torch.randn(8), Binding(), PairMemory()

    def model(x):
        with pyro.plate("all", 8, subsample_size=3) as indices:
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[indices])

    for _ in range(2):
        forward = generate(model, (x,), {}, channel="sample")
        (found,), _ = binding(forward, forward.generated, Call(model, nothing, (x,)), memory)
        assert (found != x).sum() == 3
        monkeypatch.setattr(torch, "equal", None)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32, torch.float64])
def test_draws_have_the_type_of_the_argument(dtype):
    """Poisson's draws are floating, whatever the data's type; a guide may index by its data."""

    def model(x):
        with pyro.plate("all", 8, subsample_size=3) as indices:
            pyro.sample("x", dist.Poisson(50 * torch.ones(3)), obs=x[indices])

    _, (found,), _ = bind(model, nothing, torch.arange(8).to(dtype))
    assert found.dtype == dtype
    assert (found > 10).sum() == 3


def test_a_copy_of_the_data_is_asked_for():
    """svi.step(x, x.clone()): whichever the guide reads, it must not be the real data."""

    def model(target, source):
        with pyro.plate("all", 8, subsample_size=3) as indices:
            copy_bit(target[indices])

    def guide(target, source):
        with pyro.plate("all", 8, subsample_size=3) as indices:
            read_bit(source[indices])

    x = torch.rand(8).round()
    call = Call(model, guide, (x, x.clone()))
    with pytest.raises(
        ValueError, match=r"reads the argument 'source'.*data_args=\{'x': 'source'\}"
    ):
        DualPass(channel="sample", codes=None, observed=(), data_args=None)(call)
    dual = DualPass(channel="sample", codes=None, observed=(), data_args={"x": "source"})
    torch.testing.assert_close(dual(call).value, torch.tensor(NATS * 8))


def test_a_covariate_that_equals_the_data_in_a_subsample_is_left_alone():
    """A rare binary column: most subsamples of data and covariate are all 0."""
    x, rare = torch.zeros(40), torch.zeros(40)
    x[3] = rare[5] = 1.0

    def model(rare, x):
        with pyro.plate("all", 40, subsample_size=4) as indices:
            pyro.sample("x", dist.Bernoulli(0.9), obs=x[indices])

    for _ in range(5):
        _, arguments, _ = bind(model, nothing, rare, x)
        assert torch.equal(arguments[0], rare)
        assert arguments[1].sum() > 1


def test_data_with_nan_are_found_at_their_indices():
    x = torch.randn(8)
    x[2] = torch.nan

    def model(x):
        with pyro.plate("all", 8, subsample_size=8) as indices:
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[indices])

    generated, (argument,), _ = bind(model, nothing, x)
    assert not argument.isnan().any()
    assert torch.equal(argument.sort()[0], generated["x"].sort()[0])


def test_data_in_another_number_type_are_found():
    """obs=counts.float() is no view, but the argument's numbers; a transformed one is not."""

    def model(counts, scale=1.0):
        pyro.sample(
            "x", dist.Poisson(torch.full((8,), 50.0)).to_event(1), obs=counts.double() / scale
        )

    generated, (argument,), _ = bind(model, nothing, torch.arange(8))
    assert argument.dtype == torch.int64
    assert torch.equal(argument.double(), generated["x"])
    with pytest.raises(ValueError, match="no argument is the value observed at 'x'"):
        bind(model, nothing, torch.arange(8), scale=2.0)


@pytest.mark.parametrize(
    "table",
    [
        torch.arange(40.0).reshape(4, 10).T,
        torch.arange(80.0).reshape(10, 8)[:, ::2],
        torch.arange(40.0).reshape(2, 10, 2).permute(1, 0, 2).flatten(1).T.contiguous().T,
    ],
    ids=["column-major", "every second column", "permuted"],
)
def test_parts_of_arguments_that_are_not_contiguous(table):
    def model(table):
        with pyro.plate("data", 10):
            z = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            pyro.sample("x", z, obs=table[:, 1:3])

    before = table.clone()
    generated, (argument,), _ = bind(model, nothing, table)
    assert torch.equal(argument[:, 1:3], generated["x"].to(table.dtype))
    assert torch.equal(argument[:, [0, 3]], before[:, [0, 3]])
    assert torch.equal(table, before)
    assert argument.stride() == table.stride() or argument.numel() == table.numel()


def test_another_part_of_the_same_storage_is_no_part_of_an_argument():
    """Every second column is the argument; the data are the columns between."""
    storage = torch.arange(80.0).reshape(10, 8)

    def model(table):
        pyro.sample("x", dist.Normal(torch.zeros(10), 1.0).to_event(1), obs=storage[:, 3])

    with pytest.raises(ValueError, match="no argument is the value observed at 'x'"):
        bind(model, nothing, storage[:, ::2])


def test_data_with_fewer_dimensions_than_their_plates_are_asked_for():
    def model(x):
        with pyro.plate("data", 5):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x.mean())

    with pytest.raises(ValueError, match="no argument is the value observed at 'x'"):
        bind(model, nothing, torch.randn(5))


def test_subsample_of_a_reshaped_argument():
    """The argument holds images, the site observes rows of pixels of a subsample."""

    def model(images):
        with pyro.plate("all", 6, subsample_size=2) as indices:
            flat = images[indices].reshape(-1, 4)
            pyro.sample("x", dist.Normal(torch.zeros(4), 1.0).to_event(1), obs=flat)

    images = torch.randn(6, 2, 2)
    generated, (found,), _ = bind(model, nothing, images)
    changed = (found != images).flatten(1).any(1)
    assert torch.equal(found[changed].flatten(1).sort(0)[0], generated["x"].sort(0)[0])


# Said explicitly.


def binarised(x):
    bit_model((x > 0.5).double())


@pytest.mark.parametrize("argument", ["image", 0])
def test_data_args_by_name_and_position(argument):
    def guide(image, other=None):
        bit_guide(image)

    x = torch.rand(5)
    generated, (found,), _ = bind(binarised, guide, x, data_args={"x": argument})
    assert torch.equal(found, generated["x"])


def test_data_args_reshape_and_scatter():
    def model(x):
        with pyro.plate("all", 6, subsample_size=2) as indices:
            copy_bit((x > 0).double().flatten()[indices])

    x = torch.full((2, 3), 7.0)
    generated, (found,), _ = bind(model, lambda x: None, x, data_args={"x": "x"})
    assert found.shape == x.shape
    assert (found == 7).sum() == 4
    assert torch.equal(found[found != 7].sort()[0], generated["x"].sort()[0])


def test_data_args_as_keyword_that_was_not_passed():
    def guide(x, seen=None):
        bit_guide(seen)

    generated, (first,), kwargs = bind(binarised, guide, torch.rand(5), data_args={"x": "seen"})
    assert torch.equal(kwargs["seen"], generated["x"])
    assert not torch.equal(first, generated["x"])


def test_data_args_none_leaves_the_argument():
    x = torch.zeros(5)
    _, (found,), _ = bind(bit_model, bit_guide, x, data_args={"x": None})
    assert found is x


def test_data_args_as_a_callable():
    """For uint8 images, slices, reversed copies: whatever the guide reads."""

    def model(image):
        bit_model(image / 255.0)

    def guide(image):
        assert image.dtype == torch.uint8
        bit_guide(image / 255.0)

    image = torch.randint(0, 2, (5,), dtype=torch.uint8) * 255

    def back(generated, args, kwargs):
        assert args[0] is image
        return ((generated["x"] * 255).to(torch.uint8),), kwargs

    elbo = DualPass(channel="sample", codes=None, observed=(), data_args=back)
    torch.testing.assert_close(elbo(Call(model, guide, (image,))).value, torch.tensor(NATS * 5))


def test_observations_keyword():
    """The convention of CSIS and ReweightedWakeSleep."""

    def guide(x, observations=None):
        bit_guide(x if observations is None else observations["x"])

    found = DualPass(channel="sample", codes=None, observed=(), data_args=None)(
        Call(binarised, guide, (torch.rand(5),))
    )
    torch.testing.assert_close(found.value, torch.tensor(NATS * 5))


def test_observations_keep_covariates():
    def guide(x, y, observations=None):
        pass

    def model(x, y, observations=None):
        pyro.sample("y", dist.Bernoulli(0.5), obs=y)
        binarised(x)

    given = {"x": torch.zeros(5), "y": torch.ones(())}
    generated, _, kwargs = bind(
        model, guide, torch.rand(5), torch.ones(()), observations=given, observed=("y",)
    )
    assert kwargs["observations"] == {"x": generated["x"], "y": given["y"]}
    assert given["x"] is not generated["x"]


def test_modules_methods_and_wrapped_guides():
    class Guide(nn.Module):
        def forward(self, image):
            bit_guide(image)

        def method(self, image):
            bit_guide(image)

    for guide in (Guide(), Guide().method, poutine.scale(Guide(), scale=1.0)):
        generated, (found,), _ = bind(binarised, guide, torch.rand(5), data_args={"x": "image"})
        assert torch.equal(found, generated["x"])


def test_argument_of():
    x = torch.zeros(3)
    assert argument_of(x, lambda a, b: None, (1, x.view(3, 1)), {}) == "b"
    assert argument_of(x, lambda a, b: None, (1,), {"b": [x]}) == "b"
    assert argument_of(x, lambda a: None, (torch.zeros(3),), {}) is None


# Errors.


def test_impossible_binding_lists_sites_and_arguments_and_the_line_to_write():
    elbo = TraceMI_ELBO(channel="sample", codes="c")
    message = (
        r"no argument is the value observed at 'x' float64 \(5,\), or a view of it "
        r"\(arguments: image: float64 \(5,\), flag: bool\). .* data_args=\{'x': 'image'\}"
    )

    def model(image, flag):
        with pyro.plate("data", 5):
            c = pyro.sample("c", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(c, 1.0), obs=image * 2)

    def guide(image, flag):
        with pyro.plate("data", 5):
            pyro.sample("c", dist.Normal(image, 1.0))

    with pytest.raises(ValueError, match=message):
        elbo.terms(model, guide, torch.rand(5), True)


@pytest.mark.parametrize(
    ("data_args", "message"),
    [
        ({"w": "x"}, "data_args names the site 'w', which the model does not have; its .*'x'"),
        ({"x": "w"}, r"sends site 'x' to 'w', but the guide takes \['x', 'other'\]"),
        ({"x": 4}, r"sends site 'x' to 4, but the guide takes \['x', 'other'\]"),
        ({"x": "other"}, r"shape \(5,\) to the argument 'other' of shape \(7,\): the sizes differ"),
    ],
)
def test_wrong_data_args(data_args, message):
    def guide(x, other):
        bit_guide(x)

    model = lambda x, other: bit_model(x)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        bind(model, guide, torch.zeros(5), torch.zeros(7), data_args=data_args)


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: (x,), lambda x: ((x,), x)])
def test_callable_that_returns_something_else(wrong):
    with pytest.raises(ValueError, match=r"data_args must return \(args, kwargs\), found"):
        bind(bit_model, bit_guide, torch.zeros(2), data_args=lambda g, a, k: wrong(g["x"]))


def test_converted_data_cannot_go_back_unconverted():
    """Grey values in place of bytes would be divided by 255 twice, in silence."""

    def model(image):
        bit_model(image / 255.0)

    image = torch.zeros(5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"float64 .* 'image' \(uint8 .* converts its data"):
        bind(model, lambda image: None, image, data_args={"x": "image"})


def test_shapes_that_differ():
    """A plate that repeats each datum, or a distribution that is broadcast over its data."""

    def particles(x):
        with pyro.plate("particles", 5, dim=-2), pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(c), obs=x)

    def broadcast(x):
        pyro.sample("x", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match=r"shape \(5, 3\), the observed ones \(3,\): .*particles"):
        bind(particles, nothing, torch.zeros(3))
    with pytest.raises(
        ValueError, match=r"'x' have shape \(1,\), .* \(3,\): give the distribution"
    ):
        bind(broadcast, nothing, torch.zeros(3))
