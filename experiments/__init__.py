"""Experiments with pyro_mivae; a folder is a program: ``python -m experiments.mnist``."""
