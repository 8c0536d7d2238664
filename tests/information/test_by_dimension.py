"""What every dimension carries, against closed forms: x_d = w_d z_d + noise."""

import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import WEIGHTS, by_dimension_guide
from oracles import by_dimension as model

from pyro_mivae.distributions import LogitNormal
from pyro_mivae.information import (
    aggregate_information,
    kl_per_dimension,
    pairwise_information,
    per_dimension,
)
from pyro_mivae.information.by_dimension import as_lists

X = torch.randn(3000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.usefixtures("float64")


guide = by_dimension_guide()


@pytest.fixture(scope="module")
def measured():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield per_dimension(model, guide, X, channels=("sample", "mean"), aggregate_size=1000)
    torch.set_default_dtype(before)


def near(group, name, expected, reach=5, **selected):
    found = group.sel(**selected) if selected else group
    error = found[f"{name}_se"].values
    difference = np.abs(found[name].values - np.asarray(expected))
    assert (difference <= reach * error + 1e-9).all(), (found[name].values, expected, error)


def test_bound_and_kl(measured):
    information = 0.5 * torch.log(1 + WEIGHTS**2)
    near(measured, "mi_z", information, channel="sample")
    score = measured["mi_z"].sel(channel="mean").values
    assert score[2] > information[2] + 0.3
    precision = 1 + WEIGHTS**2
    kl = 0.5 * ((WEIGHTS * X / precision) ** 2 + 1 / precision - 1 + precision.log())
    np.testing.assert_allclose(measured["kl_z"], kl.mean(0))
    np.testing.assert_allclose(measured["kl_z_se"], kl.std(0) / math.sqrt(len(X)))


def test_activity_is_the_variance_of_the_means(measured):
    means = WEIGHTS * X / (1 + WEIGHTS**2)
    np.testing.assert_allclose(measured["activity_z"], means.var(0))
    # For normal means the variance of a variance is 2 var^2 / N.
    expected = means.var(0) * math.sqrt(2 / len(X))
    np.testing.assert_allclose(measured["activity_z_se"], expected, rtol=0.2, atol=1e-12)


def test_the_priors_variance_makes_activities_comparable(measured):
    np.testing.assert_allclose(measured["prior_variance_z"], np.ones(3))

    def uniform(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(-torch.ones(2), 1.0).to_event(1))
            u = pyro.sample("u", dist.Normal(3 * x[:, 0], 0.5))  # a prior that depends on the data
            k = pyro.sample("k", dist.OneHotCategorical(torch.tensor([0.2, 0.8])))
            w = pyro.sample("w", LogitNormal(torch.tensor(0.0), torch.tensor(1.0), 0.0, 1.0))
            mean = torch.stack([c.sum(-1), u + k[:, 0], w], -1)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def read(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Uniform(-torch.ones(2), 1.0).to_event(1))
            pyro.sample("u", dist.Normal(x[:, 0], 1.0))
            pyro.sample("k", dist.OneHotCategorical(torch.tensor([0.5, 0.5])))
            pyro.sample("w", LogitNormal(torch.tensor(0.0), torch.tensor(1.0), 0.0, 1.0))

    found = per_dimension(uniform, read, X, aggregate_size=50)
    np.testing.assert_allclose(found["prior_variance_c"], [1 / 3, 1 / 3])
    given = 0.25 + 9 * X[:, 0].var(unbiased=False)
    assert float(found["prior_variance_u"]) == pytest.approx(float(given))
    assert float(found["prior_variance_k"]) == pytest.approx(2 * 0.2 * 0.8)
    # Without a closed form it is that of draws, one for each datum.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    values, weights = 1 / (1 + np.exp(-nodes)), weights / weights.sum()
    expected = weights @ values**2 - (weights @ values) ** 2
    assert float(found["prior_variance_w"]) == pytest.approx(expected, rel=0.15)


def test_loss_by_resampling(measured):
    """E_q (x - w z)^2 against E (x - w z')^2 = x^2 + w^2, halved."""
    precision = 1 + WEIGHTS**2
    kept = (X - WEIGHTS**2 * X / precision) ** 2 + WEIGHTS**2 / precision
    near(measured, "resampling_loss_z", (0.5 * (X**2 + WEIGHTS**2 - kept)).mean(0))
    assert measured["resampling_loss_z"][0] == 0


def test_information_under_the_data(measured):
    found = aggregate_information(guide, X[:1000], batch_size=500)
    expected = found.dimension_information["z"]
    np.testing.assert_allclose(measured["aggregate_mi_z"], expected)
    both = pairwise_information(guide, X[:1000], batch_size=500)
    np.testing.assert_allclose(measured["pairwise_mi"], both["pairwise_mi"])
    assert list(measured["dimension"].values) == ["z[0]", "z[1]", "z[2]"]
    assert measured.attrs["aggregate_size"] == 1000
    assert measured.attrs["num_data"] == 3000


def test_lists_for_json(measured):
    found = json.loads(json.dumps(as_lists(measured)))
    assert set(found) == {"z", "pairwise"}
    names = {"kl", "aggregate_mi", "activity", "resampling_loss", "mi/mean", "mi/sample"}
    expected = {name + end for name in names for end in ("", "_se")} | {"prior_variance"}
    assert set(found["z"]) == expected
    np.testing.assert_array_equal(found["z"]["mi/mean"], measured["mi_z"].sel(channel="mean"))


def test_means_without_closed_form_are_sampled():
    """A logit-normal has no mean in closed form: the noise of the draws is taken off again."""

    def uniform(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Uniform(-torch.ones(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(c, 1.0).to_event(1), obs=x)

    def logit_normal(x):
        with pyro.plate("data", len(x)):
            fn = LogitNormal(torch.stack([x[:, 0], 0 * x[:, 1]], -1), torch.ones(len(x), 2), -1, 1)
            pyro.sample("c", fn.to_event(1))

    found = per_dimension(uniform, logit_normal, X[:, :2], aggregate_size=200)
    # E tanh((x + e) / 2) by quadrature over e.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = torch.as_tensor(weights / weights.sum())
    means = (torch.tanh((X[:, :1] + torch.as_tensor(nodes)) / 2) * weights).sum(-1)
    assert abs(float(found["activity_c"][0]) - float(means.var())) < 0.005
    assert abs(float(found["activity_c"][1])) < 5e-4


def test_several_sites_scalars_and_plates():
    def mixed(x):
        with pyro.plate("data", len(x), dim=-2):
            c = pyro.sample("c", dist.Normal(0.0, 1.0))
            u = pyro.sample("u", dist.Bernoulli(0.5))
            with pyro.plate("part", 3, dim=-1):
                pyro.sample("x", dist.Normal(c + u, 1.0), obs=x)

    def read(x):
        with pyro.plate("data", len(x), dim=-2):
            mean = x.mean(-1, keepdim=True)
            pyro.sample("c", dist.Normal(0.5 * mean, 0.8))
            pyro.sample("u", dist.Bernoulli(logits=mean))

    found = per_dimension(mixed, read, X[:500], codes=["u", "c"])
    assert found["kl_c"].shape == found["kl_u"].shape == ()
    assert found["mi_u"].dims == ("channel",)
    assert list(found["dimension"].values) == ["c", "u"]
    one = per_dimension(mixed, read, X[:500], codes="c")
    assert "kl_u" not in one
    assert as_lists(one)["c"]["kl"] == pytest.approx(float(found["kl_c"]))
    probability = torch.sigmoid(X[:500].mean(-1))
    assert float(found["activity_u"]) == pytest.approx(float(probability.var()))


def test_a_guide_that_does_not_factorise_has_no_pairs():
    def turned(x):
        scale_tril = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 0.5]])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(0.3 * x, scale_tril=scale_tril))

    found = per_dimension(model, turned, X[:300])
    assert "pairwise_mi" not in found
    assert "does not factorise" in found.attrs["pairwise_mi"]
    assert found["mi_z"].shape == (1, 3)


def test_what_has_no_known_marginals_is_left_out_and_said():
    def dirichlet(x):
        with pyro.plate("data", len(x)):
            p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(p + u[:, None], 1.0).to_event(1), obs=x)

    def read(x):
        with pyro.plate("data", len(x)):
            pyro.sample("p", dist.Dirichlet(1 + x.exp()))
            pyro.sample("u", dist.Normal(0.3 * x.mean(-1), 0.8))

    found = per_dimension(dirichlet, read, X[:100])
    assert "marginals that are not known" in found.attrs["mi_p"]
    for name in ("mi_p", "kl_p", "aggregate_mi_p"):
        assert name not in found
    assert found["activity_p"].shape == found["resampling_loss_p"].shape == (3,)
    assert found["kl_u"].shape == ()
    assert list(found["dimension"].values) == ["u"]
    alone = per_dimension(dirichlet, read, X[:100], codes="p")
    assert set(as_lists(alone)["p"]) == {
        *("activity", "activity_se", "resampling_loss", "resampling_loss_se", "prior_variance")
    }


def test_a_one_hot_vector_is_one_variable_whose_entries_a_categorical_has_too():
    """The same pair with a one-hot site and with a categorical one."""
    places = torch.tensor([-1.0, 0.5, 2.0])

    def pair(one_hot):
        def kind(logits):
            made = dist.OneHotCategorical if one_hot else dist.Categorical
            return made(logits=logits)

        def model(x):
            with pyro.plate("data", len(x)):
                d = pyro.sample("d", kind(torch.tensor([0.0, 1.0, 0.0])))
                loc = d @ places if one_hot else places[d]
                pyro.sample("x", dist.Normal(loc, 0.5), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("d", kind(-2 * (x[:, None] - places) ** 2))

        return model, guide

    x = X[:400, 0]
    one, other = (per_dimension(*pair(flag), x, aggregate_size=200) for flag in (True, False))
    assert one["kl_d"].shape == other["kl_d"].shape == ()
    np.testing.assert_allclose(one["kl_d"], other["kl_d"])
    for name in ("mi_d", "aggregate_mi_d", "resampling_loss_d"):
        values = [float(found[name].values.sum()) for found in (one, other)]
        error = math.hypot(*(float(found[f"{name}_se"].values.sum()) for found in (one, other)))
        assert abs(values[0] - values[1]) < 5 * error
        assert values[0] > 0.1
    assert one["mi_d"].dims == ("channel",)
    assert list(one["dimension"].values) == ["d"]


@pytest.mark.parametrize("closed", [True, False])
def test_variance_of_a_prior_that_depends_on_another_site(closed):
    """Of z = 3 a + e under the model, 10, wherever the guide puts a."""

    class Opaque(dist.Normal):
        mean = property(lambda self: torch.full_like(self.loc, torch.nan))
        variance = property(lambda self: (_ for _ in ()).throw(NotImplementedError))

    family = dist.Normal if closed else Opaque

    def hierarchy(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", family(3 * a, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def far(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(10 + 5 * x, 2.0))
            pyro.sample("z", dist.Normal(x, 1.0))

    data = per_dimension(hierarchy, far, torch.randn(4000), codes="z")
    assert float(data["prior_variance_z"]) == pytest.approx(10, rel=0.1)


def test_two_calls_agree_and_nothing_changes():
    before = torch.get_rng_state()
    one, two = (per_dimension(model, guide, X[:100], seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.equals(two)


def test_errors():
    with pytest.raises(ValueError, match="unknown channel 'sampled'"):
        per_dimension(model, guide, X, channels=("sampled",))

    def simplex(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Dirichlet(torch.ones(len(x), 3)))

    with pytest.raises(ValueError, match="dimensions of site 'z' have marginals that are not"):
        kl_per_dimension(model, simplex, X[:10])
    with pytest.raises(ValueError, match="codes names the site 'nothing'"):
        per_dimension(model, guide, X[:10], codes="nothing")

    def chained(x):
        with pyro.plate("data", len(x)):
            first = pyro.sample("a", dist.Normal(x[:, 0], 1.0))
            pyro.sample("z", dist.Normal(first[:, None] * torch.ones(3), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"code site 'z' depends on \['a'\]"):
        per_dimension(model, chained, X[:10], codes="z")
