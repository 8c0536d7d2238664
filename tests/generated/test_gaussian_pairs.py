"""Random linear-Gaussian pairs against closed forms."""

import pyro
import torch
from gaussian_models import Gaussian, Pair, gaussians
from hypothesis import event, example, given
from hypothesis import strategies as st
from layouts import Layout, examples, fresh, layouts

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import log_evidence, sandwich

TWO_SLICES = Gaussian(Layout(taken="slice"), data_dims=(2, 1))
"""x' of two sites, written into one argument, lost the gradient of the first."""

TAKEN = ["whole", "reshape", "strided", "transposed", "slice", "convert", "dict", "keyword"]
BASES = ["trace", "mean-field", "graph"]


def elbo_of(pair, channel="sample", **settings):
    settings = {"codes": pair.codes(), "observed": pair.observed, **settings}
    particles = pair.layout.particles
    return TraceMI_ELBO(
        channel=channel, elbo=pair.layout.elbo(), num_dual_particles=particles, **settings
    )


@examples(20)
@example(TWO_SLICES, "sample")
@given(gaussians(layouts(TAKEN, BASES)), st.sampled_from(["sample", "straight-through", "mean"]))
def test_terms_and_gradients_of_the_very_draws(spec, channel):
    """The term is its formula at the draws that the model made, and so is its gradient."""
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        elbo = elbo_of(pair, channel)
        terms = elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
        pair.records.clear()
        pyro.set_rng_seed(1)
        terms = elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
        runs = pair.records[1:]
        assert len(runs) == spec.layout.particles
        expected = sum(pair.pointwise(run).sum() for run in runs) / len(runs) * spec.layout.factor
        tolerance = spec.layout.tolerance()
        torch.testing.assert_close(terms["mi"], expected.detach(), atol=tolerance, rtol=tolerance)
        parameters = list(pair.tables.parameters())
        got = torch.autograd.grad(terms["loss"], parameters, allow_unused=True, retain_graph=True)
        without = elbo_of(pair, channel, mi_weight=0)
        without.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
        pyro.set_rng_seed(1)
        loss = without.differentiable_loss(pair.model, pair.guide, *pair.args, **pair.kwargs)
        base = torch.autograd.grad(loss, parameters, allow_unused=True)
        own = torch.autograd.grad(-expected, parameters, allow_unused=True)
        for one, other, of_term, p in zip(got, base, own, parameters, strict=True):
            zero = torch.zeros_like(p)
            one, other, of_term = (zero if g is None else g for g in (one, other, of_term))
            scale = 1 + float(one.abs().max())
            torch.testing.assert_close(
                one, other + of_term, atol=10 * tolerance * scale, rtol=10 * tolerance
            )


@examples(5)
@given(
    gaussians(
        layouts(TAKEN, BASES, masks=("no", "entry", "row", "handler"), plate="one"),
        guide=["exact"],
        codes=["all"],
    ),
    st.sampled_from([2, 5]),
)
def test_many_samples_of_an_exact_guide(spec, samples):
    """All weights are p(x'): the bound is log p(code|x') - log p(code) for each draw."""
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        elbo = elbo_of(pair, num_dual_samples=samples)
        with torch.no_grad():
            elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
            pair.records.clear()
            mi = elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)["mi"]
        known = [pair.pointwise(run).sum() * spec.layout.factor for run in pair.records[1:]]
        event(f"{len(known)} runs")
        if spec.layout.particles == 1:
            tolerance = spec.layout.tolerance()
            torch.testing.assert_close(mi, known[0].detach(), atol=tolerance, rtol=tolerance)


@examples(5)
@given(
    gaussians(
        layouts(
            TAKEN, BASES, masks=("no", "entry", "row", "handler"), particles=1, rows=400, scale=1.0
        ),
        guide=["factorised"],
    )
)
def test_bounds_of_many_rows(spec):
    """The mean over rows is the closed form of the bound, to its standard error."""
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        layout, elbo = spec.layout, elbo_of(pair)
        calls = 1 if layout.batch else 100
        values = []
        with torch.no_grad():
            elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
            for _ in range(calls):
                pair.records.clear()
                elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
                run = pair.records[1]
                rows = ... if run["rows"] is None else run["rows"]
                values.append(pair.pointwise(run) - pair.bound()[rows])
        error = torch.stack(values).double().flatten()
        assert abs(error.mean()) < 5 * error.std() / len(error) ** 0.5
        assert (pair.bound() < pair.information() + 1e-4).all()


@examples(5)
@given(
    gaussians(
        layouts(TAKEN, ["trace"], masks=("no", "entry", "row", "handler"), rows=300, particles=1)
    )
)
def test_sandwich(spec):
    """Exact guides leave no gap; others leave the information between the bounds."""
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        repeats = 1 if spec.layout.batch else 100
        counts = [1, 2, 8]
        bounds = sandwich(
            pair.model,
            pair.guide,
            *pair.args,
            codes=pair.codes(),
            observed=pair.observed,
            num_samples=counts,
            num_dual_particles=repeats,
            progress=False,
            **pair.kwargs,
        )
        truth = float(pair.information().detach().mean())
        if spec.guide == "exact":
            gap = bounds.upper_per_datum - bounds.lower_per_datum
            assert gap.abs().max() < 100 * spec.layout.tolerance()
        if spec.layout.subsample in ("both", "guide") and spec.layout.mask != "no":
            return  # the rows of the call are not known here
        for k, lower, upper in bounds.curve():
            assert lower.mean < truth + 5 * lower.standard_error + 1e-3, k
            assert upper.mean > truth - 5 * upper.standard_error - 1e-3, k
        low = bounds.barber_agakov
        if spec.guide == "factorised":
            assert (
                abs(low.mean - float(pair.bound().detach().mean())) < 5 * low.standard_error + 1e-3
            )


@examples(5)
@given(
    gaussians(
        layouts(
            ["whole", "strided", "transposed", "slice", "convert"],
            ["trace"],
            masks=("no", "no", "entry", "row", "handler"),
            rows=3,
            plate="one",
            subsample="no",
        ),
        guide=["exact"],
        codes=["all", "c"],
    )
)
def test_log_evidence_of_an_exact_guide(spec):
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        y, masks, *values = pair.args

        def prepare(y, *rest):
            return (y, list(rest[: len(masks)]), *rest[len(masks) :])

        if pair.kwargs or spec.layout.taken == "dict":
            return
        measured = log_evidence(
            pair.model,
            pair.guide,
            [y, *masks, *values],
            observed=pair.observed,
            prepare=prepare,
            num_samples=3,
            batch_size=spec.layout.rows,
            progress=False,
        )
        tolerance = 10 * spec.layout.tolerance()
        known = pair.log_evidence().detach().double()
        torch.testing.assert_close(
            measured.per_datum.double(), known, atol=tolerance, rtol=tolerance
        )
