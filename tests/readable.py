"""Whether a figure can be read at the width at which a page shows it."""

import re
from types import SimpleNamespace

import numpy as np
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text

SHOWN = 736
"""Pixels of a page's width."""
LEAST, LEAST_CONTRAST, MOST_NUMBERS = 9.0, 4.5, 80
"""Pixels of text, contrast of text on what is behind it, numbers written into a figure."""
SHRINK = 0.7
"""Size of an index beside its letter, in Matplotlib's mathematics."""


def faults(figure):
    """Lists what can't be read: text too small or too pale, too many numbers, a figure too wide."""
    width = figure.get_figwidth() * 100
    wrong = [f"{width:.0f} pixels wide"] if width > SHOWN + 0.5 else []
    shown = [text for text in figure.findobj(Text) if is_shown(text)]
    for text in shown:
        pixels = text.get_fontsize() * 100 / 72 * SHRINK ** depth(text.get_text())
        if pixels < LEAST:
            wrong.append(f"{text.get_text()!r} is {pixels:.1f} pixels high")
        ratio = contrast(text.get_color(), behind(text))
        if ratio < LEAST_CONTRAST:
            wrong.append(f"{text.get_text()!r} has a contrast of {ratio:.1f}")
    written = [text for axes in figure.axes for text in axes.texts if is_shown(text)]
    numbers = [text for text in written if re.fullmatch(r"[−\d.,% ]+", text.get_text())]
    if len(numbers) > MOST_NUMBERS:
        wrong.append(f"{len(numbers)} numbers, for a table")
    return wrong


def is_shown(text):
    axes = text.axes
    return bool(text.get_visible() and text.get_text().strip()) and (
        axes is None or axes.get_visible()
    )


def depth(text):
    """How deep its deepest index or exponent lies: 0 for plain text, 2 for an index's index."""
    deepest, stack = 0, []
    for formula in text.split("$")[1::2]:
        for place, sign in enumerate(formula):
            if sign == "{":
                stack.append(formula[place - 1 : place] in ("_", "^"))
            elif sign == "}":
                stack.pop()
            index = sign in "_^" and formula[place + 1 : place + 2] != "{"
            deepest = max(deepest, sum(stack) + index)
    return deepest


def behind(text):
    """The colour behind the middle of a text."""
    axes = text.axes
    page = blend(text.get_figure(root=True).get_facecolor(), (1.0, 1.0, 1.0))
    if axes is None or text not in axes.texts or text.get_transform() != axes.transData:
        return page
    point = axes.transData.transform(text.get_position())
    colour = blend(axes.get_facecolor(), page) if axes.patch.contains_point(point) else page
    event = SimpleNamespace(x=point[0], y=point[1])
    for image in axes.images:
        value = image.get_cursor_data(event)
        if value is not None and np.ndim(value) == 0 and not np.ma.is_masked(value):
            colour = blend(image.cmap(image.norm(value)), colour)
    for patch in sorted(axes.patches, key=lambda patch: patch.get_zorder()):
        filled = patch.get_fill() and not isinstance(patch, FancyArrowPatch)
        if filled and patch.contains_point(point):
            colour = blend(patch.get_facecolor(), colour)
    return colour


def blend(colour, below):
    *parts, alpha = to_rgba(colour)
    return tuple(
        alpha * part + (1 - alpha) * under for part, under in zip(parts, below, strict=True)
    )


def contrast(one, other):
    """The contrast of two colours by WCAG 2, from 1 to 21."""
    dark, light = sorted(luminance(to_rgb(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb):
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
