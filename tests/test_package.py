"""The package's first names, and what importing it must not do."""

import subprocess
import sys

import pyro_mivae


def test_the_first_names():
    assert sorted(pyro_mivae.__all__) == ["MIVAE", "TraceMI_ELBO", "evaluate", "fit"]
    assert all(getattr(pyro_mivae, name).__doc__ for name in pyro_mivae.__all__)


def test_importing_it_loads_no_plotting_and_touches_no_generator():
    code = (
        "import torch, sys; before = torch.get_rng_state()\n"
        "import pyro_mivae, pyro\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
        "assert not pyro.get_param_store().keys()\n"
        "slow = ('matplotlib', 'arviz', 'torchvision', 'mlxtend', 'scipy', 'skimage', 'xarray')\n"
        "print([module for module in slow if module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
