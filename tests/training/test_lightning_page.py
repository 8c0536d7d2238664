"""The pair of the page on Lightning, and its LightningModule, which takes the steps of fit."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from pyro_mivae.training import fit

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "lightning.md"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = PAGE.read_text(encoding="utf-8")


def run(names, lightning):
    """Runs the blocks of the page, or the one that needs Lightning."""
    for block in FENCE.finditer(TEXT):
        if ("import lightning\n" in block.group(1)) is lightning:
            # Empty lines in front: a traceback then shows the page's own lines.
            lines = "\n" * TEXT.count("\n", 0, block.start(1))
            exec(compile(lines + block.group(1), str(PAGE), "exec"), names)


@pytest.fixture
def names():
    """What the code defines, up to the part that needs Lightning."""
    assert TEXT.count("```python") == len(list(FENCE.finditer(TEXT))) == 2
    defined = {"__name__": "page"}
    run(defined, lightning=False)
    return defined


def test_fit_trains_the_pair(names):
    pair, loader = names["pair"](), names["loader"]
    history = fit(*pair, names["elbo"], loader, steps=5, device="cpu", progress=False)
    assert history.rows[-1]["step"] == 5


def test_lightning_takes_the_steps_of_fit(names):
    """The parameters are the same, bit for bit."""
    lightning = pytest.importorskip("lightning")
    # With a generator of its own a loader does not draw its workers' seed from that of the draws.
    loader = DataLoader(torch.randn(60, 3), batch_size=20, generator=torch.Generator())
    expected, elbo = names["pair"](), names["elbo"]
    fit(*expected, elbo, loader, steps=6, device="cpu", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's, on workers and on torch's names
        run(names, lightning=True)
        module = names["LightningPair"](*names["pair"](), elbo)
        trainer = lightning.Trainer(
            max_steps=6, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        torch.manual_seed(0)
        trainer.fit(module, loader)
    for ours, theirs in zip(expected, (module.model, module.guide), strict=True):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
