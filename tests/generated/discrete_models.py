"""Discrete pairs of a code c and a noise u: every value by enumeration.

p(c) p(u) p(x|c, u), where x are several sites (bits, a category, counts) of which masks leave some
out, and q(c|x) q(u|x, c) from tables of its own: the exact posterior of its tables, or a perturbed
one that also reads what is masked.
"""

import itertools
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from hypothesis import strategies as st
from layouts import Layout
from oracles import Bernoulli, Categorical, OneHotCategorical
from torch import nn


@dataclass(frozen=True)
class Discrete:
    layout: Layout
    code: str = "bit"  # bit, category, one-hot
    noise: bool = True
    data: tuple = ("bits",)
    exact: bool = True
    codes: str = "all"  # all, c, u

    @property
    def sizes(self):
        return (2 if self.code == "bit" else 3), (2 if self.noise else 1)


class Tables(nn.Module):
    """Logits of model and guide; see `Pair`."""

    def __init__(self, spec):
        super().__init__()
        generator = torch.Generator().manual_seed(spec.layout.seed)
        dtype = spec.layout.dtype
        draw = lambda *shape: nn.Parameter(torch.randn(shape, generator=generator).to(dtype))  # noqa: E731
        self.c, self.u = draw(spec.sizes[0]), draw(spec.sizes[1])
        self.x = nn.ParameterList()
        self.events, self.probs = [], []
        for kind in spec.data:
            event, outputs = {"bits": ((2,), 2), "category": ((), 3), "count": ((), 1)}[kind]
            self.events.append(event)
            self.x.append(draw(*spec.sizes, outputs))
        self.error_c = draw(spec.sizes[0], len(spec.data))
        self.error_u = draw(*spec.sizes, len(spec.data))
        self.q_c, self.q_u = (nn.Parameter(p.detach().clone()) for p in (self.c, self.u))
        self.q_x = nn.ParameterList([nn.Parameter(p.detach().clone()) for p in self.x])


class Pair:
    """Model and guide of a specification, and what is known of them."""

    def __init__(self, spec):
        self.spec, self.layout = spec, spec.layout
        self.tables = Tables(spec)
        self.records, self.guide_records = [], []
        self.masks = self.layout.masks(self.tables.events)
        generator = torch.Generator().manual_seed(self.layout.seed + 1)
        self.values = []
        for kind, event in zip(spec.data, self.tables.events, strict=True):
            size = (*self.layout.batch, *event)
            top = {"bits": 2, "category": 3, "count": 3}[kind]
            value = torch.randint(0, top, size, generator=generator)
            self.values.append(value if kind == "category" else value.to(self.layout.dtype))
        self.model, self.guide = self.layout.dressed(self._model, self._guide, self.tables)
        packed, self.kwargs = self.layout.pack(self.values)
        self.args = (self.masks, *packed)

    @property
    def codes(self):
        return None if self.spec.codes == "all" else self.spec.codes

    def likelihood(self, number, logits):
        kind = self.spec.data[number]
        if kind == "bits":
            return Bernoulli(logits=logits)
        if kind == "category":
            return Categorical(logits=logits)
        return dist.Binomial(2, logits=logits[..., 0], validate_args=False)

    def _latent(self, name, logits):
        if name == "c" and self.spec.code == "one-hot":
            return OneHotCategorical(logits=logits)
        if name == "c" and self.spec.code == "category":
            return Categorical(logits=logits)
        return Bernoulli(logits=logits[..., 1] - logits[..., 0])

    def _index(self, name, value):
        return value.argmax(-1) if name == "c" and self.spec.code == "one-hot" else value.long()

    def _read(self, args, kwargs):
        return self.layout.unpack(args, kwargs, self.tables.events, [v.dtype for v in self.values])

    def _model(self, masks, *args, **kwargs):
        t, spec, layout = self.tables, self.spec, self.layout
        values = self._read(args, kwargs)
        with layout.plates(of_guide=False) as part:
            rows = part(torch.arange(layout.rows)) if layout.batch else None
            with layout.around_latents(part(masks[0]), len(t.events[0])):
                c = self._index("c", pyro.sample("c", self._latent("c", t.c)))
                u = torch.zeros_like(c)
                if spec.noise:
                    u = self._index("u", pyro.sample("u", self._latent("u", t.u)))
            drawn = []
            for number, (value, mask) in enumerate(zip(values, masks, strict=True)):
                depth = len(t.events[number])
                with layout.around(part(mask), depth):
                    fn = self.likelihood(number, t.x[number][c, u])
                    fn = layout.masked(fn, part(mask), depth)
                    drawn.append(pyro.sample(f"x{number}", fn, obs=part(value)))
        self.records.append({"c": c, "u": u, "x": drawn, "rows": rows})

    def _guide(self, masks, *args, **kwargs):
        layout = self.layout
        values = self._read(args, kwargs)
        with layout.plates(of_guide=True) as part:
            x = [part(value) for value in values]
            log_q = self.log_guide(x, [part(mask) for mask in masks])
            depth = len(self.tables.events[0])
            with layout.around_latents(part(masks[0]), depth):
                log_q_c = log_q.logsumexp(-1)
                c = self._index("c", pyro.sample("c", self._latent("c", log_q_c)))
                if self.spec.noise:
                    given = log_q - log_q_c[..., None]
                    batch = torch.broadcast_shapes(c.shape, given.shape[:-2])
                    where = c[..., None, None].expand(*batch, 1, 2)
                    given = given.expand(*batch, *given.shape[-2:]).gather(-2, where)[..., 0, :]
                    pyro.sample("u", self._latent("u", given))
        self.guide_records.append(c)

    def log_likelihood(self, x, masks, tables):
        """log p(x|c, u) of what counts, for all c and u, shape (..., codes, noises)."""
        total = 0.0
        for number, (value, mask) in enumerate(zip(x, masks, strict=True)):
            event = len(self.tables.events[number])
            for _ in range(2):
                value, mask = value.unsqueeze(-1 - event), mask.unsqueeze(-1 - event)
            fn = self.likelihood(number, tables[number])
            log_prob = torch.where(mask, fn.log_prob(value), 0.0)
            total = total + (log_prob.sum(-1) if event else log_prob)
        return total

    def log_guide(self, x, masks):
        """log q(c, u|x), shape (..., codes, noises)."""
        t = self.tables
        joint = t.q_c.log_softmax(-1)[:, None] + t.q_u.log_softmax(-1)
        joint = joint + self.log_likelihood(x, masks, t.q_x)
        if not self.spec.exact:
            number = [v.sum(-1) if e else v for v, e in zip(x, t.events, strict=True)]
            read = torch.stack([v.to(t.c.dtype) for v in number], -1)
            joint = joint + (read @ t.error_c.T)[..., None]
            joint = joint + (read[..., None, None, :] * t.error_u).sum(-1)
        return joint.flatten(-2).log_softmax(-1).reshape(joint.shape)

    def log_joint(self, x, masks):
        """log p(c, u, x), shape (..., codes, noises)."""
        t = self.tables
        prior = t.c.log_softmax(-1)[:, None] + t.u.log_softmax(-1)
        return prior + self.log_likelihood(x, masks, t.x)

    def score(self, c, u, log_q, own_c=None):
        """log q(code|x) - log p(code) at (c, u), where the guide has drawn `own_c`."""
        t = self.tables
        log_p_c, log_p_u = t.c.log_softmax(-1)[c], t.u.log_softmax(-1)[u]
        log_q_c = log_q.logsumexp(-1)
        at = lambda table, index: table.gather(-1, index[..., None])[..., 0]  # noqa: E731
        joint = at(log_q.flatten(-2), c * log_q.shape[-1] + u)
        if self.spec.codes == "all":
            return joint - log_p_c - log_p_u
        if self.spec.codes == "c":
            return at(log_q_c, c) - log_p_c
        own = at(log_q.flatten(-2), own_c * log_q.shape[-1] + u) - at(log_q_c, own_c)
        return own - log_p_u

    def pointwise(self, record, own_c):
        rows = ... if record["rows"] is None else record["rows"]
        masks = [mask[rows] for mask in self.masks]
        value = self.score(record["c"], record["u"], self.log_guide(record["x"], masks), own_c)
        return self._counted(value, rows)

    def _counted(self, value, rows=...):
        if self.layout.mask != "all":
            return value
        mask = self.masks[0][rows]
        return value * (mask[..., 0] if self.tables.events[0] else mask)

    def _outcomes(self):
        """All (c, u, x) in a first dimension, x with the data where masks leave it out."""
        codes, noises = self.spec.sizes
        tops = {"bits": [2, 2], "category": [3], "count": [3]}
        ranges = [codes, noises, *itertools.chain(*[tops[kind] for kind in self.spec.data])]
        table = torch.tensor(list(itertools.product(*map(range, ranges))))
        depth = self.layout.depth

        def spread(v):
            aligned = v.reshape(len(v), *[1] * depth, *v.shape[1:])
            return aligned.expand(len(v), *self.layout.batch, *v.shape[1:])

        column, xs, drawn = 2, [], []
        for value, mask, event in zip(self.values, self.masks, self.tables.events, strict=True):
            raw = table[:, column : column + 2] if event else table[:, column]
            column += 2 if event else 1
            drawn.append(spread(raw.to(value.dtype)))
            xs.append(torch.where(mask, drawn[-1], value))
        return spread(table[:, 0]), spread(table[:, 1]), xs, drawn

    def _weights(self, c, u, drawn):
        everything = [torch.ones_like(mask) for mask in self.masks]
        log_p = self.log_joint(drawn, everything).flatten(-2)
        return log_p.gather(-1, (c * self.spec.sizes[1] + u)[..., None])[..., 0].exp()

    def expected(self, log_density):
        """E[log q(code|x') - log p(code)] by row, for a density as `log_guide` gives it."""
        c, u, x, drawn = self._outcomes()
        weight, log_q = self._weights(c, u, drawn), log_density(x, self.masks)
        if self.spec.codes != "u":
            return self._counted((weight * self.score(c, u, log_q)).sum(0))
        log_q_c = log_q.logsumexp(-1)
        total = 0.0
        for value in range(self.spec.sizes[0]):
            own = torch.full_like(c, value)
            total = total + weight * log_q_c[..., value].exp() * self.score(c, u, log_q, own)
        return self._counted(total.sum(0))

    def bound(self):
        return self.expected(self.log_guide)

    def information(self):
        """I(code; x') of every row."""

        def posterior(x, masks):
            joint = self.log_joint(x, masks)
            joint = joint - joint.flatten(-2).logsumexp(-1)[..., None, None]
            if self.spec.codes == "u":  # whatever c the guide has drawn
                marginal = joint.logsumexp(-2, keepdim=True)
                return (marginal + joint.logsumexp(-1, keepdim=True)).expand(joint.shape)
            return joint

        return self.expected(posterior)

    def log_evidence(self):
        return self.log_joint(self.values, self.masks).flatten(-2).logsumexp(-1)

    def elbo(self, rows=...):
        """E_q[log p(c, u, x) - log q(c, u|x)] of every row."""
        log_q, log_p = (
            self.log_guide(self.values, self.masks),
            self.log_joint(self.values, self.masks),
        )
        return (log_q.exp() * (log_p - log_q)).flatten(-2).sum(-1)[rows]


def discretes(layouts, **fixed):
    draws = {
        "layout": layouts,
        "code": st.sampled_from(["bit", "category", "one-hot"]),
        "noise": st.booleans(),
        "data": st.lists(
            st.sampled_from(["bits", "category", "count"]), min_size=1, max_size=3
        ).map(tuple),
        "exact": st.booleans(),
        "codes": st.sampled_from(["all", "c", "u"]),
    }
    draws |= {name: st.sampled_from(values) for name, values in fixed.items()}

    def plain(spec):
        values = {name: getattr(spec, name) for name in draws}
        for name in set(vars(spec)) - set(draws):
            values[name] = getattr(spec, name)
        if not spec.noise and spec.codes == "u":
            values["codes"] = "c"
        return Discrete(**values)

    return st.builds(Discrete, **draws).map(plain)
