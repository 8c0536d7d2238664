import math

import numpy as np
import pytest
from scipy import integrate, stats

from pyro_mivae.datasets import Laplace, Normal, Uniform, draw

LAWS = (
    Uniform(1.5, 4.5),
    Uniform(-2.0, -1.0),
    Normal(0.1, 0.25),
    Normal(0.1, 0.25, reach=1.0),
    Normal(3.0, math.sqrt(0.75), reach=2.25),
    Normal(0.0, 1.0, reach=1.8),  # almost uniform
    Laplace(3.0, math.sqrt(0.75), reach=2.45),
    Laplace(0.0, 1.0, reach=1.8),
)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_law_agrees_with_itself(law):
    ends = law.ppf([0.0, 1.0]) if math.isfinite(getattr(law, "reach", 0.0)) else [-3.0, 3.0]
    q = np.linspace(0.001, 0.999, 41)
    np.testing.assert_allclose(law.cdf(law.ppf(q)), q, rtol=1e-9)
    for power, expected in ((0, 1.0), (1, law.mean()), (2, law.std() ** 2 + law.mean() ** 2)):
        moment, _ = integrate.quad(lambda x, n=power: x**n * law.pdf(x), *ends, epsabs=1e-12)
        assert moment == pytest.approx(expected, abs=1e-8)
    x = law.ppf(0.3)
    mass, _ = integrate.quad(law.pdf, ends[0], x)
    assert mass == pytest.approx(0.3)
    beyond = np.array([-10.0, 10.0])
    np.testing.assert_array_equal(law.cdf(beyond), [0, 1])
    np.testing.assert_allclose(law.pdf(beyond), 0, atol=1e-100)


def test_laws_are_scipys():
    x, q = np.linspace(-1, 6, 71), np.linspace(0, 1, 11)
    scale, _ = Normal(3.0, 0.8, reach=2.0)._uncut
    a = 2.0 / scale
    for ours, theirs in (
        (Uniform(1.5, 4.5), stats.uniform(1.5, 3.0)),
        (Normal(3.0, 0.8), stats.norm(3.0, 0.8)),
        (Laplace(3.0, 0.8), stats.laplace(3.0, 0.8 / math.sqrt(2))),
        (Normal(3.0, 0.8, reach=2.0), stats.truncnorm(-a, a, 3.0, scale)),
    ):
        np.testing.assert_allclose(ours.ppf(q), theirs.ppf(q), atol=1e-12)
        np.testing.assert_allclose(ours.cdf(x), theirs.cdf(x), atol=1e-12)
        np.testing.assert_allclose(ours.pdf(x), theirs.pdf(x), atol=1e-12)
        assert (ours.mean(), ours.std()) == pytest.approx((theirs.mean(), theirs.std()))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Uniform(1.5, 4.5), stats.uniform(1.5, 3.0)),
        (Normal(3.0, 0.8), stats.norm(3.0, 0.8)),
        (Laplace(3.0, 0.8), stats.laplace(3.0, 0.8 / math.sqrt(2))),
        (Normal(3.0, 0.8, reach=2.0), stats.truncnorm(-2.0, 2.0, 3.0, 1.0)),
    ],
    ids=lambda law: f"{law}".split(" at ")[0],
)
def test_what_is_no_number_or_probability_is_nan_as_scipys(ours, theirs):
    q, x = [-0.001, 1.001, np.nan], [np.nan, -np.inf, np.inf]
    np.testing.assert_array_equal(theirs.ppf(q), np.full(3, np.nan))
    np.testing.assert_array_equal(ours.ppf(q), theirs.ppf(q))
    np.testing.assert_array_equal(ours.pdf(x), theirs.pdf(x))
    np.testing.assert_array_equal(ours.cdf(x), theirs.cdf(x))


def test_laws_alike():
    for law in (*LAWS, stats.beta(2, 5)):
        for other in (Uniform.like(law), Normal.like(law), Normal.like(law, reach=3 * law.std())):
            assert other.mean() == pytest.approx(law.mean())
            assert other.std() == pytest.approx(law.std())
    assert Laplace.like(Uniform(1.5, 4.5)).std() == Uniform(1.5, 4.5).std()
    assert Normal.like(Uniform(1.5, 4.5)) == Normal(3.0, Uniform(1.5, 4.5).std())


@pytest.mark.parametrize(
    "law", [*LAWS, stats.beta(2, 5)], ids=lambda law: f"{law}".split(" at ")[0]
)
def test_draws_follow_their_law(law):
    drawn = draw(law, 20_000, np.random.default_rng(0))
    assert drawn.dtype == np.float64
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(drawn, draw(law, 20_000, np.random.default_rng(0)))
    assert not np.array_equal(drawn, draw(law, 20_000, np.random.default_rng(1)))


def test_a_laplace_law_is_farther_from_the_uniform_than_a_normal_one():
    uniform = Uniform(1.5, 4.5)
    x = np.linspace(0.5, 5.5, 10_001)
    laws = Normal.like(uniform, reach=2.25), Laplace.like(uniform, reach=2.45)
    normal, laplace = (np.abs(law.cdf(x) - uniform.cdf(x)).max() for law in laws)
    assert (normal, laplace) == pytest.approx((0.050, 0.085), abs=1e-3)


def test_draws_stay_finite_and_inside_at_the_ends():
    class Ends:
        def integers(self, high, size):
            return np.array([0, high - 1])

    assert np.isfinite(draw(Normal(0.0, 1.0), 2, Ends())).all()
    low, high = draw(Normal(0.0, 0.5, reach=1.0), 2, Ends())
    assert -1.0 <= low < high <= 1.0


def test_laws_are_values():
    assert Normal(0.1, 0.25, 1.0) == Normal(0.1, 0.25, reach=1.0) != Laplace(0.1, 0.25, 1.0)
    assert len({Uniform(0.0, 1.0), Uniform(0.0, 1.0), Uniform(0.0, 2.0)}) == 2
    assert str(Uniform(0.0, 1.0)) == "Uniform(low=0.0, high=1.0)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(2.0, 1.0), "finite low < high, found 2.0, 1.0"),
        (lambda: Uniform(0.0, math.inf), "finite low < high"),
        (lambda: Uniform(math.nan, 1.0), "finite low < high"),
        (lambda: Laplace(0.0, -1.0), "Laplace: expected a finite loc and a positive scale"),
        (lambda: Normal(0.0, 0.0), "a positive scale, found 0.0, 0.0"),
        (lambda: Normal(math.nan, 1.0), "a finite loc"),
        (lambda: Normal(0.0, 1.0, reach=1.7), r"too large for reach 1.7: .*= 0.9717"),
        (lambda: Normal(0.0, 1.0, reach=math.nan), "too large for reach nan"),
        (lambda: Normal.like(Uniform(0.0, 1.0), reach=0.5), "too large for reach 0.5"),
    ],
)
def test_what_is_no_law_is_an_error(make, words):
    with pytest.raises(ValueError, match=words):
        make()
