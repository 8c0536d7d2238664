"""The information of known structures: against closed forms, sums over all data, and itself."""

import pyro
import pytest
import torch
from structure import BASES, mean_and_error
from structure_models import BY_NAME, STRUCTURES

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import aggregate_information, log_evidence, sandwich

pytestmark = pytest.mark.filterwarnings(
    "ignore:TraceEnum_ELBO found no sample sites configured for enumeration"
)

EXACT = [s.name for s in STRUCTURES if s.exact]
BOUNDED = [s.name for s in STRUCTURES if not s.sandwich and s.name not in ("eight schools",)]
NOT_BOUNDED = [s.name for s in STRUCTURES if s.sandwich]
EFFORT = {  # forward runs and draws, where other numbers serve
    "mixed HMM": (15, 30),
    "toy mixture": (12, 12),
    "eight schools, known hyperparameters": (40, 2),
    "Bayesian regression": (40, 2),
    "dmm": (1, 60),
    "dmm, flows": (1, 40),
    "air": (2, 30),
    "air, batch_size": (2, 30),
}
SLOW = {"toy mixture", "air", "dmm, flows"}  # seconds each
SIZE = 60


@pytest.mark.parametrize("name", EXACT)
def test_the_term_is_at_most_the_information(name, float64):
    structure = BY_NAME[name]
    pair = structure.build(SIZE)
    base = BASES[structure.base]()
    elbo = TraceMI_ELBO(channel="sample", elbo=base, **structure.options())
    with torch.no_grad():
        draws = [
            elbo.terms(pair.model, pair.guide, *pair.args)["mi"] / pair.cells
            for _ in range(structure.repeats)
        ]
    mean, error = mean_and_error(draws)
    exact, exact_error = structure.exact(pair)
    noise = (error**2 + exact_error**2) ** 0.5
    assert exact > 0
    if structure.attained:
        assert abs(mean - exact) < 4.5 * noise
    else:
        assert mean < exact + 4.5 * noise


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in BOUNDED],
)
def test_the_sandwich_holds_the_information(name, float64):
    structure = BY_NAME[name]
    pair = structure.build(SIZE)
    runs, draws = EFFORT.get(name, (1, 100))
    bounds = sandwich(
        pair.model,
        pair.guide,
        *pair.args,
        num_samples=[1, draws],
        num_dual_particles=runs,
        progress=False,
        **structure.options(),
    )
    lower, upper = bounds.lower, bounds.upper
    assert upper.mean - lower.mean < 1.5
    exact, error = structure.exact(pair)
    assert lower.mean - 4.5 * (lower.standard_error**2 + error**2) ** 0.5 < exact
    assert exact < upper.mean + 4.5 * (upper.standard_error**2 + error**2) ** 0.5
    barber_agakov = bounds.barber_agakov
    assert barber_agakov.mean < exact + 4.5 * (barber_agakov.standard_error**2 + error**2) ** 0.5


@pytest.mark.parametrize("name", NOT_BOUNDED)
def test_the_sandwich_says_what_it_can_not_bound(name, float64):
    structure = BY_NAME[name]
    pair = structure.build(8)
    with pytest.raises(ValueError, match=structure.sandwich) as caught:
        sandwich(
            pair.model,
            pair.guide,
            *pair.args,
            num_samples=2,
            progress=False,
            **structure.options(),
        )
    assert "Add latent sites to codes" in str(caught.value)


@pytest.mark.parametrize("name", ["scanvi, unlabelled", "scanvi, labelled"])
def test_all_latents_of_scanvi_are_bounded_without_the_scale(name, float64):
    """A scale weighs the term in the loss, not the bounds."""
    structure = BY_NAME[name]
    pair = structure.build(SIZE)
    observed = structure.observed
    bounds = sandwich(
        pair.model,
        pair.guide,
        *pair.args,
        num_samples=100,
        observed=observed,
        progress=False,
    )
    assert bounds.lower.mean < bounds.upper.mean + 3 * bounds.gap.standard_error
    elbo = TraceMI_ELBO(channel="sample", observed=observed, elbo=BASES["TraceEnum"]())
    with torch.no_grad():
        draws = [
            elbo.terms(pair.model, pair.guide, *pair.args)["mi"] / pair.cells for _ in range(6)
        ]
    mean, error = mean_and_error(draws)
    noise = (4 * error**2 + bounds.barber_agakov.standard_error**2) ** 0.5
    assert abs(mean / 0.5 - bounds.barber_agakov.mean) < 4.5 * noise


def test_the_schools_hyperparameters_are_bounded_from_below(float64):
    """The mass of HalfCauchy's tail is far outside of this guide: the upper bound is loose."""
    structure = BY_NAME["eight schools"]
    pair = structure.build(1)
    bounds = sandwich(
        pair.model, pair.guide, *pair.args, num_samples=10, num_dual_particles=10, progress=False
    )
    assert bounds.lower.mean < bounds.upper.mean


@pytest.mark.parametrize("name", ["vae"])
def test_log_evidence_is_that_of_a_sum_over_nodes(name, float64):
    from structure import bernoulli_table, hermite

    structure = BY_NAME[name]
    pair = structure.build(40)
    nodes, weights = hermite(2)
    with torch.no_grad():
        table = bernoulli_table(pair.known["decoder"](nodes))
    place = (pair.args[0].reshape(40, -1) @ torch.tensor([8.0, 4, 2, 1])).long()
    exact = (table.exp() * weights[:, None]).sum(0).log()[place]
    estimate = log_evidence(pair.model, pair.guide, pair.args[0], num_samples=2000, progress=False)
    torch.testing.assert_close(estimate.per_datum, exact, atol=0.15, rtol=0)
    assert abs(estimate.mean - exact.mean()) < 0.02


@pytest.mark.parametrize("name", ["vae", "ss_vae_M2, labelled", "prodlda"])
def test_aggregate_information_by_hand(name, float64):
    """The guide is a mixture over the data: log q(z|x) - log q(z) at one draw each, averaged."""
    structure = BY_NAME[name]
    pair = structure.build(60)
    result = aggregate_information(
        pair.guide, pair.args, codes=structure.codes, num_samples=50, progress=False
    )
    pyro.set_rng_seed(1)
    values = []
    with torch.no_grad():
        for _ in range(50):
            site = pyro.poutine.trace(pair.guide).get_trace(*pair.args).nodes[structure.codes]
            normal = site["fn"].base_dist
            each = torch.distributions.Normal(normal.loc, normal.scale)
            log_q = each.log_prob(site["value"][:, None]).sum(-1)
            log_mixture = log_q.logsumexp(1) - torch.tensor(60.0).log()
            values.append((log_q.diagonal() - log_mixture).mean())
    mean, error = mean_and_error(values)
    assert abs(result.estimate.mean - mean) < 4.5 * 2**0.5 * error
