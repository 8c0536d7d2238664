"""All structures of Pyro's documentation that the tests know."""

import bayes_structures
import count_structures
import gamma_structures
import hmm_structures
import image_structures
import sequence_structures

MODULES = (
    image_structures,
    sequence_structures,
    hmm_structures,
    count_structures,
    gamma_structures,
    bayes_structures,
)
STRUCTURES = [structure for module in MODULES for structure in module.STRUCTURES]
BY_NAME = {structure.name: structure for structure in STRUCTURES}
