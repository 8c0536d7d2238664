"""The programs of the gallery run, are short, and have a page with what they print."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
PROGRAMS = sorted(GALLERY.glob("*.py"))
BOUNDS = re.compile(r"(-?[\d.]+) ± [\d.]+ <= I\(.*\) <= (-?[\d.]+) ± [\d.]+ nats per datum")
each_program = pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)


def load(path):
    spec = spec_from_file_location(f"gallery_{path.stem}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_program
def test_a_program_is_short_and_has_a_page(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"```{{literalinclude}} {path.name}\n" in page
    assert path.with_suffix(".png").exists()
    assert f"\n{path.stem}\n" in (GALLERY / "index.md").read_text(encoding="utf-8")
    bounds = BOUNDS.findall(page)
    assert bounds
    assert all(0 < float(low) < float(high) + 0.2 < float(low) + 1 for low, high in bounds)


@pytest.mark.slow
@each_program
def test_a_program_runs(path, monkeypatch, capsys):
    """A few steps instead of thousands, and few samples: everything is gone through."""
    module = load(path)
    sandwich = module.sandwich
    calls = []

    def fewer(*args, **settings):
        calls.append(settings["num_samples"])
        return sandwich(*args, **{**settings, "num_samples": 5})

    monkeypatch.setattr(module, "sandwich", fewer)
    figure = module.main(steps=3)
    assert calls
    assert len(BOUNDS.findall(capsys.readouterr().out)) == len(calls)
    assert figure.axes
