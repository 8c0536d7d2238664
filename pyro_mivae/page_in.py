"""A page of torch's library that a fast log1p needs in memory."""

from __future__ import annotations

import torch


def page_in_log1p() -> None:
    """Makes torch's log1p, and with it softplus, fast in processes on AVX-512 processors.

    The vectorised log1p of single precision loads a constant under a mask, which selects the
    numbers that are -0. As a rule there are none. Then nothing is loaded, but while the page of
    the library with the constant is not in memory the processor handles a fault at each such load,
    and the function takes 20 times as long. The log1p of -0 brings the page into memory. It takes
    microseconds, once in a process.
    """
    torch.full((64,), -0.0, dtype=torch.float32, device="cpu").log1p()
