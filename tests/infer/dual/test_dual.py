"""The value of the dual term, against information and bounds that are known."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import (
    NATS,
    Bits,
    LinearGaussian,
    SymmetricChannel,
    UniformChannel,
    bit_guide,
    bit_model,
    copy_bit,
    expectation,
    flat,
    gradients,
    mean_and_error,
    read_bit,
)
from oracles import Bernoulli as ScriptedBernoulli
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import nn

from pyro_mivae.infer import CHANNELS, TraceMI_ELBO
from pyro_mivae.infer.dual.dual_pass import DualPass
from pyro_mivae.traces.call import Call

pytestmark = pytest.mark.usefixtures("float64")


def mi(model, guide, *args, **kwargs):
    """The dual term by itself."""
    options = {"channel": "sample", "codes": None, "observed": (), "data_args": None} | kwargs
    if isinstance(options["codes"], str):
        options["codes"] = {options["codes"]: None}
    return DualPass(**options)(Call(model, guide, args)).value


def average(run, repeats=40):
    return mean_and_error([run().detach() for _ in range(repeats)])


# Bounds that are tight.


def test_linear_gaussian_exact_guide_reaches_the_information():
    oracle = LinearGaussian()
    mean, error = average(lambda: mi(oracle.model, oracle.guide, oracle.data(500)) / 500)
    assert abs(mean - oracle.information()) < 5 * error
    assert error < 0.02 * oracle.information()
    torch.testing.assert_close(oracle.bound(), oracle.information())


def test_any_other_guide_lies_below():
    oracle = LinearGaussian(exact=False)
    information = oracle.information().item()
    mean, error = average(lambda: mi(oracle.model, oracle.guide, oracle.data(500)) / 500)
    assert abs(mean - oracle.bound()) < 5 * error
    assert mean + 5 * error < information


def test_ignored_code_gives_at_most_zero():
    """A decoder that ignores z carries nothing; the guide cannot pretend otherwise."""
    oracle = LinearGaussian(exact=False)
    nn.init.zeros_(oracle.W)
    mean, error = average(lambda: mi(oracle.model, oracle.guide, oracle.data(500)) / 500)
    assert mean < -5 * error
    with torch.no_grad():  # the best guide knows that there is nothing to know
        oracle.A.zero_()
        oracle.a.copy_(oracle.m)
        oracle.L.copy_(torch.diag(oracle.log_t.exp()))
    best = mi(oracle.model, oracle.guide, oracle.data(500))
    torch.testing.assert_close(best.detach(), torch.zeros(()))


@pytest.mark.parametrize("channel", ["sample", "sleep"])
@pytest.mark.parametrize(("symbols", "flip"), [(2, 0.1), (3, 0.3), (10, 0.5)])
def test_symmetric_channel(symbols, flip, channel):
    """log K - H, in nats."""
    oracle, size = SymmetricChannel(symbols, flip), 20_000
    x = torch.zeros(size, dtype=torch.long)
    found = mi(oracle.model, oracle.guide, x, channel=channel) / size
    assert abs(found - oracle.information) < 5 * oracle.deviation / size**0.5


@pytest.mark.parametrize("width", [0.1, 0.5, 1.0])
def test_uniform_noise(width):
    oracle = UniformChannel(width)
    mean, error = average(lambda: mi(oracle.model, oracle.guide, torch.zeros(1000)) / 1000)
    assert abs(mean - oracle.information) < 5 * error
    assert error < 0.01 * oracle.information


# A code that is one of several latents.


@pytest.mark.parametrize("order", ["independent", "c,z", "z,c"])
@pytest.mark.parametrize("z_from_c", [0.0, 1.5])
def test_one_of_two_latents(order, z_from_c):
    """The estimator's expectation, exactly, and that it bounds I(c; x')."""
    oracle = Bits(order, sharpness=1.5, z_from_c=z_from_c)
    run = lambda size: mi(oracle.model, oracle.guide, oracle.data(size), codes="c")  # noqa: E731
    exact = oracle.bound()
    torch.testing.assert_close(expectation(lambda: run(1)), exact)
    assert exact < oracle.information()
    mean, error = average(lambda: run(500) / 500)
    assert abs(mean - exact) < 5 * error


@pytest.mark.parametrize("order", ["c,z", "z,c"])
def test_exact_posterior_over_both_latents(order):
    """q(c|x) of c, then z, is tight; q(c|x, z) at the guide's own z stays below I(c; x'),
    where replaying z too would climb to I(c; x', z)."""
    oracle = Bits(order, data_dim=1)
    with torch.no_grad():
        for name, value in {
            "p_c": 0.3,
            "p_z": -0.2,
            "p_x_c": 4.0,
            "p_x_z": -3.0,
            "p_x": -1.0,
        }.items():
            getattr(oracle, name).fill_(value)
    c, z, x, log_p = oracle.outcomes()

    def joint(**given):
        keep = torch.ones_like(c, dtype=torch.bool)
        for name, value in given.items():
            keep &= {"c": c, "z": z, "x": x[:, 0]}[name] == value
        return log_p.exp()[keep].sum()

    def conditional(name, x, **given):
        table = lambda v: joint(x=v, **given, **{name: 1.0}) / joint(x=v, **given)  # noqa: E731
        return torch.where(x[..., 0] == 1, table(1.0), table(0.0))

    def guide(x):
        with pyro.plate("data", len(x)):
            second = "z" if order == "c,z" else "c"
            first = "c" if order == "c,z" else "z"
            value = pyro.sample(first, dist.Bernoulli(conditional(first, x)))
            given = [conditional(second, x, **{first: v}) for v in (0.0, 1.0)]
            pyro.sample(second, dist.Bernoulli(torch.where(value == 1, given[1], given[0])))

    mean, error = average(lambda: mi(oracle.model, guide, oracle.data(1000), codes="c") / 1000)
    if order == "c,z":
        assert abs(mean - oracle.information()) < 5 * error
    else:
        assert mean + 5 * error < oracle.information() < oracle.information(with_noise=True)
    both = mi(oracle.model, guide, oracle.data(20_000), codes=None) / 20_000
    assert both > oracle.information()  # both as code: I(c, z; x')


def test_model_that_draws_the_code_from_the_noise():
    """log p(c|z) in place of log p(c): still a lower bound, only looser."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            c = pyro.sample("c", dist.Bernoulli(0.3 + 0.4 * z))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.8 * c), obs=x)

    def guide(x):  # exact: p(c = 1) = 0.5
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * x))
            pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(len(x))))

    entropy = lambda p: -p * p.log() - (1 - p) * (1 - p).log()  # noqa: E731
    p, p_given_z = torch.tensor(0.1), torch.tensor(0.3)
    information = torch.tensor(2.0).log() - entropy(p)
    expected = entropy(p_given_z) - entropy(p)
    mean, error = average(lambda: mi(model, guide, torch.zeros(1000), codes="c") / 1000)
    assert abs(mean - expected) < 5 * error
    assert expected < information


def test_shares_follow_the_chain_rule():
    """mi/c + mi/z = mi, and mi/c is the bound of c by itself when the guide draws it first."""

    def terms(codes, order="c,z"):
        oracle = Bits(order)
        pyro.set_rng_seed(3)
        elbo = TraceMI_ELBO(channel="sample", codes=codes, elbo=Trace_ELBO())
        return elbo.terms(oracle.model, oracle.guide, oracle.data(50))

    both, alone = terms(None), terms("c")
    torch.testing.assert_close(both["mi/c"] + both["mi/z"], both["mi"])
    torch.testing.assert_close(both["mi/c"], alone["mi"])
    assert both["mi/z"].abs() > 1
    for order in ("c,z", "z,c"):  # shares come in the guide's order
        sites = [name for name in terms(["c", "z"], order) if name.startswith("mi/")]
        assert sites == [f"mi/{site}" for site in order.split(",")]


# Plates, scales and masks: every draw of the bits below gives NATS for each datum.


def subsampled(read, size):
    def plated(x, body):
        with pyro.plate("all", len(x), subsample_size=size) as indices:
            body(x[indices] if read == "index" else pyro.subsample(x, event_dim=0))

    return lambda x: plated(x, copy_bit), lambda x: plated(x, read_bit)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("batch", [1, 10, 100])
def test_lambda_means_the_same_at_every_batch_size(batch, channel):
    x = torch.rand(batch).round()
    torch.testing.assert_close(
        mi(bit_model, bit_guide, x, channel=channel), torch.tensor(NATS * batch)
    )


@pytest.mark.parametrize("read", ["index", "pyro.subsample"])
@pytest.mark.parametrize("size", [1, 10, 100])
def test_lambda_means_the_same_under_subsampling(size, read):
    model, guide = subsampled(read, size)
    found = mi(model, guide, torch.rand(100).round())
    torch.testing.assert_close(found, torch.tensor(NATS * 100))


def test_loss_weighs_the_dual_as_the_base_under_subsampling():
    model, guide = subsampled("index", 5)

    def loss(weight):
        pyro.set_rng_seed(2)
        elbo = TraceMI_ELBO(channel="sample", mi_weight=weight, elbo=Trace_ELBO())
        return elbo.loss(model, guide, torch.ones(100))

    assert loss(4.0) == pytest.approx(loss(0.0) - 4 * NATS * 100)


@pytest.mark.parametrize("sizes", [(None, None), (2, None), (None, 3), (2, 3)])
@pytest.mark.parametrize("read", ["index", "pyro.subsample"])
def test_nested_plates(sizes, read):
    x = torch.rand(4, 6).round()

    def plated(x, body):
        with (
            pyro.plate("rows", 4, subsample_size=sizes[0], dim=-2) as rows,
            pyro.plate("columns", 6, subsample_size=sizes[1], dim=-1) as columns,
        ):
            body(x[rows][:, columns] if read == "index" else pyro.subsample(x, event_dim=0))

    found = mi(lambda x: plated(x, copy_bit), lambda x: plated(x, read_bit), x)
    torch.testing.assert_close(found, torch.tensor(NATS * 24))


@pytest.mark.parametrize("size", [None, 2])
def test_sequential_plate(size):
    x = torch.rand(5).round()

    def plated(x, body):
        for i in pyro.plate("all", 5, subsample_size=size):
            body(x[i], f"_{i}")

    found = mi(lambda x: plated(x, copy_bit), lambda x: plated(x, read_bit), x)
    torch.testing.assert_close(found, torch.tensor(NATS * 5))


def test_batches_of_a_larger_plate():
    """The usual mini-batch: the plate knows the full size, the argument is the batch."""

    def plated(x, body):
        with pyro.plate("all", 1000, subsample_size=len(x)):
            body(x)

    found = mi(lambda x: plated(x, copy_bit), lambda x: plated(x, read_bit), torch.ones(10))
    torch.testing.assert_close(found, torch.tensor(NATS * 1000))


def test_global_code_counts_once():
    """One bit for all data: scored once, however large the plate and its subsampling scale."""

    def model(x):
        c = pyro.sample("c", dist.Bernoulli(0.5))
        with pyro.plate("all", 100, subsample_size=10) as indices:
            pyro.sample("x", dist.Bernoulli(c), obs=x[indices])

    def guide(x):
        with pyro.plate("all", 100, subsample_size=10) as indices:
            seen = x[indices]
        pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * seen.mean()))

    torch.testing.assert_close(mi(model, guide, torch.ones(100)), torch.tensor(NATS))


def test_inner_plate_without_a_code():
    """A code for each row, seen through each of its columns."""

    def model(x):
        with pyro.plate("rows", 4, dim=-2):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            with pyro.plate("columns", 6, dim=-1):
                pyro.sample("x", dist.Bernoulli(c.expand(4, 6)), obs=x)

    def guide(x):
        with pyro.plate("rows", 4, dim=-2):
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * x.mean(-1, keepdim=True)))

    torch.testing.assert_close(mi(model, guide, torch.ones(4, 6)), torch.tensor(NATS * 4))


def test_scale_weighs_as_in_the_elbo():
    model, guide = (poutine.scale(fn, scale=0.25) for fn in (bit_model, bit_guide))
    torch.testing.assert_close(mi(model, guide, torch.ones(8)), torch.tensor(NATS * 2))


def test_mask_removes_data():
    mask = torch.tensor([True, False, True, True, False])
    model, guide = (poutine.mask(fn, mask=mask) for fn in (bit_model, bit_guide))
    torch.testing.assert_close(mi(model, guide, torch.ones(5)), torch.tensor(NATS * 3))


def test_mask_of_the_distribution():
    mask = torch.tensor([True, False, True, True, False])

    def model(x):
        with pyro.plate("data", len(x)):
            copy_bit(x, prior=dist.Bernoulli(0.5).mask(mask))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * x).mask(mask))

    torch.testing.assert_close(mi(model, guide, torch.ones(5)), torch.tensor(NATS * 3))


@pytest.mark.parametrize("inside", [True, False])
def test_mask_of_a_sliced_code(inside):
    """Three rows (as wide as the site, so that a mask along the wrong dimension would fit)."""
    mask = torch.tensor([[True, False, True], [False, True, True], [True, True, True]])

    def masked(probs):
        fn = dist.Bernoulli(probs)
        return fn.mask(mask).to_event(1) if inside else fn.to_event(1).mask(mask[:, 0])

    def model(x):
        with pyro.plate("data", 3):
            c = pyro.sample("c", masked(torch.full((3, 3), 0.5)))
            pyro.sample("x", dist.Bernoulli(c).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 3):
            pyro.sample("c", masked(0.1 + 0.8 * x))

    found = mi(model, guide, torch.ones(3, 3), codes={"c": slice(0, 2)})
    torch.testing.assert_close(found, torch.tensor(NATS * 4))


# What counts as code.


def pair_model(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
        pyro.sample("x", dist.Bernoulli(c).to_event(1), obs=x)


def pair_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample(
            "c", dist.Bernoulli(torch.stack([0.1 + 0.8 * x[:, 0], x[:, 1] / 2], -1)).to_event(1)
        )


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (None, None),
        (slice(0, 1), NATS),
        (0, NATS),
        ([0], NATS),
        (slice(0, 2), None),
        ([1], None),
        (-1, None),
    ],
)
def test_sliced_code(dims, expected):
    """Each dimension's part is its own bound; all dimensions are the whole site."""
    x = torch.ones(3, 2)

    def value(dims):
        pyro.set_rng_seed(5)
        return mi(pair_model, pair_guide, x, codes={"c": dims})

    whole, first = value(None), torch.tensor(NATS * 3)
    if dims in (None, slice(0, 2)):
        torch.testing.assert_close(value(dims), whole)
    elif expected is None:  # the second dimension
        torch.testing.assert_close(value(dims), whole - first)
    else:
        torch.testing.assert_close(value(dims), first)


def test_slice_equals_the_model_with_two_sites():
    """{"zc": slice(1, 2)} is the code "c" of the same model written with two sites: the exact
    expectation of value and gradient."""
    oracle = Bits("independent", data_dim=1)

    def both(z, c):
        return ScriptedBernoulli(logits=torch.stack([z.logits, c.logits], -1)).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            prior = ScriptedBernoulli(logits=oracle.p_z), ScriptedBernoulli(logits=oracle.p_c)
            zc = pyro.sample("zc", both(*prior))
            pyro.sample("x", oracle.likelihood(zc[..., 1], zc[..., 0]), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("zc", both(oracle.posterior_z(x), oracle.posterior_c(x)))

    term = DualPass(channel="sample", codes={"zc": slice(1, 2)}, observed=(), data_args=None)

    def run():
        found = term(Call(model, guide, (oracle.data(1),)))
        return torch.cat(
            [found.value[None].detach(), flat(gradients(found.differentiable, oracle))]
        )

    expected = oracle.bound()
    expected = torch.cat([expected[None].detach(), flat(gradients(expected, oracle))])
    torch.testing.assert_close(expectation(run), expected)


def test_sliced_code_leaves_the_rest_to_the_guide():
    """The other dimensions take the guide's own draw, not the prior's: seen at a site that
    depends on them."""

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            d = pyro.sample("d", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(torch.stack([c[:, 0], d], -1)).to_event(1), obs=x)

    def guide(x):
        probs = torch.stack([0.1 + 0.8 * x[:, 0], torch.ones(len(x))], -1)  # always draws 1
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(probs).to_event(1))
            right = torch.where(c[:, 1] == 1, 0.9, 0.1)
            pyro.sample("d", dist.Bernoulli(1 - right + (2 * right - 1) * x[:, 1]))

    found = mi(model, guide, torch.ones(6, 2), codes={"c": [0], "d": None})
    torch.testing.assert_close(found, torch.tensor(NATS * 12))


def test_partly_observed_data():
    """obs_mask: the site that holds the data is generated, the other latent stays noise."""
    mask = torch.tensor([True, True, False, True])

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(c), obs=x, obs_mask=mask)

    def guide(x):
        with pyro.plate("data", len(x)):
            read_bit(x)
            with poutine.mask(mask=~mask):
                pyro.sample("x_unobserved", dist.Bernoulli(x / 2))

    found = mi(model, guide, torch.ones(4), codes="c")
    torch.testing.assert_close(found, torch.tensor(NATS * 4))


def test_covariate_keeps_its_data():
    """observed=["y"]: x' is drawn given the data's y, and the guide reads that y."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            y = pyro.sample("y", dist.Bernoulli(0.5), obs=y)
            pyro.sample("x", dist.Bernoulli((c - y).abs()), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * (x - y).abs()))

    x, y = torch.rand(9).round(), torch.rand(9).round()
    for observed in (("y",), ()):  # generated together with x', y' carries as much
        found = mi(model, guide, x, y, observed=observed)
        torch.testing.assert_close(found, torch.tensor(NATS * 9))

    def expects(x, y, seen=y):
        assert torch.equal(y, seen)
        guide(x, y)

    mi(model, expects, x, y, observed=("y",))


def test_several_observed_sites():
    def model(x, w):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            d = pyro.sample("d", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(c), obs=x)
            pyro.sample("w", dist.Bernoulli(d), obs=w)

    def guide(x, w):
        with pyro.plate("data", len(x)):
            pyro.sample("d", dist.Bernoulli(0.1 + 0.8 * w))
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * x))

    found = mi(model, guide, torch.ones(5), torch.zeros(5))
    torch.testing.assert_close(found, torch.tensor(NATS * 10))
    torch.testing.assert_close(
        mi(model, guide, torch.ones(5), torch.zeros(5), codes="d"), torch.tensor(NATS * 5)
    )


def test_auxiliary_guide_latent():
    """A latent of the guide alone: q(c|x', a) at the guide's own a is a bound still."""

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x, 1.0), infer={"is_auxiliary": True})
            logits = 4.0 * (x - 0.5) + 0.3 * a
            pyro.sample("c", dist.Bernoulli(logits=logits))

    mean, error = average(lambda: mi(bit_model, guide, torch.ones(1000)) / 1000)
    a = torch.randn(1_000_000)
    exact = sum(
        dist.Bernoulli(logits=4 * (c - 0.5) + 0.3 * (a + c)).log_prob(torch.tensor(c))
        for c in (0.0, 1.0)
    )
    exact = exact.mean() / 2 + torch.tensor(2.0).log()
    assert abs(mean - exact) < 5 * error + 1e-3
    assert mean < torch.tensor(2.0).log()


def test_model_only_latent_is_drawn_from_the_model():
    """Enumerated by the base, drawn by the dual pass, and no code."""

    @poutine.infer_config(
        config_fn=lambda site: {"enumerate": "parallel"} if site["name"] == "z" else {}
    )
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            z = pyro.sample("z", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
            pyro.sample("x", dist.Normal(c + 10.0 * z, 0.01), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.1 + 0.8 * (x.round() % 10)))

    elbo = TraceMI_ELBO(channel="sample", elbo=TraceEnum_ELBO(max_plate_nesting=1))
    terms = elbo.terms(model, guide, torch.tensor([0.0, 11.0, 20.0]))
    torch.testing.assert_close(terms["mi"], torch.tensor(NATS * 3))
    assert list(terms) == ["elbo", "mi", "mi/c", "loss"]


@pytest.mark.parametrize("family", ["Categorical", "OneHotCategorical", "Bernoulli"])
def test_discrete_codes(family):
    """A noiseless channel of K letters, read with 90 % confidence: log 0.9 K."""
    size = 2 if family == "Bernoulli" else 4

    def code(probs):
        if family == "Bernoulli":
            return dist.Bernoulli(probs[..., 1])
        return getattr(dist, family)(probs)

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", code(torch.full((size,), 1 / size)))
            letter = c.argmax(-1) if family == "OneHotCategorical" else c.long()
            pyro.sample("x", dist.Categorical(torch.eye(size)[letter]), obs=x)

    def guide(x):
        off = 0.1 / (size - 1)
        with pyro.plate("data", len(x)):
            pyro.sample("c", code(torch.eye(size)[x] * (0.9 - off) + off))

    found = mi(model, guide, torch.zeros(7, dtype=torch.long))
    torch.testing.assert_close(found, 7 * torch.tensor(0.9 * size).log())


def test_label_is_dropped_where_it_is_observed():
    def model(x, y=None):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(0.5), obs=y)
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Bernoulli(torch.stack([y, z], -1)).to_event(1), obs=x)

    def guide(x, y=None):
        with pyro.plate("data", len(x)):
            if y is None:
                pyro.sample("y", dist.Bernoulli(0.1 + 0.8 * x[:, 0]))
            pyro.sample("z", dist.Bernoulli(0.1 + 0.8 * x[:, 1]))

    x, y = torch.ones(6, 2), torch.ones(6)
    elbo = TraceMI_ELBO(channel="sample", codes=["y", "z"], elbo=Trace_ELBO())
    labelled, unlabelled = elbo.terms(model, guide, x, y), elbo.terms(model, guide, x)
    torch.testing.assert_close(labelled["mi"], torch.tensor(NATS * 6))
    torch.testing.assert_close(unlabelled["mi"], torch.tensor(NATS * 12))
    assert "mi/y" not in labelled
    only = TraceMI_ELBO(channel="sample", codes="y", elbo=Trace_ELBO())
    assert only.terms(model, guide, x, y)["mi"] == 0
    torch.testing.assert_close(only.terms(model, guide, x)["mi"], torch.tensor(NATS * 6))


def test_label_as_a_required_argument():
    """Whether y is a label that some calls observe, only a call in which it is latent can tell."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(0.5), obs=y)
            pyro.sample("x", dist.Bernoulli(y), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            if y is None:
                pyro.sample("y", dist.Bernoulli(0.1 + 0.8 * x))

    def make():
        return TraceMI_ELBO(channel="sample", codes="y", elbo=Trace_ELBO())

    elbo, x = make(), torch.ones(3)
    torch.testing.assert_close(elbo.terms(model, guide, x, None)["mi"], torch.tensor(NATS * 3))
    assert elbo.terms(model, guide, x, x.clone())["mi"] == 0
    with pytest.raises(
        ValueError, match=r"'y', which is not latent: .* start with a call in which"
    ):
        make().terms(model, guide, x, x.clone())


def test_num_dual_particles_averages():
    calls = []

    def model(x):
        calls.append(1)
        bit_model(x)

    oracle, single = LinearGaussian(exact=False), []
    for particles in (1, 16):
        elbo = TraceMI_ELBO(channel="sample", num_dual_particles=particles)
        values = [elbo.terms(oracle.model, oracle.guide, oracle.data(5))["mi"] for _ in range(60)]
        single.append(torch.stack(values).var())
    assert single[1] < single[0] / 6
    elbo = TraceMI_ELBO(channel="sample", num_dual_particles=3, elbo=Trace_ELBO())
    for _ in range(2):  # the first run has more to find out
        calls.clear()
        torch.testing.assert_close(
            elbo.terms(model, bit_guide, torch.ones(2))["mi"], torch.tensor(NATS * 2)
        )
    assert len(calls) == 1 + 3


def test_vectorised_particles_of_the_base_do_not_multiply_the_term():
    for particles in (1, 7):
        base = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        elbo = TraceMI_ELBO(channel="sample", elbo=base)
        terms = elbo.terms(bit_model, bit_guide, torch.ones(4))
        torch.testing.assert_close(terms["mi"], torch.tensor(NATS * 4))


def test_sequence_with_a_reversed_copy():
    """The structure of Pyro's examples/dmm.py: the guide reads the batch and its reverse."""

    def model(x, backwards):
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                copy_bit(x[:, t], f"_{t}")

    def guide(x, backwards):
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                read_bit((x[:, t] + backwards[:, -1 - t]) / 2, f"_{t}")

    def both(generated, args, kwargs):
        x = torch.stack([generated[f"x_{t}"] for t in range(3)], 1)
        return (x, x.flip(1)), kwargs

    x = torch.rand(5, 3).round()
    found = mi(model, guide, x, x.flip(1), data_args=both)
    torch.testing.assert_close(found, torch.tensor(NATS * 15))


# The warning about guides that ignore their data.


def marked_in_place(x):
    copy = torch.zeros(len(x))
    copy[:] = x
    bit_guide(copy)


@pytest.mark.parametrize(
    "guide",
    [
        bit_guide,
        marked_in_place,
        lambda x: bit_guide(torch.tensor(x.detach().numpy())),
        lambda x: bit_guide(torch.func.vmap(lambda v: v * 1)(x)),
        lambda x: bit_guide(nn.functional.embedding(x.long(), torch.tensor([[0.0], [1.0]]))[:, 0]),
    ],
    ids=["plain", "in place", "numpy", "vmap", "integers"],
)
def test_no_false_warning(guide):
    """(Warnings are errors.)"""
    torch.testing.assert_close(mi(bit_model, guide, torch.zeros(64)), torch.tensor(NATS * 64))


def test_guide_that_cannot_be_followed():
    """Extension code may reject the tensors that follow x': the guide is run again, once."""
    runs = []

    def guide(x):
        runs.append(1)
        if type(x) is not torch.Tensor:
            raise TypeError("only plain tensors")
        bit_guide(x)

    term = DualPass(channel="sample", codes=None, observed=(), data_args=None)
    for expected in (2, 3):
        value = term(Call(bit_model, guide, (torch.zeros(4),))).value
        torch.testing.assert_close(value, torch.tensor(NATS * 4))
        assert len(runs) == expected


def test_warning_once_and_only_of_codes():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(len(x))))

    elbo = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO())
    with pytest.warns(UserWarning, match=r"code sites \['c'\] does not depend .* at most 0"):
        elbo.loss(bit_model, guide, torch.ones(5))
    elbo.loss(bit_model, guide, torch.ones(5))


def test_following_the_data_leaves_no_trace():
    """Nothing that outlives the pass is of the tensor class that followed x'."""
    norm = nn.BatchNorm1d(1)

    def guide(x):
        slope = pyro.param("slope", lambda: x.std() + 1, constraint=dist.constraints.positive)
        shift = pyro.param("shift", x.mean())
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(logits=shift + slope * norm(x[:, None])[:, 0]))

    dual = DualPass(channel="straight-through", codes=None, observed=(), data_args=None)
    terms = dual(Call(bit_model, guide, (torch.rand(5).round(),)))
    terms.differentiable.backward()
    store = pyro.get_param_store()
    kept = [terms.value, terms.differentiable, *terms.per_site.values(), *store._params.values()]
    kept += [*norm.buffers(), *norm.parameters(), *(p.grad for p in norm.parameters())]
    assert {type(t) for t in kept} == {torch.Tensor, nn.Parameter}
    assert store["slope"].unconstrained().grad is not None


def test_dual_pass_draws_after_the_base():
    """The base's random numbers are Pyro's own: the same loss under the same seed."""
    oracle = LinearGaussian()
    pyro.set_rng_seed(1)
    base = Trace_ELBO().loss(oracle.model, oracle.guide, oracle.data(4))
    pyro.set_rng_seed(1)
    terms = TraceMI_ELBO(channel="sample", elbo=Trace_ELBO()).terms(
        oracle.model, oracle.guide, oracle.data(4)
    )
    assert (terms["loss"] + terms["mi"]).item() == pytest.approx(base, abs=1e-10)
