"""Settings of runs that earlier versions have made."""

import dataclasses

import pytest

from experiments.mnist.config import COMPILE, Config, read_settings
from pyro_mivae import runs


@pytest.mark.parametrize(("before", "now"), [(True, "always"), (False, "never")])
def test_compile_was_true_or_false(before, now, tmp_path):
    settings = dataclasses.asdict(Config())
    assert settings["training"]["compile"] == "auto"
    settings["training"]["compile"] = before
    runs.write_config(tmp_path, settings, {})
    assert read_settings(tmp_path).training.compile == now
    assert COMPILE[now] is before
