"""The terms of an objective over data."""

from __future__ import annotations

from itertools import count
from typing import Any

import torch
from torch.utils.data import TensorDataset

from pyro_mivae.batches import Prepare, as_tensors
from pyro_mivae.checks import check_count
from pyro_mivae.infer import TraceMI_ELBO, TraceMI_GAN
from pyro_mivae.isolation import device_of, evaluation
from pyro_mivae.traces.call import Call
from pyro_mivae.training.objective import make_game
from pyro_mivae.training.sources import DefaultSize, TrainingData, kind_of, make_source


def evaluate(
    model: Any,
    guide: Any,
    elbo: TraceMI_ELBO | TraceMI_GAN,
    data: TrainingData,
    *,
    batch_size: int = DefaultSize(500),
    prepare: Prepare | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Computes the terms of `elbo` over data, in nats per datum, as :func:`fit` does.

    Forks the random state and seeds it, and runs modules in evaluation mode: nothing
    of a training changes, and two calls agree.

    Args:
        model: A Pyro model.
        guide: Its guide.
        elbo: What to evaluate; the dual term always is. Of a :class:`TraceMI_GAN` the terms of
            both players, with the discriminator in evaluation mode, too.
        data: Tensors of equal length on the model's device, or what else :func:`fit` takes. An
            iterable of batches has to end.
        batch_size: Data in a batch, where `data` has no batches of its own.
        prepare: As in :func:`fit`.
        seed: Seed of the draws.

    Raises:
        ValueError: If the data do not fit, or `batch_size` is below 1.
    """
    check_count("batch_size", batch_size)
    if kind_of(data) == "tensors":
        tensors: Any = data.tensors if isinstance(data, TensorDataset) else data
        device = as_tensors(tensors)[0].device
    else:
        device = device_of((model, guide))
    totals: dict[str, float] = {}
    data_read = 0.0
    game = make_game(model, guide, elbo)
    with evaluation(model, guide, *game.modules.values(), device=device, seed=seed):
        source = make_source(data, batch_size, seed, prepare, device, shuffle=False)
        for step in count():
            batch = source.at(step)
            call = Call(model, guide, batch.args, batch.kwargs)
            terms = game.sums(call, batch.count, source.few)
            for name, value in zip(terms, torch.stack(list(terms.values())).tolist(), strict=True):
                totals[name] = totals.get(name, 0.0) + value
            data_read += batch.count
            if source.steps_per_epoch == step + 1:
                break
    return {name: total / data_read for name, total in totals.items()}
