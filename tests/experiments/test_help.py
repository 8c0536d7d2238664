"""Help and wrong flags are answered before torch is loaded."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import pyro_mivae
from experiments.mnist.config import STRUCTURES, Channel
from pyro_mivae import infer
from pyro_mivae.training import rebuilding

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py"))
CODE = """
import contextlib, io, runpy, sys
for name in {programs!r}:
    for flag, code in (("--help", 0), ("--no-such-flag", 2)):
        sys.argv = [name, flag]
        words = io.StringIO()
        try:
            with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
                runpy.run_module("experiments." + name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert end.code == code, (name, flag, end.code)
        expected = "--smoke" if flag == "--help" else "no-such-flag"
        assert expected in words.getvalue(), (name, flag, words.getvalue())
        slow = {{"torch", "pyro", "xarray", "matplotlib"}} & sys.modules.keys()
        assert not slow, (name, flag, slow)
print("good")
"""


def test_help_and_wrong_flags_load_no_torch():
    """All programs in one process: what one loads the next would be blamed for, and is not."""
    code = CODE.format(programs=PROGRAMS)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "good\n", done.stderr


def test_a_runs_folder_is_read_without_torch():
    code = "import sys; from pyro_mivae import runs; runs.load; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_words_that_the_settings_repeat_are_those_of_the_library():
    assert get_args(Channel) == infer.CHANNELS
    assert set(STRUCTURES) == set(rebuilding.STRUCTURES)


def test_the_package_has_its_rooms_and_no_other_names():
    assert pyro_mivae.infer is infer
    assert set(pyro_mivae.__all__) < set(dir(pyro_mivae))
    with pytest.raises(AttributeError, match="module 'pyro_mivae' has no attribute 'nothing'"):
        _ = pyro_mivae.nothing
