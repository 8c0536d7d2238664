"""The poster's duality as a figure: a VAE and the dual whose reconstruction term is the bound."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from pyro_mivae.plotting import style

# A colour is a distribution, which keeps it in both graphs; the stroke is its role there.
# Darker than elsewhere: its text needs the contrast.
DECODER, ENCODER = (style.darker(style.SITES[site][1]) for site in "cz")
P = r"$p_\theta(x\,|\,z)$"
Q = r"$q_\phi(z\,|\,x)$"
TOP, BOTTOM, RADIUS = 5.0, 1.2, 0.72


class _Graph(NamedTuple):
    title: str
    latent: str
    prior: str
    observed: str
    source: str
    plate: str
    likelihood: tuple[str, Any]
    guide: tuple[str, Any]
    formula: str
    caption: str


GRAPHS = (
    _Graph(
        title="The VAE: x is observed, z latent",
        latent="z",
        prior=r"$z \sim p(z)$",
        observed="x",
        source=r"$x \sim p_{\mathrm{data}}(x)$",
        plate="N data",
        likelihood=(P, DECODER),
        guide=(Q, ENCODER),
        formula=r"$\mathbb{E}_{p_{\mathrm{data}}(x)\,q_\phi(z|x)}\,[\,\log p_\theta(x\,|\,z)\,]$",
        caption=(
            "plus the entropy of the data (constant)\n"
            "is a lower bound on I(x; z)\n"
            "between data and the guide's z."
        ),
    ),
    _Graph(
        title="Its dual: z is observed, x latent",
        latent="x",
        prior="the density of x\nis left out",
        observed="z",
        source=r"$z \sim p(z)$",
        plate="draws of z",
        likelihood=(Q, ENCODER),
        guide=(P, DECODER),
        formula=r"$\mathbb{E}_{p(z)\,p_\theta(x'|z)}\,[\,\log q_\phi(z\,|\,x')\,]$",
        caption=(
            "plus the entropy of z (pointwise, −log p(z))\n"
            "is the lower bound on I(z; x')\n"
            "between the prior's z and generated x'."
        ),
    ),
)


def duality() -> Figure:
    r"""Draws a VAE and its dual as directed graphical models, side by side.

    In the dual z is observed and x latent, the likelihood is :math:`q_\phi(z|x)` and the guide
    :math:`p_\theta(x|z)`. Observed variables are shaded, generative arrows solid, those of the
    guide dashed; each distribution has one colour in both.

    References:
        Ducau and Trénous (2016), *Mutual information in variational autoencoders*, Figure 2 and
        "Duality".
    """
    figure = style.new_figure(5.2)
    for axes, graph in zip(figure.subplots(1, 2), GRAPHS, strict=True):
        _draw(axes, graph)
    note = (
        "shaded: observed  ·  solid: likelihood  ·  dashed: guide  ·  "
        "a distribution has one colour in both\n"
        "The density of x under the data is unknown:\n"
        "the dual leaves out log p(x), and with it its KL divergence."
    )
    figure.supxlabel(note, fontsize=style.SMALL, color=style.INK, linespacing=1.6)
    return figure


def _draw(axes: Axes, graph: _Graph) -> None:
    axes.set(xlim=(-5.2, 5.2), ylim=(-5.0, 6.6), aspect="equal")
    axes.set_axis_off()
    axes.set_title(graph.title, fontsize=style.LARGE)
    plate = FancyBboxPatch(
        (-4.7, -0.45),
        9.4,
        6.75,
        "round,pad=0,rounding_size=0.4",
        fc="none",
        ec=style.GREY,
        lw=1,
    )
    axes.add_patch(plate)
    axes.text(4.45, -0.2, graph.plate, ha="right", va="bottom", fontsize=style.SMALL)
    for name, height, fill in (
        (graph.latent, TOP, "white"),
        (graph.observed, BOTTOM, style.PALE),
    ):
        axes.add_patch(Circle((0, height), RADIUS, fc=fill, ec=style.INK, lw=1.2, zorder=3))
        name = f"${name}$"
        axes.text(0, height, name, ha="center", va="center", fontsize=14, zorder=4)
    for side, height, text in ((1, TOP, graph.prior), (1, BOTTOM, graph.source)):
        place = (side * (RADIUS + 0.35), height)
        axes.text(*place, text, ha="left", va="center", fontsize=style.SMALL)
    arrows = (
        (-1, TOP, BOTTOM, "-", "likelihood", graph.likelihood),
        (1, BOTTOM, TOP, "--", "guide", graph.guide),
    )
    for side, start, end, stroke, role, (name, colour) in arrows:
        _draw_arrow(axes, side, start, end, stroke, colour)
        place = (side * 1.45, (start + end) / 2)
        text = f"{role}\n{name}"
        align = "right" if side < 0 else "left"
        axes.text(*place, text, ha=align, va="center", fontsize=style.MEDIUM, color=colour)
    lines = (
        (-0.9, "Reconstruction term", style.MEDIUM),
        (-1.75, graph.formula, 13.5),
        (-2.9, graph.caption, style.SMALL),
    )
    for height, text, size in lines:
        axes.text(0, height, text, ha="center", va="top", fontsize=size, linespacing=1.4)


def _draw_arrow(axes: Axes, side: int, start: float, end: float, stroke: str, colour: str) -> None:
    """A bent arrow between the two nodes, from rim to rim."""
    reach = 0.8 * RADIUS
    sign = 1 if end > start else -1
    ends = [
        (side * 0.62 * RADIUS, start + sign * reach),
        (side * 0.62 * RADIUS, end - sign * reach),
    ]
    options: dict[str, Any] = {"connectionstyle": "arc3,rad=0.3", "color": colour, "shrinkA": 2}
    head = "-|>,head_length=8,head_width=4"
    # The head is a patch of its own: a dashed rim would fray it.
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-", shrinkB=7, lw=1.8, ls=stroke, **options))
    axes.add_patch(FancyArrowPatch(*ends, arrowstyle=head, shrinkB=2, lw=0, **options))
