"""Experiments with pyro_mivae; a folder is a program: ``python -m experiments.mnist``."""

from pyro_mivae.extras import extra

with extra("experiments"):
    import rich  # noqa: F401 -- before any program, so that what is missing is named
    import tyro  # noqa: F401
