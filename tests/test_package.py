"""The package's first names, and what importing it must not do."""

import subprocess
import sys

import pytest

import pyro_mivae


def test_the_first_names():
    assert sorted(pyro_mivae.__all__) == ["MIVAE", "TraceMI_ELBO", "evaluate", "fit"]
    assert all(getattr(pyro_mivae, name).__doc__ for name in pyro_mivae.__all__)


@pytest.mark.slow
def test_imports_load_only_what_they_need_and_touch_no_generator():
    """One process, whose imports go from the package to its figures."""
    code = (
        "import torch, sys; before = torch.get_rng_state()\n"
        "def loaded(*modules): print([module for module in modules if module in sys.modules])\n"
        "import pyro_mivae, pyro\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
        "assert not pyro.get_param_store().keys()\n"
        "loaded('matplotlib', 'arviz', 'torchvision', 'mlxtend', 'scipy', 'skimage', 'xarray')\n"
        "import pyro.infer; before = set(sys.modules)\n"
        "import pyro_mivae.infer\n"
        "more = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(more - {'pyro_mivae'}))\n"
        "loaded('torch._inductor', 'torch._dynamo.eval_frame', 'lightning_fabric')\n"
        "import pyro_mivae.inference_data\n"
        "loaded('arviz', 'matplotlib.pyplot')\n"
        "from pyro_mivae import plotting\n"
        "from pyro_mivae.runs.history import History\n"
        "plotting.training_curves(History()).canvas.draw()\n"
        "loaded('matplotlib.pyplot')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", *["[]"] * 2, "[]", "[]", ""]
