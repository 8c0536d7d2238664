"""The 5,000 digits, and one cache for all tests, so that each image is measured once."""

import pytest

from pyro_mivae.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    return load_digits("mnist-5k")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")
