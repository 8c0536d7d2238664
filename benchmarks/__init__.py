"""Benchmarks of pyro_mivae; each module is a program: ``python -m benchmarks.step_time``."""
