"""pythae: its `VAE` with our networks, and its `BaseTrainer`."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import weakref
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor
from torch.nn import functional as F

from benchmarks.contenders import (
    LATENT,
    SCALE_FLOOR,
    SCALE_SHIFT,
    Problem,
    cycle,
    weights,
)
from benchmarks.contenders.by_hand import (
    device_here,
    load,
    networks,
    wait_for,
)


class Encoder(BaseEncoder):  # type: ignore[misc]  # pythae has no types
    """Our encoder; pythae wants the logarithm of the variance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = networks()[0]

    def forward(self, x: Tensor) -> ModelOutput:
        """Returns mean and log-variance of q(z|x)."""
        loc, raw = self.layers(x).chunk(2, -1)
        scale = F.softplus(raw + SCALE_SHIFT) + SCALE_FLOOR
        return ModelOutput(embedding=loc, log_covariance=2 * scale.log())


class Decoder(BaseDecoder):  # type: ignore[misc]  # pythae has no types
    """Our decoder; pythae wants probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = networks()[1]

    def forward(self, z: Tensor) -> ModelOutput:
        """Returns E[x given z]."""
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class Binarised(BaseDataset):  # type: ignore[misc]  # pythae has no types
    """A data set that draws each image's pixels anew whenever it is taken, as the others do."""

    def __getitem__(self, index: int) -> Any:
        """One image and its label."""
        item = super().__getitem__(index)
        item["data"] = torch.bernoulli(item["data"])
        return item


class Pythae:
    """See the module."""

    def __init__(self, problem: Problem) -> None:
        torch.manual_seed(0)
        logging.getLogger("pythae").setLevel(logging.WARNING)
        logging.getLogger("pythae.trainers.base_trainer.base_trainer").setLevel(logging.WARNING)
        self.device = device_here()
        config = VAEConfig(input_dim=(28, 28), latent_dim=LATENT, reconstruction_loss="bce")
        model = VAE(config, encoder=Encoder(), decoder=Decoder())
        load(model.encoder, weights()[:3])
        load(model.decoder, weights()[3:])
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=problem.batch_size,
            learning_rate=problem.learning_rate,
            optimizer_cls="Adam",
            optimizer_params={"fused": True},
        )
        grey = torch.from_numpy(np.ascontiguousarray(problem.images)) / 255.0
        data = Binarised(grey, torch.zeros(len(grey)))
        self.trainer = BaseTrainer(model, data, training_config=settings)
        self.trainer.prepare_training()
        parts = [torch.from_numpy(part).to(self.device) for part in problem.batches()]
        self.next = cycle([{"data": part} for part in parts])
        self.size = len(data)

    def step(self) -> float:
        """Runs the body of `BaseTrainer.train_step`, which reads the loss at each step."""
        trainer = self.trainer
        output = trainer.model(self.next(), epoch=1, dataset_size=self.size, uses_ddp=False)
        trainer._optimizers_step(output)
        return float(output.loss)

    def epoch(self, limit: int | None = None) -> None:
        """Runs the trainer's own epoch without its progress bar; it can't stop earlier."""
        if limit is not None:
            return
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
            self.trainer.train_step(1)

    def wait(self) -> None:
        """Waits for the device."""
        wait_for(self.device)


def make(problem: Problem) -> Pythae:
    """Makes the contender."""
    return Pythae(problem)
