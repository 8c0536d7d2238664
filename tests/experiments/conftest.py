"""One run of the main job, for all tests of what is done with a run."""

import pytest

from experiments.mnist import program as mnist


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A run of the main job, in this process."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert mnist.main(["--smoke", "--prior", "uniform", "--out", str(folder)]) == 0
    return folder
