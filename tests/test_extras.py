"""The library alone works without the packages of the extras, and names the one that is missing."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pyro_mivae.extras import EXTRAS, MissingExtraError, extra, fit_tails

ROOT = Path(__file__).parents[1]
MODULES = {"scikit-image": "skimage", "scikit-learn": "sklearn"}
CODE = """
import builtins, pkgutil, importlib, sys
absent = {absent!r}
usual = builtins.__import__
def without(name, *args, **kwargs):
    if name.partition(".")[0] in absent:
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return usual(name, *args, **kwargs)
builtins.__import__ = without

import numpy as np, pyro, pyro.distributions as dist, torch
import pyro_mivae
names = [m.name for m in pkgutil.walk_packages(pyro_mivae.__path__, "pyro_mivae.")]
for name in names:
    if not name.startswith("pyro_mivae.plotting"):
        importlib.import_module(name)

from pyro_mivae import TraceMI_ELBO, datasets, disentanglement, fit, morphometry
from pyro_mivae.information import aggregate_information, log_evidence, sandwich
from pyro_mivae.runs import groups
def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
def guide(x):
    gain = pyro.param("gain", torch.tensor(0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x * gain, 0.7).to_event(1))
x = torch.randn(60, 2)
fit(model, guide, TraceMI_ELBO(channel="sample"), x, steps=2, batch_size=10, progress=False)
assert sandwich(model, guide, x, num_samples=5).lower.mean > 0
assert aggregate_information(guide, x).estimate.mean > 0
assert disentanglement.mi_matrix(x.numpy(), x.numpy(), num_permutations=0).values.shape == (2, 2)

def said(act):
    try:
        act()
    except ModuleNotFoundError as error:
        return str(error)
    return "nothing"
image = np.zeros((1, 28, 28), np.uint8)
image[0, 5:20, 10:14] = 255
acts = {{
    "arviz": [lambda: log_evidence(model, guide, x, num_samples=20), lambda: groups.read("run")],
    "digits": [lambda: datasets.load_digits("mnist-5k"), lambda: morphometry.measure(image),
               lambda: datasets.measured(datasets.Split(torch.from_numpy(image), torch.zeros(1)))],
    "figures": [lambda: importlib.import_module("pyro_mivae.plotting")],
    "metrics": [lambda: disentanglement.dci(x.numpy(), x.numpy())],
    "experiments": [lambda: importlib.import_module("experiments.mnist.config")],
}}
for name, each in acts.items():
    for act in each:
        words = said(act)
        assert f"pip install 'pyro-mivae[{{name}}]'" in words, (name, words)
print("good")
"""


@pytest.mark.slow
def test_the_library_alone_needs_no_extra():
    absent = {module for modules in EXTRAS.values() for module in modules}
    code = CODE.format(absent=absent)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "good\n", done.stderr


def test_another_missing_package_is_not_an_extras():
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as caught, extra("figures"):
        import no_such_package  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


def test_extras_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    core = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    for name, modules in EXTRAS.items():
        # Those of the library itself are there without an extra, but may have to be newer.
        asked = (requirement.partition(">")[0] for requirement in extras[name])
        packages = [p for p in asked if not p.startswith("pyro-mivae") and p not in core]
        assert sorted(MODULES.get(package, package) for package in packages) == sorted(modules)


@pytest.mark.parametrize("shape", [0.3, 0.7])
def test_the_fitted_tail_is_that_of_the_largest_weights(shape):
    generator = np.random.default_rng(0)
    weights = stats.genpareto.rvs(shape, size=(3, 40_000), random_state=generator)
    np.testing.assert_allclose(fit_tails(np.log(weights)), shape, atol=0.1)
    # Inverse weights end at a finite value: their tail is another's.
    assert (fit_tails(-np.log(weights + 1)) < 0).all()


def test_arviz_is_loaded_without_its_announcement(tmp_path):
    code = "from pyro_mivae.extras import load_arviz; print(load_arviz().summary.__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.stdout == "summary\n", done.stderr
    assert "FutureWarning" not in done.stderr
