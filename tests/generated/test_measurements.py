"""Measurements by dimension, and latents outside of the data's plate, of random Gaussian pairs."""

import pyro
import pyro.distributions as dist
import torch
from gaussian_models import Pair, gaussians
from hypothesis import given
from hypothesis import strategies as st
from layouts import examples, fresh, layouts

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.information import kl_per_dimension, mi_per_dimension, sandwich


@examples(5)
@given(
    gaussians(
        layouts(
            ["whole", "strided", "transposed", "slice", "convert"],
            ["trace"],
            masks=("no", "no", "entry", "row", "handler"),
            rows=400,
            plate="one",
            subsample="no",
        ),
        guide=["factorised"],
        prior=["normal", "affine"],
        reparam=[False],
    )
)
def test_dimensions_of_factorised_guides(spec):
    with fresh(spec.layout.seed), torch.no_grad():
        pair = Pair(spec)
        y, masks, *values = pair.args

        def prepare(y, *rest):
            return (y, list(rest[: len(masks)]), *rest[len(masks) :])

        data, k = [y, *masks, *values], spec.code_dim
        common = {"prepare": prepare, "batch_size": spec.layout.rows}
        known = {"kl": pair.kl_by_dimension(), "mi": pair.bound_by_dimension()}
        binding = {"channel": "sample", "observed": pair.observed}
        got = {
            "kl": kl_per_dimension(pair.model, pair.guide, data, **common),
            "mi": mi_per_dimension(pair.model, pair.guide, data, **binding, **common),
        }
        kl = torch.cat(list(got["kl"].values()), -1)
        analytic = spec.prior == "normal"
        # A draw's log-ratio has a variance that grows with the KL.
        slack = 1e-3 if analytic else 5 * (1 + known["kl"].max().sqrt()) * 400**-0.5
        assert (kl - known["kl"].mean(0)).abs().max() < slack
        mi, bound = torch.cat(list(got["mi"].values()), -1), known["mi"].mean(0)
        elbo = TraceMI_ELBO(channel="sample", elbo=spec.layout.elbo(), observed=pair.observed)
        elbo.terms(pair.model, pair.guide, *pair.args)
        run = pair.records[-1]
        seen = y if spec.covariate != "no" else torch.zeros_like(y)
        q_c, q_u = pair.densities(run["x"], seen, pair.tables.counted)
        t, m = pair.tables, run["n"]
        log_q = torch.cat(
            [q_c.base_dist.log_prob(m[:, :k]), q_u(None).base_dist.log_prob(m[:, k:])], -1
        )
        ratio = log_q - dist.Normal(t.m, t.log_t.exp()).log_prob(m) - known["mi"]
        error = ratio.double().std(0) / len(ratio) ** 0.5
        assert ((mi - bound).abs() < 5 * error * 1.2 + 1e-3).all()


@examples(6)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 5),
    local=st.booleans(),
    scale=st.sampled_from([1.0, 0.4]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    codes=st.sampled_from(["g", None]),
    samples=st.sampled_from([1, 3]),
)
def test_global_latents(seed, rows, local, scale, dtype, codes, samples):
    """A code outside of the plate counts once, whatever the number of data."""
    with fresh(seed), torch.no_grad():
        w, v, b, s = (torch.randn(4).abs() + 0.2).to(dtype)
        data = torch.randn(rows, dtype=dtype)
        noise = s**2 + v**2 if local else s**2
        precision = 1 + rows * w**2 / noise
        one, records = torch.ones((), dtype=dtype), []

        def model(x):
            with pyro.poutine.scale(scale=scale):
                g = pyro.sample("g", dist.Normal(0 * one, one))
                with pyro.plate("data", rows):
                    z = pyro.sample("z", dist.Normal(0 * one, one)) if local else 0 * one
                    value = pyro.sample("x", dist.Normal(w * g + v * z + b, s), obs=x)
                records.append((g, z, value))

        def q(x, g):
            loc = (w / noise * (x - b)).sum() / precision
            local_loc = v * (x - b - w * g) / noise
            return dist.Normal(loc, precision**-0.5), dist.Normal(local_loc, s / noise**0.5)

        def guide(x):
            with pyro.poutine.scale(scale=scale):
                g = pyro.sample("g", q(x, 0 * one)[0])
                with pyro.plate("data", rows):
                    if local:
                        pyro.sample("z", q(x, g)[1])

        samples = samples if codes is None or not local else 1
        elbo = TraceMI_ELBO(channel="sample", codes=codes, num_dual_samples=samples)
        elbo.terms(model, guide, data)
        records.clear()
        mi = elbo.terms(model, guide, data)["mi"]
        g, z, x = records[1]
        q_g, q_z = q(x, g)
        known = q_g.log_prob(g) - dist.Normal(0 * one, one).log_prob(g)
        if local and codes is None:
            known = known + (q_z.log_prob(z) - dist.Normal(0 * one, one).log_prob(z)).sum()
        torch.testing.assert_close(mi, scale * known, atol=2e-3, rtol=2e-3)
        bounds = sandwich(
            model, guide, data, codes=codes, num_samples=3, num_dual_particles=20, progress=False
        )
        truth = 0.5 * precision.log()
        if local and codes is None:
            truth = truth + 0.5 * rows * (1 + v**2 / s**2).log()
        truth = float(truth)
        assert bounds.upper_per_datum.shape == (1, 20)
        assert (bounds.upper_per_datum - bounds.lower_per_datum).abs().max() < 2e-3
        assert abs(bounds.lower.mean - truth) < 5 * bounds.lower.standard_error + 1e-3
