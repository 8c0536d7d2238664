"""What a discriminator sees of a forward run: real and generated data, side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_mivae.infer.dual.channel import Forward
from pyro_mivae.infer.dual.views import in_type_of
from pyro_mivae.traces.sites import masks_of


@dataclass
class Comparison:
    """Real and generated data of one call.

    Attributes:
        real: The data of each generated site, then the covariates, by site.
        generated: x' in their place, then the same covariates.
        sites: The generated sites.
        size: Number of data: the size of the first dimension.
        single: Whether the model may mean its data as one datum, since no site has a batch; if so,
            the discriminator's first answer says it, and sets `size`.
        frame: The plate of the first dimension; None where there is none.
        counted: 1 for each datum that has entries which no mask hides, else 0; None where nothing
            is masked.
    """

    real: dict[str, Tensor]
    generated: dict[str, Tensor]
    sites: tuple[str, ...]
    size: int
    single: bool
    frame: Any
    counted: Tensor | None

    @property
    def number(self) -> float:
        """Number of data that the sums over the plates stand for."""
        if self.frame is None or self.frame.full_size is None:
            return self.size
        return float(self.size * self.frame.full_size / self.frame.size)

    def sum(self, values: Tensor) -> Tensor:
        """Sums a value of each datum, without those that are masked."""
        return (values if self.counted is None else values * self.counted).sum()

    def cost(self, values: Tensor) -> tuple[tuple[Any, ...], Tensor]:
        """Returns values of the data per datum, with the plate that they are in."""
        values = values if self.counted is None else values * self.counted
        if self.frame is None:
            return (), values.sum() / self.size
        shape = (self.size, *(1,) * (-self.frame.dim - 1))
        return (self.frame,), values.reshape(shape) / self.size


def compare(forward: Forward, observed: tuple[str, ...]) -> Comparison:
    """Puts the data and x' of a forward run side by side.

    Args:
        forward: The forward run.
        observed: Observed sites that keep their data value (covariates); both sides have them.

    Raises:
        ValueError: If there is no x', x' has another shape than the data, or sites have different
            numbers of data.
    """
    if not forward.generated:
        raise ValueError(
            "the model generates no data in this call, which a discriminator could tell from the "
            "real ones: expected a pyro.sample(..., obs=data) with the data of the call"
            + (f", besides observed={list(observed)}" if observed else "")
        )
    real: dict[str, Tensor] = {}
    generated: dict[str, Tensor] = {}
    for site, value in forward.generated.items():
        real[site], generated[site] = _pair(site, value, forward)
    sites = tuple(generated)
    for site in observed:
        value = forward.trace.nodes[site]["value"]
        if isinstance(value, Tensor):
            real[site] = generated[site] = value
    sizes = {site: (value.shape[0] if value.dim() else 1) for site, value in generated.items()}
    if len({sizes[site] for site in sites}) > 1:
        raise ValueError(
            f"the observed sites have different numbers of data, {sizes}: the discriminator gives "
            "one logit for each datum, the first dimension of every site. Expected sites in one "
            "plate"
        )
    nodes = [forward.trace.nodes[site] for site in sites]
    frames = [_frame(node, value) for node, value in zip(nodes, generated.values(), strict=False)]
    return Comparison(
        real=real,
        generated=generated,
        sites=sites,
        size=sizes[sites[0]],
        single=all(not node["fn"].batch_shape for node in nodes),
        frame=next((frame for frame in frames if frame is not None), None),
        counted=_counted(nodes, sizes[sites[0]], generated),
    )


def _pair(site: str, value: Tensor, forward: Forward) -> tuple[Tensor, Tensor]:
    """Data and x' of a site, of one shape and number type."""
    data = torch.as_tensor(forward.originals[site], device=value.device)
    value = in_type_of(value, data, forward.channel)
    if value.numel() != data.numel():
        raise ValueError(
            f"the data drawn at site '{site}' have shape {tuple(value.shape)}, the observed ones "
            f"{tuple(data.shape)}: give the distribution the shape of its data"
        )
    return data.to(value.dtype), value.reshape(data.shape)


def _frame(node: Mapping[str, Any], value: Tensor) -> Any:
    """The plate of the first dimension of a site's value."""
    for frame in node["cond_indep_stack"]:
        if frame.vectorized and frame.dim - node["fn"].event_dim == -value.dim():
            return frame
    return None


def _counted(
    nodes: list[dict[str, Any]], size: int, generated: Mapping[str, Tensor]
) -> Tensor | None:
    """Which data have entries that count, at any of the sites."""
    rows: list[Tensor] = []
    masked = False
    for node, value in zip(nodes, generated.values(), strict=False):
        masks = masks_of(node, value.device)
        if not masks:
            return None  # all data count at this site
        masked = True
        counted = functools.reduce(torch.logical_and, masks)
        rows.append(counted.expand(node["fn"].shape()).reshape(size, -1).any(-1))
    if not masked:
        return None
    any_site = functools.reduce(torch.logical_or, rows)
    return any_site.to(next(iter(generated.values())).dtype)
