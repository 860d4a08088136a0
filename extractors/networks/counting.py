"""How much work a network is, counted by fvcore."""

import logging
import math
from functools import cache
from typing import Any

import torch
from torch import nn

from extractors.networks.config import NetworkConfig
from extractors.networks.loading import build
from extractors.weights import Weights

_ATTENTION = "aten::scaled_dot_product_attention"


@cache
def gflop(config: NetworkConfig, crop: int) -> float:
    """Return how many 10^9 operations a window takes, a multiplication with its addition being two.

    Args:
        config: The network.
        crop: Pixels of a side.
    """
    body = build(config, Weights(), 0)
    clip = torch.zeros(1, 3, config.DATA.NUM_FRAMES, crop, crop)
    return count(body, body.pathways(clip))


def count(network: nn.Module, inputs: Any) -> float:
    """Return how many 10^9 operations a network takes for its argument; it runs once for that."""
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    with torch.no_grad():
        analysis = FlopCountAnalysis(network, (inputs,)).set_op_handle(_ATTENTION, _attention)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        return 2e-9 * float(analysis.total())


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the two products of attention: fvcore does not know the fused one."""
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    pairs = math.prod(queries[:-1]) * keys[-2]
    return int(pairs * (queries[-1] + values[-1]))
