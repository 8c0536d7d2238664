"""The page that a fast log1p needs."""

import time

import pytest
import torch

from pyro_mivae.infer import TraceMI_ELBO
from pyro_mivae.page_in import page_in_log1p
from pyro_mivae.training import fit, fitting
from pyro_mivae.vae import MIVAE


def _shortest(function, x):
    seconds = []
    for _ in range(40):
        start = time.perf_counter()
        function(x)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.usefixtures("one_thread")
def test_log1p_takes_about_as_long_as_log():
    x = torch.rand(50_000)
    page_in_log1p()
    assert _shortest(torch.log1p, x) < 5 * _shortest(torch.log, x)  # 12 times without the page


def test_fit_asks_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(fitting, "page_in_log1p", lambda: asked.append(True))
    vae = MIVAE(image_shape=(3, 3))
    images = torch.zeros(4, 3, 3, dtype=torch.uint8)
    elbo = TraceMI_ELBO(channel="mean", codes="c")
    fit(vae.model, vae.guide, elbo, images, steps=1, prepare=vae.observe, progress=False)
    assert asked == [True]
