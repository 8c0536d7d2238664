"""Random discrete pairs against enumeration."""

import pyro
import torch
from discrete_models import Pair, discretes
from hypothesis import given
from hypothesis import strategies as st
from layouts import examples, fresh, layouts
from oracles import expectation
from pyro.infer import config_enumerate

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import (
    elbo_decomposition,
    log_evidence,
    sandwich,
)

TAKEN = ["whole", "reshape", "strided", "transposed", "slice", "dict", "keyword", "integers"]
PLAIN_MASKS = ("no", "no", "entry", "row", "handler")


def elbo_of(pair, channel="sample", **settings):
    settings = {"codes": pair.codes, "num_dual_particles": pair.layout.particles, **settings}
    return TraceMI_ELBO(channel=channel, elbo=pair.layout.elbo(), **settings)


@examples(15)
@given(
    discretes(layouts(TAKEN, ["trace", "graph"])),
    st.sampled_from(["sample", "sleep"]),
)
def test_terms_of_the_very_draws(spec, channel):
    with fresh(spec.layout.seed), torch.no_grad():
        pair = Pair(spec)
        elbo = elbo_of(pair, channel)
        elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)
        pair.records.clear()
        pair.guide_records.clear()
        mi = elbo.terms(pair.model, pair.guide, *pair.args, **pair.kwargs)["mi"]
        runs, own = pair.records[1:], pair.guide_records[-spec.layout.particles :]
        assert len(runs) == spec.layout.particles
        known = sum(pair.pointwise(r, c).sum() for r, c in zip(runs, own, strict=True))
        expected = known / len(runs) * spec.layout.factor
        tolerance = spec.layout.tolerance()
        torch.testing.assert_close(mi, expected, atol=tolerance, rtol=tolerance)


@examples(6)
@given(
    discretes(
        layouts(
            TAKEN,
            ["trace", "graph"],
            rows=2,
            plate="one",
            particles=1,
            subsample="both",
            dtype=torch.float64,
        ),
        code=["bit", "category"],
        data=[("category",), ("bits",)],
    ),
    st.sampled_from(["sample", "sleep"]),
)
def test_expected_value_and_gradient(spec, channel):
    """Over all draws of the dual pass: the enumerated bound and its gradient, to rounding."""
    with fresh(spec.layout.seed):
        pair = Pair(spec)
        elbo = elbo_of(pair, channel)
        parameters = list(pair.tables.parameters())
        elbo._dual(_call(pair))

        def value_and_gradient():
            pyro.set_rng_seed(1)  # which rows are taken
            term = elbo._dual(_call(pair))
            grads = torch.autograd.grad(term.differentiable, parameters, allow_unused=True)
            flat = [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(grads, parameters, strict=True)
            ]
            return torch.cat([term.value.detach().reshape(1), *[g.reshape(-1) for g in flat]])

        got = expectation(value_and_gradient)
        rows = pair.records[-1]["rows"]
        known = pair.bound()[rows].sum() * spec.layout.factor
        grads = torch.autograd.grad(known, parameters, allow_unused=True)
        of_guide = [n.startswith(("q_", "error")) for n, _ in pair.tables.named_parameters()]
        flat = [
            torch.zeros_like(p) if g is None or (channel == "sleep" and not own) else g
            for g, p, own in zip(grads, parameters, of_guide, strict=True)
        ]
        expected = torch.cat([known.detach().reshape(1), *[g.reshape(-1) for g in flat]])
        torch.testing.assert_close(got, expected, atol=1e-7, rtol=1e-6)


def _call(pair):
    from pyro_mivae.traces.call import Call

    return Call(pair.model, pair.guide, pair.args, pair.kwargs)


@examples(6)
@given(discretes(layouts(TAKEN, ["enum"], masks=PLAIN_MASKS)))
def test_enumerated_elbo(spec):
    with fresh(spec.layout.seed), torch.no_grad():
        pair = Pair(spec)
        elbo = elbo_of(pair)
        guide = config_enumerate(pair.guide)
        terms = elbo.terms(pair.model, guide, *pair.args, **pair.kwargs)
        rows = pair.records[0]["rows"]
        known = pair.elbo(... if rows is None else rows).sum() * spec.layout.factor
        if spec.layout.subsample in ("both", "guide"):
            return  # the base's rows are not the dual pass's
        tolerance = 10 * spec.layout.tolerance()
        torch.testing.assert_close(terms["elbo"], known, atol=tolerance, rtol=tolerance)


@examples(6)
@given(discretes(layouts(TAKEN, ["trace"], masks=PLAIN_MASKS, rows=200, particles=1)))
def test_sandwich(spec):
    with fresh(spec.layout.seed), torch.no_grad():
        pair = Pair(spec)
        bounds = sandwich(
            pair.model,
            pair.guide,
            *pair.args,
            codes=pair.codes,
            num_samples=[1, 4],
            num_dual_particles=1 if spec.layout.batch else 100,
            progress=False,
            **pair.kwargs,
        )
        if spec.layout.subsample in ("both", "guide") and spec.layout.mask != "no":
            return  # the rows of the call are not known here
        truth, slack = float(pair.information().mean()), 1e-3
        if spec.exact and spec.codes != "u":
            gap = bounds.upper_per_datum - bounds.lower_per_datum
            assert gap.abs().max() < 100 * spec.layout.tolerance()
        for k, lower, upper in bounds.curve():
            assert lower.mean < truth + 5 * lower.standard_error + slack, k
            assert upper.mean > truth - 5 * upper.standard_error - slack, k
        low = bounds.barber_agakov
        assert abs(low.mean - float(pair.bound().mean())) < 5 * low.standard_error + slack


@examples(4)
@given(
    discretes(
        layouts(
            ["whole", "strided", "transposed", "slice", "integers"],
            ["trace"],
            masks=PLAIN_MASKS,
            plate="one",
            subsample="no",
        ),
        noise=[False],
    )
)
def test_log_evidence_and_decomposition(spec):
    """Exact guides have exact evidence; the decomposition's parts are those of the tables."""
    with fresh(spec.layout.seed), torch.no_grad():
        pair = Pair(spec)
        masks, *values = pair.args

        def prepare(*rest):
            return (list(rest[: len(masks)]), *rest[len(masks) :])

        data = [*masks, *values]
        common = {"prepare": prepare, "batch_size": spec.layout.rows, "progress": False}
        if spec.exact:
            measured = log_evidence(pair.model, pair.guide, data, num_samples=2, **common)
            tolerance = 10 * spec.layout.tolerance()
            known = pair.log_evidence().double()
            got = measured.per_datum.double()
            torch.testing.assert_close(got, known, atol=tolerance, rtol=tolerance)
        parts = elbo_decomposition(pair.model, pair.guide, data, num_samples=60, **common)
        log_q = pair.log_guide(pair.values, pair.masks).flatten(-2).double()
        log_p = pair.log_joint(pair.values, pair.masks).flatten(-2).double()
        prior = log_p - pair.log_likelihood(pair.values, pair.masks, pair.tables.x).flatten(-2)
        mixture = log_q.logsumexp(0) - torch.tensor(float(len(log_q))).log().double()
        for name, term in {
            "elbo": log_p - log_q,
            "kl": log_q - prior,
            "log_likelihood": log_p - prior,
            "marginal_kl": mixture - prior,
            "information": log_q - mixture,
        }.items():
            mean = (log_q.exp() * term).sum(-1)
            variance = (log_q.exp() * term**2).sum(-1) - mean**2
            error = (variance.clamp(min=0).sum() / 60).sqrt() / len(log_q)
            value = getattr(parts, name)
            value = value.estimate.mean if name == "information" else value.mean
            assert abs(value - float(mean.mean())) < 5 * float(error) + 1e-5, name
        split = parts.information.estimate.mean + parts.marginal_kl.mean
        assert abs(parts.kl.mean - split) < 1e-6
