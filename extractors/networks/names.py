"""The names of a network's feature."""

from extractors.networks.config import NetworkConfig
from extractors.networks.mvit_shapes import block_shapes


def feature_names(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of the D values that a network's projection reads; nothing is built to know them."""
    if config.arch == "mvit":
        return tuple(f"mvit{i}" for i in range(block_shapes(config.MVIT, (1, 1, 1))[-1].outputs))
    if config.arch == "x3d":
        return tuple(f"x3d{i}" for i in range(config.X3D.DIM_C5))
    width = 32 * config.RESNET.WIDTH_PER_GROUP
    names = tuple(f"{'slow' if config.arch == 'slowfast' else config.arch}{i}" for i in range(width))
    fast = width // config.SLOWFAST.BETA_INV if config.arch == "slowfast" else 0
    return names + tuple(f"fast{i}" for i in range(fast))
