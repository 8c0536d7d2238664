"""How a generated pair is written: plates, masks, subsampling, arguments, functions or modules.

A family (`discrete_models`, `gaussian_models`) says what the distributions are and knows the exact
values; a `Layout` says everything else that users vary.
"""

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyro
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import nn

HUNT = int(os.environ.get("PYRO_MIVAE_EXAMPLES", "0"))
BASES = {
    "trace": Trace_ELBO,
    "graph": TraceGraph_ELBO,
    "mean-field": TraceMeanField_ELBO,
    "enum": TraceEnum_ELBO,
}


def examples(count):
    """The same `count` examples in every run, or as many random ones as PYRO_MIVAE_EXAMPLES."""
    return settings(
        max_examples=HUNT or count,
        derandomize=not HUNT,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        database=None,
        print_blob=bool(HUNT),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def fresh(seed):
    """An empty param store and a seed, for one example."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    yield
    pyro.clear_param_store()


@dataclass(frozen=True)
class Layout:
    seed: int = 0
    plate: str = "one"  # none, one, grid (all sites in two plates)
    rows: int = 2
    subsample: str = "no"  # no, both, guide (in the guide's plate alone), larger (a part of more)
    mask: str = "no"  # no, entry, row, handler (around the data), all (around latents, too)
    scale: float = 1.0
    taken: str = "whole"
    style: str = "function"
    dtype: torch.dtype = torch.float64
    base: str = "trace"
    particles: int = 1

    @property
    def batch(self):
        return {"none": (), "one": (self.rows,), "grid": (self.rows, 2)}[self.plate]

    @property
    def part(self):
        """How many rows a call takes."""
        return max(1, self.rows - 1) if self.indexed else self.rows

    @property
    def indexed(self):
        return self.subsample in ("both", "guide")

    @property
    def factor(self):
        """What the plates and `poutine.scale` multiply a call's terms with."""
        if self.subsample == "larger":
            return self.scale * 10
        return self.scale * self.rows / self.part

    @property
    def depth(self):
        return len(self.batch)

    def tolerance(self):
        return 1e-7 if self.dtype == torch.float64 else 2e-3

    @contextmanager
    def plates(self, of_guide):
        """Yields the function that takes a call's rows of a tensor."""
        with ExitStack() as stack:
            if self.scale != 1:
                stack.enter_context(poutine.scale(scale=self.scale))
            index = None
            if self.plate != "none":
                size, part = self.rows, None
                if self.subsample == "both" or (self.subsample == "guide" and of_guide):
                    part = self.part
                if self.subsample == "larger":
                    size, part = 10 * self.rows, self.rows
                index = stack.enter_context(
                    pyro.plate("data", size, subsample_size=part, dim=-self.depth)
                )
            if self.plate == "grid":
                stack.enter_context(pyro.plate("views", 2, dim=-1))
            yield (lambda value: value[index]) if self.indexed else (lambda value: value)

    def masked(self, fn, mask, event_dim):
        """The distribution with its mask inside, where this layout has it there."""
        if self.mask == "entry":
            return fn.mask(mask).to_event(event_dim)
        fn = fn.to_event(event_dim)
        if self.mask == "row":
            return fn.mask(mask[..., 0] if event_dim else mask)
        return fn

    def around(self, mask, event_dim):
        if self.mask not in ("handler", "all"):
            return ExitStack()
        return poutine.mask(mask=mask[..., 0] if event_dim else mask)

    def around_latents(self, mask, event_dim):
        return self.around(mask, event_dim) if self.mask == "all" else ExitStack()

    def masks(self, shapes):
        """One mask by site, of the site's shape; the same for all of a row unless by entry."""
        generator = torch.Generator().manual_seed(self.seed)
        one = torch.rand(self.batch, generator=generator) < 0.6
        masks = []
        for event in shapes:
            if self.mask == "no":
                mask = torch.ones(self.batch + event, dtype=torch.bool)
            elif self.mask == "entry":
                mask = torch.rand(self.batch + event, generator=generator) < 0.6
            else:
                row = (
                    one if self.mask == "all" else torch.rand(self.batch, generator=generator) < 0.6
                )
                mask = row.reshape(self.batch + (1,) * len(event)).expand(self.batch + event)
            masks.append(mask.clone())
        return masks

    def _is_table(self, shapes):
        # Slices of a subsampled argument are refused: the message asks for data_args.
        return self.taken == "slice" and all(shapes) and not (self.indexed and len(shapes) > 1)

    def pack(self, values):
        """Arguments and keywords of model and guide that hold the data."""
        if self._is_table([v.shape[self.depth :] for v in values]):
            return (torch.cat(values, -1),), {}
        if self.taken == "reshape" and not self.indexed:
            return tuple(v.reshape(-1) for v in values), {}
        if self.taken == "strided":
            doubled = [torch.stack([v, v + 1], -1) for v in values]
            return tuple(v[..., 0] for v in doubled), {}
        if self.taken == "transposed":
            backwards = lambda v: v.permute(tuple(reversed(range(v.dim()))))  # noqa: E731
            return tuple(backwards(backwards(v).contiguous()) for v in values), {}
        if self.taken == "convert":
            other = torch.float32 if self.dtype == torch.float64 else torch.float64
            return tuple(v.to(other) if v.is_floating_point() else v for v in values), {}
        if self.taken == "integers":
            return tuple(v.long() for v in values), {}
        if self.taken == "dict":
            return ({f"x{k}": v for k, v in enumerate(values)},), {}
        if self.taken == "keyword":
            return (), {f"x{k}": v for k, v in enumerate(values)}
        return tuple(values), {}

    def unpack(self, args, kwargs, shapes, like):
        """All rows of each site's data, from the arguments."""
        if self._is_table(shapes):
            return list(args[0].split([shape[0] for shape in shapes], -1))
        if self.taken == "reshape" and not self.indexed:
            return [v.reshape(self.batch + s) for v, s in zip(args, shapes, strict=True)]
        if self.taken == "dict":
            args = tuple(args[0].values())
        if self.taken == "keyword":
            args = tuple(kwargs[f"x{k}"] for k in range(len(shapes)))
        if self.taken in ("convert", "integers"):
            return [v.to(dtype) for v, dtype in zip(args, like, strict=True)]
        return list(args)

    def dressed(self, model, guide, module):
        """Model and guide as functions, modules, bound methods or functions around modules."""
        if self.style == "module":
            return Model(model, module), Model(guide, module)
        if self.style == "pyro-module":
            return PyroModel(model, module), PyroModel(guide, module)
        if self.style == "method":
            holder = Holder(model, guide, module)
            return holder.model, holder.guide
        if self.style == "registered":

            def registered_model(*args, **kwargs):
                pyro.module("tables", module)
                return model(*args, **kwargs)

            return registered_model, guide
        return model, guide

    def elbo(self):
        settings = {"strict_enumeration_warning": False} if self.base == "enum" else {}
        return BASES[self.base](max_plate_nesting=self.depth, **settings)


class Model(nn.Module):
    def __init__(self, fn, module):
        super().__init__()
        self.fn, self.module = fn, module

    def forward(self, *args, **kwargs):
        return self.fn(*args, **kwargs)


class PyroModel(PyroModule):
    def __init__(self, fn, module):
        super().__init__()
        self.fn = fn

    def forward(self, *args, **kwargs):
        return self.fn(*args, **kwargs)


class Holder(nn.Module):
    def __init__(self, model, guide, module):
        super().__init__()
        self._model, self._guide, self.module = model, guide, module

    def model(self, *args, **kwargs):
        return self._model(*args, **kwargs)

    def guide(self, *args, **kwargs):
        return self._guide(*args, **kwargs)


def layouts(taken, bases, masks=("no", "no", "entry", "row", "handler", "all"), **fixed):
    """Any layout with one of the given ways."""
    draws = {
        "seed": st.integers(0, 10**6),
        "plate": st.sampled_from(["one", "grid", "none"]),
        "rows": st.integers(1, 4),
        "subsample": st.sampled_from(["no", "both", "guide", "larger"]),
        "mask": st.sampled_from(masks),
        "scale": st.sampled_from([1.0, 0.3]),
        "taken": st.sampled_from(taken),
        "style": st.sampled_from(["function", "module", "pyro-module", "method", "registered"]),
        "dtype": st.sampled_from([torch.float64, torch.float32]),
        "base": st.sampled_from(bases),
        "particles": st.sampled_from([1, 1, 2]),
    }
    draws |= {name: st.just(value) for name, value in fixed.items()}

    def plain(layout):
        changes = {"rows": 1, "subsample": "no"} if layout.plate == "none" else {}
        return Layout(**{**vars(layout), **changes})

    return st.builds(Layout, **draws).map(plain)
