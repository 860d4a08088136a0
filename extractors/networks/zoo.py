"""The named networks, as PySlowFast's model zoo has them (facebookresearch/SlowFast, `configs/Kinetics`)."""

from functools import cache
from typing import Any

from affectstack import AffectstackError, did_you_mean
from extractors.networks.config import NetworkConfig, parse_config

_TWO = {
    "NUM_BLOCK_TEMP_KERNEL": ((3, 3), (4, 4), (6, 6), (3, 3)),
    "SPATIAL_STRIDES": ((1, 1), (2, 2), (2, 2), (2, 2)),
    "SPATIAL_DILATIONS": ((1, 1), (1, 1), (1, 1), (1, 1)),
}
_NOWHERE = {"LOCATION": (((), ()),) * 4, "GROUP": ((1, 1),) * 4}


def _slowfast(frames: int, alpha: int, kernel: int, depth: int = 50) -> dict[str, Any]:
    return {
        "MODEL": {"ARCH": "slowfast"},
        "DATA": {"NUM_FRAMES": frames, "SAMPLING_RATE": 2},
        "SLOWFAST": {"ALPHA": alpha, "BETA_INV": 8, "FUSION_KERNEL_SZ": kernel},
        "RESNET": {**_TWO, "DEPTH": depth},
        "NONLOCAL": _NOWHERE,
    }


def _x3d(frames: int, rate: int, crop: int, depth: float) -> dict[str, Any]:
    return {
        "MODEL": {"ARCH": "x3d"},
        "DATA": {"NUM_FRAMES": frames, "SAMPLING_RATE": rate, "TRAIN_CROP_SIZE": crop},
        "RESNET": {"TRANS_FUNC": "x3d_transform"},
        "X3D": {"WIDTH_FACTOR": 2.0, "DEPTH_FACTOR": depth, "BOTTLENECK_FACTOR": 2.25},
    }


def _mvit(frames: int, rate: int, depth: int, wider: tuple[int, int, int]) -> dict[str, Any]:
    doubled = tuple((number, 2.0) for number in wider)
    # The larger network pools the queries in the blocks that it widens, as the smaller one does.
    strides = tuple((i, 1, 2, 2) if i in wider else (i, 1, 1, 1) for i in range(depth))
    return {
        "MODEL": {"ARCH": "mvit"},
        "DATA": {"NUM_FRAMES": frames, "SAMPLING_RATE": rate},
        "MVIT": {
            "DEPTH": depth,
            "DIM_MUL": doubled,
            "HEAD_MUL": doubled,
            "DIM_MUL_IN_ATT": True,
            "PATCH_PADDING": (1, 3, 3),
            "POOL_KVQ_KERNEL": (3, 3, 3),
            "POOL_KV_STRIDE_ADAPTIVE": (1, 8, 8),
            "POOL_Q_STRIDE": strides,
            "RESIDUAL_POOLING": True,
            "REL_POS_SPATIAL": True,
            "REL_POS_TEMPORAL": True,
            "USE_ABS_POS": False,
        },
    }


ZOO: dict[str, dict[str, Any]] = {
    "slowfast_4x16_r50": _slowfast(32, 8, 5),
    "slowfast_8x8_r50": _slowfast(32, 4, 7),
    "slowfast_16x8_r101": _slowfast(64, 4, 5, depth=101),
    "slow_8x8_r50": {"MODEL": {"ARCH": "slow"}},
    "i3d_r50": {"MODEL": {"ARCH": "i3d"}},
    "x3d_xs": _x3d(4, 12, 160, 2.2),
    "x3d_s": _x3d(13, 6, 160, 2.2),
    "x3d_m": _x3d(16, 5, 224, 2.2),
    "x3d_l": _x3d(16, 5, 312, 5.0),
    "mvit_v2_s": _mvit(16, 4, 16, (1, 3, 14)),
    "mvit_v2_b": _mvit(32, 3, 24, (2, 5, 21)),
}


@cache
def zoo_config(name: str) -> NetworkConfig:
    """Return the configuration of a named network.

    Raises:
        AffectstackError: If there is none of that name.
    """
    if name not in ZOO:
        raise AffectstackError(f"no network {name!r}{did_you_mean(name, ZOO)}")
    return parse_config(ZOO[name], name)
