"""What every test starts from; `float64` is for the tests that compare with exact values."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pyro
import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; so do the programs that they start.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def fresh_start():
    """A clean param store, a fixed seed, and Pyro's validation."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with pyro.validation_enabled(True):
        yield
    pyro.clear_param_store()
    pyro.settings.set(module_local_params=False)  # which the benchmarks' loops turn on


@pytest.fixture
def one_thread():
    """For small tensors more only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def float64(one_thread):
    """Double precision by default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def digits():
    """The 5,000 digits."""
    from pyro_mivae.datasets import load_digits

    return load_digits("mnist-5k")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all tests of a process, so that each image is measured once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def readable_figures(request, monkeypatch):
    """Every figure that a test draws can be read where a page shows it."""
    module = sys.modules.get("matplotlib.figure")
    if module is None or request.node.get_closest_marker("unreadable"):
        yield
        return
    import readable

    made = []
    original = module.Figure.__init__

    def record(self, *args, **kwargs):
        original(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(module.Figure, "__init__", record)
    yield
    wrong = [fault for figure in made for fault in readable.faults(figure)]
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def without_rendering():
    """A context in which figures are made, but their files are empty."""
    from matplotlib.figure import Figure

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).write_bytes(b""))
            yield

    return context


@pytest.fixture
def unrendered(without_rendering):
    """For tests of what is around the figures: others show that they can be rendered."""
    with without_rendering():
        yield


@pytest.fixture
def drawn(monkeypatch):
    """Collects the text boxes that are really drawn, by figure."""
    from matplotlib.text import Text

    boxes = {}
    original = Text.draw

    def draw(self, renderer, *args, **kwargs):
        original(self, renderer, *args, **kwargs)
        if self.get_visible() and self.get_text().strip():
            box = self.get_window_extent(renderer)
            boxes.setdefault(self.get_figure(root=True), {})[self] = box

    monkeypatch.setattr(Text, "draw", draw)
    return boxes
