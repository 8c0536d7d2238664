"""Every program as a user starts it, with --smoke: from the first import to the last figure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_runs_with_smoke(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--smoke", "--out", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "run") in done.stdout.replace("\n", "")
