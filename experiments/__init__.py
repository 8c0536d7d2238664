"""Experiments with pyro_mivae; each module is a program: ``python -m experiments.mnist``."""
