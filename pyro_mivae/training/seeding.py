"""Random states of their own for whatever reads data, so that reading does not change draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pyro_mivae.isolation.seeds import mixed


@contextmanager
def own_randomness(*numbers: int) -> Iterator[None]:
    """Seeds the generators of torch's host, NumPy and Python, and sets them back afterwards.

    Args:
        *numbers: Seed, and what else tells this reading from others.
    """
    generator, seed = torch.default_generator, mixed(*numbers)
    states = generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- what datasets draw from
    random.seed(seed)
    try:
        yield
    finally:
        generator.set_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 -- what datasets draw from
        random.setstate(states[2])
