"""The figure of factors: how each is distributed, beside the laws that were fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.factors.fitted_laws import FactorLaw, factor_law
from pyro_mivae.plotting import style

STYLES: dict[str, tuple[str, str]] = {
    "uniform": ("#0072B2", "-"),
    "normal": ("#D55E00", "--"),
    "lognormal": ("#009E73", "-."),
    "gamma": ("#CC79A7", ":"),
}
_COLUMNS = 3


def factor_distributions(factors: xr.Dataset) -> Figure:
    """Draws a histogram of each factor with the families that :func:`factor_law` fits.

    Beside each family is its Kolmogorov-Smirnov distance from the values.

    Args:
        factors: Variables of dimension ``image``, with ``units``; NaN is left out.

    Raises:
        ValueError: If there is no variable, or a factor has fewer than 10 values.
    """
    names = [str(name) for name in factors.data_vars]
    if not names:
        raise ValueError("factors: expected variables of dimension 'image', found none")
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(3.1 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        values = factors[name].values[np.isfinite(factors[name].values)]
        _draw(axes, values, factor_law(values))
        units = factors[name].attrs.get("units", "")
        style.finish(
            axes,
            name.capitalize(),
            f"{name} ({units.replace('^2', '²')})" if units else name,
            "density" if number % columns == 0 else "",
        )
        style.legend_below(axes, -0.27)
    return figure


def _draw(axes: Axes, values: NDArray[Any], law: FactorLaw) -> None:
    # Without the outermost values: a few outliers would leave no room for the rest.
    low, high = np.quantile(values, [0.0005, 0.9995])
    shown = values[(values >= low) & (values <= high)]
    heights, edges = np.histogram(shown, bins=60)
    density = heights / (len(values) * np.diff(edges))
    axes.stairs(density, edges, fill=True, color=style.PALE)
    x = np.linspace(low, high, 500)
    for name, fit in law.fits.items():
        colour, dash = STYLES[name]
        label = f"{name}, distance {fit.distance:.3f}"
        axes.plot(x, fit.law.pdf(x), dash, color=colour, lw=1.5, label=label)
    axes.set_ylim(0.0, 1.25 * float(density.max()))
