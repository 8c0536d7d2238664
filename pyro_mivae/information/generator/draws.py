"""Images of any model from draws of its prior, and again with one code drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyro_mivae.disentanglement.inputs import Floats
from pyro_mivae.infer.dual.channel import Channel, Forward, generate
from pyro_mivae.infer.dual.code_sites import CodeSites
from pyro_mivae.infer.pair_memory import PairMemory
from pyro_mivae.information.generator.pixels import Images, to_bytes
from pyro_mivae.traces.call import Call
from pyro_mivae.traces.dependencies import dependencies
from pyro_mivae.traces.rerun import plate_indices
from pyro_mivae.traces.sites import Codes, chosen_dims, is_one_hot, latent_sites, unwrap


@dataclass(frozen=True)
class CodeColumn:
    """One code: a dimension of a site, or a category.

    Attributes:
        site: Name of the site.
        dim: Place among the site's dimensions; None for a category that is the site as a whole.
        categories: Number of values of a category, 0 for a continuous code.
        unit: Numbers that hold the code: as many as there are values for a one-hot vector, else 1.
        free: Whether it can be drawn anew alone: no other dimension of its site depends on it.
    """

    site: str
    dim: int | None
    categories: int
    unit: int
    free: bool = True

    @property
    def name(self) -> str:
        """The site, with the place of its dimension."""
        return self.site if self.dim is None else f"{self.site}[{self.dim}]"


@dataclass(frozen=True, eq=False)
class GeneratorDraws:
    """Codes drawn from the prior, and the images made from them.

    Attributes:
        columns: The codes.
        codes: Their values, (N, codes); a category is a number.
        images: The images, uint8 (N, H, W), or (N, channels, H, W).
        moved: For each code the first M images with this code drawn anew and all else kept,
            (codes, M, ...); as they were where it can't be drawn alone.
        again: The first M images made again with nothing drawn anew: they differ from the images
            where a model draws what is no site, or pixels are drawn. None where they are the same.
    """

    columns: tuple[CodeColumn, ...]
    codes: Floats
    images: Images
    moved: Images
    again: Images | None


@dataclass(frozen=True, eq=False)
class Generator:
    """A Pyro model as a generator of images.

    Attributes:
        model: A Pyro model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        channel: How x' is generated.
        codes: Code sites and their dimensions; None for all latent sites.
        observed: Observed sites that keep their data.
        site: Name of the site of the images; None for the only one that is generated.
        to_images: Function from x' to grey values in [0, 1]; None for x' itself.
    """

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    channel: Channel
    codes: Codes | None
    observed: tuple[str, ...]
    site: str | None
    to_images: Callable[[Tensor], Tensor] | None

    def run(self, model: Any = None, indices: Mapping[str, Tensor] | None = None) -> Forward:
        """Runs the model forward, or another in its place, with given indices of plates."""
        return generate(
            self.model if model is None else model,
            self.args,
            self.kwargs,
            channel=self.channel,
            observed=self.observed,
            indices=indices,
            keep=False,
        )

    def parents(self, forward: Forward) -> Mapping[str, frozenset[str]]:
        """Finds the latent sites that others depend on."""
        several = len(self._latent(forward)) > 1
        return dependencies(self.model, self.args, self.kwargs) if several else {}

    def anew(
        self,
        forward: Forward,
        columns: tuple[CodeColumn, ...],
        parents: Mapping[str, frozenset[str]],
    ) -> dict[str, Forward]:
        """Draws each code site anew in a run, from its distribution given its parents."""
        indices = plate_indices(forward.trace)
        together = self.run(indices=indices)
        runs: dict[str, Forward] = {}
        for site in dict.fromkeys(column.site for column in columns):
            runs[site] = together
            if parents.get(site):
                others = [name for name in self._latent(forward) if name != site]
                runs[site] = self.run(self._kept(forward, others), indices)
        return runs

    def _latent(self, forward: Forward) -> list[str]:
        return [n for n in latent_sites(forward.trace) if n not in forward.generated]

    def _kept(
        self, forward: Forward, names: Iterable[str], changed: Mapping[str, Tensor] | None = None
    ) -> Any:
        """The model with the draws of a run, some of them changed."""
        trace = poutine.Trace()
        for name in names:
            trace.add_node(name, **forward.trace.nodes[name])
            if changed and name in changed:
                trace.nodes[name]["value"] = changed[name]
        return poutine.replay(self.model, trace=trace)

    def again(
        self, forward: Forward, column: CodeColumn | None = None, other: Forward | None = None
    ) -> Images:
        """Makes the images of a run again, all latents kept but one code of another run."""
        changed = {}
        if column is not None and other is not None:
            before, drawn = (run.trace.nodes[column.site]["value"] for run in (forward, other))
            changed[column.site] = _replaced(before, drawn, column)
        kept = self._kept(forward, self._latent(forward), changed)
        return self.images_of(self.run(kept, plate_indices(forward.trace)))

    def images_of(self, forward: Forward) -> Images:
        """Rounds the images of a run to 8 bits, (B, H, W).

        Raises:
            ValueError: If it is not clear which site they are of, or they are no images in [0, 1].
        """
        names = list(forward.generated)
        if self.site is None and len(names) != 1:
            raise ValueError(
                f"site: expected a model that generates at one site, found {names or 'none'}: name "
                "the site of the images, site=..."
            )
        name = names[0] if self.site is None else self.site
        if name not in names:
            raise ValueError(f"site: expected one of {names}, found {name!r}")
        value = forward.generated[name]
        if self.to_images is not None:
            value = self.to_images(value)
        return to_bytes(value, name, drawn=self.channel != "mean")

    def columns_of(self, forward: Forward) -> tuple[CodeColumn, ...]:
        """Lists the codes that are latent in a run.

        Raises:
            ValueError: If a code is none, or there is not one value for each image.
        """
        sites = CodeSites(self.codes, self.observed)
        call = Call(self.model, self.model, self.args, self.kwargs)
        latent = sites.latent(forward, call, PairMemory())
        if not latent:
            raise ValueError("codes: expected a model with latent sites, found none")
        columns: list[CodeColumn] = []
        for name, dims in latent.items():
            site = forward.trace.nodes[name]
            kind, unit = _kind(site["fn"])
            size = site["value"].shape[1:].numel() // unit
            if size == 1:
                columns.append(CodeColumn(name, None, kind, unit))
                continue
            chosen = list(range(size))
            free = unit > 1 or not unwrap(site["fn"]).event_shape
            if dims is not None:
                mask = chosen_dims(dims, site["fn"], name, site["value"].device)
                chosen = [d for d in chosen if mask[d % len(mask)]]
            columns += [CodeColumn(name, d, kind, unit, free) for d in chosen]
        return tuple(columns)


def draw_images(generator: Generator, *, num_draws: int, num_moved: int) -> GeneratorDraws:
    """Draws codes from the prior and makes images; for the first of them, each code is drawn anew.

    The model runs as often as it takes for `num_draws` images, with the same arguments.

    Args:
        generator: Model and how images are made.
        num_draws: Number N of images.
        num_moved: Number M of images for which each code is drawn anew.

    Raises:
        ValueError: If images or codes are not as expected.
    """
    codes: list[Floats] = []
    images: list[Images] = []
    moved: list[Images] = []
    again: list[Images] = []
    columns: tuple[CodeColumn, ...] = ()
    parents: Mapping[str, frozenset[str]] | None = None
    drawn = 0
    while drawn < num_draws:
        forward = generator.run()
        batch = generator.images_of(forward)
        columns = columns or generator.columns_of(forward)
        values = [_values(forward, column, len(batch), generator.site) for column in columns]
        codes.append(np.stack(values, 1))
        images.append(batch)
        if drawn < num_moved:
            parents = generator.parents(forward) if parents is None else parents
            runs = generator.anew(forward, columns, parents)
            anew = [generator.again(forward, c, runs[c.site]) if c.free else batch for c in columns]
            moved.append(np.stack(anew))
            again.append(generator.again(forward))
        drawn += len(batch)
    every = np.concatenate(images)[:num_draws]
    second = np.concatenate(again)[:num_moved]
    return GeneratorDraws(
        columns,
        np.concatenate(codes)[:num_draws],
        every,
        np.concatenate(moved, 1)[:, :num_moved],
        None if np.array_equal(second, every[:num_moved]) else second,
    )


def _kind(fn: Any) -> tuple[int, int]:
    """The number of values of a category (0 for a code with an order), and of numbers for one."""
    base = unwrap(fn)
    if is_one_hot(fn):
        return (fn.event_shape[-1],) * 2
    if isinstance(base, torch.distributions.Categorical):
        return int(base.logits.shape[-1]), 1
    return (2, 1) if isinstance(base, torch.distributions.Bernoulli) else (0, 1)


def _replaced(value: Tensor, other: Tensor, column: CodeColumn) -> Tensor:
    """A site's values with those of one code taken from another run."""
    changed = value.clone().reshape(len(value), -1, column.unit)
    place = column.dim or 0
    changed[:, place] = other.reshape(len(value), -1, column.unit)[:, place]
    return changed.reshape(value.shape)


def _values(forward: Forward, column: CodeColumn, count: int, site: str | None) -> Floats:
    """The values of a code, one for each of the images of a run."""
    value: Tensor = forward.trace.nodes[column.site]["value"]
    of_code = _plates(forward, column.site)
    of_images = _plates(forward, site or next(iter(forward.generated)))
    crossed = of_code[:1] != of_images[:1] and {*of_code[:1], *of_images[:1]} & {
        *of_code[1:],
        *of_images[1:],
    }
    if not value.dim() or len(value) != count or crossed:
        raise ValueError(
            f"codes: expected a value of '{column.site}' for each of the {count} images of a run, "
            f"found the shape {tuple(value.shape)}: put the code into the plate of the images"
        )
    flat = value.detach().reshape(count, -1, column.unit)[:, column.dim or 0]
    numbers = flat.argmax(-1) if column.unit > 1 else flat[:, 0]
    values: Floats = numbers.cpu().double().numpy()
    return values


def _plates(forward: Forward, site: str) -> list[str]:
    """The plates along the dimensions of a site's value, from the first dimension on."""
    frames = [f for f in forward.trace.nodes[site]["cond_indep_stack"] if f.vectorized]
    return [frame.name for frame in sorted(frames, key=lambda frame: int(frame.dim))]
