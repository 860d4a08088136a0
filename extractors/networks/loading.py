"""Building a network and filling it with a checkpoint: every key used, every parameter filled."""

from collections.abc import Mapping

import torch
from torch import Tensor

from extractors.filling import COUNTER, fill, unwrapped
from extractors.networks.body import Body
from extractors.networks.config import NetworkConfig
from extractors.networks.mvit import MViTBody
from extractors.networks.resnets import ResNetBody
from extractors.networks.x3d import X3DBody
from extractors.networks.zoo import ZOO, zoo_config
from extractors.weights import Weights, load_state_dict

_STEM = "s1.pathway0_stem.conv_xy.weight"
_PROJECTION = "head.projection.weight"


def build(config: NetworkConfig, weights: Weights, seed: int, *, name: str = "") -> Body:
    """Return a network for inference, in float32.

    Args:
        config: What it is.
        weights: What to fill it with; random weights follow `seed`.
        seed: Of random weights.
        name: The network of the zoo that `config` is, if it is one; its checkpoints may have been trained for
            any number of classes.

    Raises:
        WeightsError: If the checkpoint does not fit, naming what is missing and what is too much.
    """
    state = {} if weights.path is None else unwrapped(load_state_dict(weights.path))
    if name and _PROJECTION in state and state[_PROJECTION].dim() == 2:
        model = config.MODEL.model_copy(update={"NUM_CLASSES": len(state[_PROJECTION])})
        config = config.model_copy(update={"MODEL": model})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = _body(config, state)
    if weights.path is not None:
        what = name or f"{config.arch} of the configuration"
        fill(body.model, state, f"{weights.path}: does not fit {what}", lambda: _advice(state))
    return body.eval().requires_grad_(False)


def _body(config: NetworkConfig, state: Mapping[str, Tensor]) -> Body:
    if config.arch == "mvit":
        return MViTBody(config)
    if config.arch == "x3d":
        return X3DBody(config, len(state[_STEM]) if _STEM in state else None)
    return ResNetBody(config)


def _advice(state: Mapping[str, Tensor]) -> str:
    """Return which network these weights are of, or what else to do."""
    if names := fitting(state):
        return f". These are weights of {' or '.join(names)}: write `extractor: {names[0]}`"
    return ". Name the network that they are of, or give its configuration (`config: FILE.yaml`)"


def fitting(state: Mapping[str, Tensor]) -> list[str]:
    """Return the networks of the zoo that weights may be of; X3D-XS, S and M differ in their input alone."""
    given, names = _shapes(unwrapped(state)), []
    for name in ZOO:
        with torch.random.fork_rng(devices=[]):
            own = _shapes(_body(zoo_config(name), {}).model.state_dict())
        if own == given:
            names.append(name)
    return names


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(value.shape)
        for key, value in state.items()
        if not key.endswith(COUNTER) and not key.startswith("head.projection")
    }
