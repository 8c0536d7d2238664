"""Half precision where the processor has no instructions for it."""

import pyro
import pytest
import torch

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.training import fit, half_precision, make_fabric
from pyro_mivae.vae import MIVAE


@pytest.fixture
def processor(monkeypatch):
    """A processor whose products take these times."""

    def takes(**seconds):
        monkeypatch.setattr(
            half_precision,
            "seconds_of_product",
            lambda matrix: seconds[str(matrix.dtype).removeprefix("torch.")],
        )

    return takes


@pytest.mark.parametrize(
    ("precision", "seconds", "words"),
    [
        ("bf16-mixed", {"bfloat16": 19.0, "float32": 1.0}, "takes 19 times as long"),
        ("bf16-true", {"bfloat16": 3.0, "float32": 1.0}, "precision bf16-true"),
        ("16-true", {"float16": 7.0, "float32": 1.0}, "Use '32-true'"),
        ("bf16-mixed", {"bfloat16": 1.5, "float32": 1.0}, ""),
        ("bf16-mixed", {"bfloat16": 0.4, "float32": 1.0}, ""),
        ("32-true", {}, ""),
        ("64-true", {}, ""),
    ],
)
def test_a_processor_that_is_slow_in_half_precision_gives_a_warning(
    processor, caplog, precision, seconds, words
):
    processor(**seconds)
    make_fabric("cpu", precision)
    warnings = [r.getMessage() for r in caplog.records if r.name == half_precision.__name__]
    assert len(warnings) == bool(words)
    assert all(words in warning for warning in warnings)


def test_fit_warns_once_and_trains_all_the_same(processor, caplog):
    processor(bfloat16=10.0, float32=1.0)
    pyro.set_rng_seed(0)
    vae = MIVAE(code_dim=1, noise_dim=1, encoder="mlp", decoder="mlp")
    images = torch.zeros(4, 28, 28, dtype=torch.uint8)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    settings = {"steps": 2, "precision": "bf16-mixed", "device": "cpu", "progress": False}
    history = fit(vae.model, vae.guide, elbo, images, prepare=vae.observe, **settings)
    assert history.rows
    assert caplog.text.count("precision bf16-mixed") == 1


def test_a_product_is_timed():
    assert 0 < half_precision.seconds_of_product(torch.ones(8, 8)) < 1
