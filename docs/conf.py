"""Sphinx settings. No intersphinx inventories are fetched: the build needs no network."""

import re
import sys
from pathlib import Path

from docutils import nodes

from pyro_mivae import __version__

# The programs whose help is shown are beside the library, and the directive that shows it is here.
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_ext")]

project = "pyro_mivae"
author = "The pyro_mivae developers"
copyright = "2026, The pyro_mivae developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "command_lines",
    "notebooks",
]
# Pages of `appendix` include what the programs write into `results`.
exclude_patterns = ["_build", "_static", "_ext", "results/*.md"]

default_role = "code"  # `this` in docstrings is an argument
smartquotes = False  # x' is x'

html_theme = "furo"
html_title = f"pyro_mivae {__version__}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]

mathjax_path = "mathjax/tex-svg-full.js"  # in _static: formulas need no network
mathjax_options = {"defer": "defer"}
copybutton_exclude = ".linenos, .gp, .go"

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Short names in signatures in place of what they stand for; the API pages explain them.
autodoc_type_aliases = {
    name: name
    for name in (
        "Channel",
        "Codes",
        "Data",
        "DataArgs",
        "Network",
        "Adversary",
        "Weight",
        "Weights",
        "Scales",
    )
}
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def _plain_aliases(app, what, name, obj, options, signature, return_annotation):
    """In a union an alias shows as ``TypeAliasForwardRef('Codes')``."""
    plain = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature or "")
    return plain or signature, return_annotation


def _as_wide_as_pages(app, doctree):
    """Shows pictures at the width they are drawn for; Sphinx links scaled ones to full size."""
    for image in doctree.findall(nodes.image):
        if not {"width", "height", "scale"} & set(image.attributes):
            image["width"] = "736px"


def setup(app):
    app.connect("autodoc-process-signature", _plain_aliases)
    app.connect("doctree-read", _as_wide_as_pages)
