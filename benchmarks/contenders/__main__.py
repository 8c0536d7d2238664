"""One contender in a process of its own: start-up to the end of the first step, and memory.

python -m benchmarks.contenders '{"name": "pyro_mivae", "task": "VAE", ...}'
"""

import json
import statistics
import sys
import time

from benchmarks.contenders import Problem, make, synthetic_images
from benchmarks.memory import process_peak


def peak_memory() -> tuple[float, str]:
    """Returns the peak in MiB, and whose it is: the GPU's if it was used, else the process's."""
    if "jax" in sys.modules and "benchmarks.contenders.numpyro_svi" in sys.modules:
        peak = sys.modules["benchmarks.contenders.numpyro_svi"].peak_memory()
        if peak is not None:
            return peak, "GPU"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20, "GPU"
    return process_peak(), "process"


def main() -> None:
    """Prints JSON."""
    asked = json.loads(sys.argv[1])
    images = synthetic_images(asked["images"])
    contender = make(asked["name"], Problem(asked["task"] == "MI-VAE", images, asked["batch"]))
    contender.step()
    contender.wait()
    first = time.time() - asked["started"]
    seconds = []
    for _ in range(asked["steps"]):
        started = time.perf_counter()
        contender.step()
        contender.wait()
        seconds.append(time.perf_counter() - started)
    peak, where = peak_memory()
    alone = statistics.median(seconds)
    print(json.dumps({"first": first, "peak": peak, "where": where, "alone": alone}))


if __name__ == "__main__":
    main()
