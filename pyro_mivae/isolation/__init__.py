"""Runs that leave no trace: random states, buffers and modes as they were."""

from pyro_mivae.isolation.blocks import (
    aside,
    buffers_apart,
    evaluation,
    forked_random,
    random_state,
    restore_random_state,
    undisturbed,
)
from pyro_mivae.isolation.reach import (
    device_of,
    functions_of,
    modules_of,
    names_of_globals,
    outermost,
    owner_of,
    remembered_roots,
    roots_of,
)
from pyro_mivae.isolation.watch import watching

__all__ = [
    "aside",
    "buffers_apart",
    "device_of",
    "evaluation",
    "forked_random",
    "functions_of",
    "modules_of",
    "names_of_globals",
    "outermost",
    "owner_of",
    "random_state",
    "remembered_roots",
    "restore_random_state",
    "roots_of",
    "undisturbed",
    "watching",
]
