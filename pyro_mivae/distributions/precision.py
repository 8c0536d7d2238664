"""The precision that densities are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Raises half precision to single: half is for networks, not for densities."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
