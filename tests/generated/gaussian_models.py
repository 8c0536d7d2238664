"""Linear-Gaussian pairs: information, bounds and log-evidence of every row in closed form.

Normal numbers n = (c, u) ~ N(m, t²) make the data, x ~ N(W n + b + B y, s²) with y given. The code
may be a bijection of its normal numbers, and may be reparameterised: no value changes.
"""

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from hypothesis import strategies as st
from layouts import Layout
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam, TransformReparam
from torch import nn
from torch.distributions import transforms

TRANSFORMS = {
    "affine": transforms.AffineTransform(0.3, 2.0),
    "exp": transforms.ExpTransform(),
    "sigmoid": transforms.SigmoidTransform(),
    "two": transforms.ComposeTransform(
        [transforms.AffineTransform(0.0, -0.5), transforms.SigmoidTransform()]
    ),
}


@dataclass(frozen=True)
class Gaussian:
    layout: Layout
    code_dim: int = 1
    noise_dim: int = 1
    data_dims: tuple = (2,)
    covariate: str = "no"  # no, argument, site
    guide: str = "exact"  # exact, perturbed (both with dependent dimensions), factorised
    codes: str = "all"  # all, c, slice
    prior: str = "normal"
    reparam: bool = False
    width: float = 1.3


class Tables(nn.Module):
    """Parameters, masks and data of one specification."""

    def __init__(self, spec):
        super().__init__()
        layout = spec.layout
        generator = torch.Generator().manual_seed(layout.seed)
        draw = lambda *shape: torch.randn(shape, generator=generator, dtype=layout.dtype)  # noqa: E731
        k, d = spec.code_dim + spec.noise_dim, sum(spec.data_dims)
        self.W = nn.Parameter(draw(d, k))
        self.b = nn.Parameter(draw(d))
        self.B = nn.Parameter(draw(d, 1))
        self.m = nn.Parameter(0.5 * draw(k))
        self.log_t = nn.Parameter(0.3 * draw(k))
        self.log_s = nn.Parameter(0.3 * draw(d) - 0.3)
        self.error = nn.Parameter(0.3 * draw(k, d))
        self.log_width = nn.Parameter(torch.tensor(spec.width, dtype=layout.dtype).log())
        shapes = [(n,) for n in spec.data_dims]
        masks = layout.masks(shapes)
        data = draw(*layout.batch, d)
        self.y = draw(*layout.batch, 1)
        self.values = list(data.split(spec.data_dims, -1))
        self.shapes, self.masks = shapes, masks
        self.counted = torch.cat(masks, -1)

    def precision(self, counted):
        """Of the exact posterior of all normal numbers, by row."""
        weighted = counted.to(self.W.dtype)[..., None] * self.W / (2 * self.log_s).exp()[:, None]
        return torch.diag((-2 * self.log_t).exp()) + self.W.mT @ weighted

    def posterior(self, x, y, counted):
        """Mean and covariance of the exact posterior."""
        covariance = torch.linalg.inv(self.precision(counted))
        rest = x - self.b - y @ self.B.T - self.W @ self.m
        scaled = counted.to(x.dtype) * rest / (2 * self.log_s).exp()
        mean = self.m + (covariance @ (scaled @ self.W)[..., None])[..., 0]
        return mean, covariance, rest


class Pair:
    """Model and guide of a specification, and what is known of them."""

    def __init__(self, spec):
        self.spec, self.layout = spec, spec.layout
        self.tables = Tables(spec)
        self.records = []
        self.transform = TRANSFORMS.get(spec.prior)
        self.code_site = "c"
        model = self._model
        if spec.reparam:
            self.code_site = "c_base" if self.transform else "c_decentered"
            way = TransformReparam() if self.transform else LocScaleReparam(centered=0.0)
            model = poutine.reparam(model, config={"c": way})
        self.model, self.guide = self.layout.dressed(model, self._guide, self.tables)
        packed, keywords = self.layout.pack(self.tables.values)
        self.args = (self.tables.y, self.tables.masks, *packed)
        self.kwargs = keywords

    def codes(self):
        if self.spec.codes == "slice":
            return {self.code_site: slice(0, 1)}
        return None if self.spec.codes == "all" else "c"

    @property
    def observed(self):
        return ["y"] if self.spec.covariate == "site" else []

    def _read(self, args, kwargs):
        like = [self.layout.dtype] * len(self.tables.shapes)
        return self.layout.unpack(args, kwargs, self.tables.shapes, like)

    def _model(self, y, masks, *args, **kwargs):
        t, spec, layout = self.tables, self.spec, self.layout
        values = self._read(args, kwargs)
        k = spec.code_dim
        with layout.plates(of_guide=False) as part:
            here = part(torch.arange(layout.rows)) if layout.batch else None
            y = part(y)
            if spec.covariate == "site":
                y = pyro.sample("y", dist.Normal(torch.zeros_like(y), 1.0).to_event(1), obs=y)
            if spec.covariate == "no":
                y = torch.zeros_like(y)
            with layout.around_latents(part(masks[0]), 1):
                prior = dist.Normal(t.m[:k], t.log_t[:k].exp())
                if self.transform:
                    prior = dist.TransformedDistribution(prior, [self.transform])
                c = pyro.sample("c", prior.to_event(1))
                n = self.transform.inv(c) if self.transform else c
                if spec.noise_dim:
                    u = pyro.sample("u", dist.Normal(t.m[k:], t.log_t[k:].exp()).to_event(1))
                    n = torch.cat([n, u], -1)
            loc = n @ t.W.T + t.b + y @ t.B.T
            drawn, start = [], 0
            for number, (value, mask) in enumerate(zip(values, masks, strict=True)):
                end = start + value.shape[-1]
                fn = dist.Normal(loc[..., start:end], t.log_s[start:end].exp())
                with layout.around(part(mask), 1):
                    fn = layout.masked(fn, part(mask), 1)
                    drawn.append(pyro.sample(f"x{number}", fn, obs=part(value)))
                start = end
        self.records.append({"n": n, "x": torch.cat(drawn, -1), "rows": here})

    def _guide(self, y, masks, *args, **kwargs):
        spec, layout = self.spec, self.layout
        values = self._read(args, kwargs)
        with layout.plates(of_guide=True) as part:
            x = torch.cat([part(value) for value in values], -1)
            y = part(y) if spec.covariate != "no" else torch.zeros_like(part(y))
            counted = torch.cat([part(mask) for mask in masks], -1)
            with layout.around_latents(part(masks[0]), 1):
                q_c, q_u_given = self.densities(x, y, counted)
                if spec.reparam and not self.transform:
                    # of (c - m) / t
                    standard = dist.TransformedDistribution(
                        q_c.base_dist if isinstance(q_c, dist.Independent) else q_c,
                        [self._standardise()],
                    )
                    q_c = standard.to_event(1 - standard.event_dim)
                if self.transform and not spec.reparam:
                    base = q_c.base_dist if isinstance(q_c, dist.Independent) else q_c
                    q_c = dist.TransformedDistribution(base, [self.transform])
                    q_c = q_c.to_event(1 - q_c.event_dim)
                c = pyro.sample(self.code_site, q_c)
                if spec.noise_dim:
                    pyro.sample("u", q_u_given(self._normal(c)))

    def _standardise(self):
        k = self.spec.code_dim
        t = self.tables.log_t[:k].exp()
        return transforms.AffineTransform(-self.tables.m[:k] / t, 1 / t)

    def _normal(self, c):
        if self.spec.reparam and not self.transform:
            return self._standardise().inv(c)
        return self.transform.inv(c) if self.transform and not self.spec.reparam else c

    def densities(self, x, y, counted):
        """q(n_c | x), and q(n_u | x, n_c) as a function."""
        t, spec = self.tables, self.spec
        k = spec.code_dim
        mean, covariance, rest = t.posterior(x, y, counted)
        if spec.guide != "exact":
            mean = mean + rest @ t.error.T
            covariance = covariance * (2 * t.log_width).exp()
        if spec.guide == "factorised":
            scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
            q_u = dist.Normal(mean[..., k:], scale[..., k:]).to_event(1)
            return dist.Normal(mean[..., :k], scale[..., :k]).to_event(1), lambda c: q_u
        q_c = dist.MultivariateNormal(mean[..., :k], covariance[..., :k, :k])
        gain = torch.linalg.solve(covariance[..., :k, :k], covariance[..., :k, k:]).mT
        rest_covariance = covariance[..., k:, k:] - gain @ covariance[..., :k, k:]

        def q_u(c):
            loc = mean[..., k:] + (gain @ (c - mean[..., :k])[..., None])[..., 0]
            return dist.MultivariateNormal(loc, (rest_covariance + rest_covariance.mT) / 2)

        return q_c, q_u

    def pointwise(self, record):
        """The term at the draws of one run: log q(code|x') - log p(code), by row."""
        t, spec = self.tables, self.spec
        rows = slice(None) if record["rows"] is None else record["rows"]
        y = t.y[rows] if spec.covariate != "no" else torch.zeros_like(t.y[rows])
        q_c, q_u = self.densities(record["x"], y, t.counted[rows])
        k, n = spec.code_dim, record["n"]
        p = dist.Normal(t.m, t.log_t.exp()).log_prob(n)
        if spec.codes == "slice":
            ratio = q_c.base_dist.log_prob(n[..., :k])[..., 0] - p[..., 0]
        else:
            ratio = q_c.log_prob(n[..., :k]) - p[..., :k].sum(-1)
            if spec.codes == "all" and spec.noise_dim:
                ratio = ratio + q_u(n[..., :k]).log_prob(n[..., k:]) - p[..., k:].sum(-1)
        if self.layout.mask == "all":
            ratio = ratio * t.masks[0][rows][..., 0].to(ratio.dtype)
        return ratio

    def information(self):
        """I(code; x' | y) of every row, in nats."""
        t, k = self.tables, self.spec.code_dim
        k = {"all": len(t.m), "c": k, "slice": 1}[self.spec.codes]
        covariance = torch.linalg.inv(t.precision(t.counted))[..., :k, :k]
        value = t.log_t[:k].sum() - 0.5 * torch.logdet(covariance)
        return value * t.masks[0][..., 0] if self.layout.mask == "all" else value

    def bound(self):
        """E[log q(code|x') - log p(code)] of every row under the model, for factorised guides."""
        spec, dims = self.spec, self.bound_by_dimension()
        k = {"all": dims.shape[-1], "c": spec.code_dim, "slice": 1}[spec.codes]
        value = dims[..., :k].sum(-1)
        return value * self.tables.masks[0][..., 0] if self.layout.mask == "all" else value

    def kl_by_dimension(self):
        """KL(q(n_d|x) || p(n_d)) of every row and dimension of factorised guides."""
        t, spec = self.tables, self.spec
        y = t.y if spec.covariate != "no" else torch.zeros_like(t.y)
        q_c, q_u = self.densities(torch.cat(t.values, -1), y, t.counted)
        parts = [q_c.base_dist, q_u(None).base_dist]
        q = dist.Normal(*(torch.cat([getattr(p, n) for p in parts], -1) for n in ("loc", "scale")))
        return torch.distributions.kl_divergence(q, dist.Normal(t.m, t.log_t.exp()))

    def bound_by_dimension(self):
        """The bound on I(n_d; x') of every row and dimension, for factorised guides."""
        t, spec = self.tables, self.spec
        counted = t.counted.to(t.W.dtype)
        covariance = torch.linalg.inv(t.precision(t.counted))
        s2 = (2 * t.log_s).exp()
        y = t.y if spec.covariate != "no" else torch.zeros_like(t.y)
        data = torch.cat(t.values, -1) - t.b - y @ t.B.T - t.W @ t.m
        # rest = counted * (W z + noise) + (1 - counted) * data, with z = n - m.
        gain = covariance @ (counted[..., None] * t.W / s2[:, None]).mT + t.error
        by_z = torch.eye(len(t.m), dtype=t.W.dtype) - gain @ (counted[..., None] * t.W)
        constant = (gain @ ((1 - counted) * data)[..., None])[..., 0]
        second = by_z**2 @ (2 * t.log_t).exp() + (gain**2 @ (counted * s2)[..., None])[..., 0]
        variance = covariance.diagonal(dim1=-2, dim2=-1) * (2 * t.log_width).exp()
        log_q = -0.5 * (variance.log() + (second + constant**2) / variance)
        return log_q + t.log_t + 0.5

    def log_evidence(self):
        """log p(x | y) of every row, of the entries that count."""
        t, spec = self.tables, self.spec
        y = t.y if spec.covariate != "no" else torch.zeros_like(t.y)
        x, loc = torch.cat(t.values, -1), t.W @ t.m + t.b + y @ t.B.T
        covariance = t.W @ torch.diag((2 * t.log_t).exp()) @ t.W.T + torch.diag((2 * t.log_s).exp())
        counted = t.counted.to(x.dtype)
        # An entry that does not count becomes an independent standard normal at 0.
        both = counted[..., None] * counted[..., None, :]
        masked = both * covariance + torch.diag_embed(1 - counted)
        fn = dist.MultivariateNormal(torch.zeros_like(x), masked)
        spare = 0.5 * torch.tensor(2 * torch.pi, dtype=x.dtype).log() * (1 - counted).sum(-1)
        return fn.log_prob(counted * (x - loc)) + spare


def gaussians(layouts, **fixed):
    """Any specification over the given layouts."""
    draws = {
        "layout": layouts,
        "code_dim": st.integers(1, 2),
        "noise_dim": st.integers(0, 2),
        "data_dims": st.sampled_from([(1,), (2,), (1, 2), (2, 1)]),
        "covariate": st.sampled_from(["no", "argument", "site"]),
        "guide": st.sampled_from(["exact", "perturbed", "factorised"]),
        "codes": st.sampled_from(["all", "c", "slice"]),
        "prior": st.sampled_from(["normal", "normal", *TRANSFORMS]),
        "reparam": st.booleans(),
    }
    draws |= {name: st.sampled_from(values) for name, values in fixed.items()}

    def plain(spec):
        values = {name: getattr(spec, name) for name in draws}
        if spec.codes == "slice":
            values |= {"guide": "factorised"}
            if spec.prior != "normal":
                values |= {"codes": "c"}
        return Gaussian(**values)

    return st.builds(Gaussian, **draws).map(plain)
