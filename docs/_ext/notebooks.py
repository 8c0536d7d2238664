"""Notebooks as pages: cells and stored outputs as Markdown, with the notebook to download.

Nothing is executed when the pages are built: a test executes the notebooks (`tests/pages.py`), so
that the build needs no Jupyter.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SUFFIX = ".ipynb"
TEXT = "```{code-block} none\n%s\n```"
IMAGE = "```{image} %s\n:alt: %s\n:width: 736px\n```"


def to_markdown(notebook: dict[str, Any], name: str, pictures: Path, page: Path) -> str:
    """Writes a notebook as a page.

    A picture that a cell draws has its description in the cell's metadata, as ``alt``.

    Args:
        notebook: Notebook of format 4, as JSON has it.
        name: Name of its file, which is linked below the title.
        pictures: Folder that its pictures are written to, as files.
        page: Folder of the page, from which they are linked.
    """
    parts: list[str] = []
    for number, cell in enumerate(notebook["cells"]):
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        # What begins with % is for Jupyter alone.
        lines = [line for line in source.splitlines() if not line.startswith("%")]
        parts.append("\n".join(["```python", *lines, "```"]))
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                path = pictures / f"{Path(name).stem}-{number}.png"
                path.write_bytes(base64.b64decode(_text(data["image/png"])))
                link = Path(os.path.relpath(path, page)).as_posix()
                parts.append(IMAGE % (link, cell["metadata"]["alt"]))
            else:
                text = output["text"] if "text" in output else data["text/plain"]
                parts.append(TEXT % _text(text).rstrip())
    title, newline, rest = parts[0].partition("\n")
    link = f"{{download}}`This page as a notebook <{name}>`"
    return "\n\n".join([f"{title}\n\n{link}\n{newline}{rest}", *parts[1:]]) + "\n"


def _text(lines: str | list[str]) -> str:
    """A text, which a notebook may keep line by line."""
    return lines if isinstance(lines, str) else "".join(lines)


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    path = Path(app.env.doc2path(docname))
    if path.suffix == SUFFIX:
        pictures = Path(app.doctreedir) / "notebooks"
        pictures.mkdir(parents=True, exist_ok=True)
        source[0] = to_markdown(json.loads(source[0]), path.name, pictures, path.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_source_suffix(SUFFIX, "markdown")
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
