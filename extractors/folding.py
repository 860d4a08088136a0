"""Batch normalisations become part of the convolutions before them: the same function, sooner."""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS, _NORMALISATIONS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch normalisation into the convolution that is registered just before it.

    Args:
        module: For inference. What is derived from a batch normalisation may do more, and stays.
    """
    before: tuple[str, Any] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, _NORMALISATIONS) and type(child) in _NORMALISATIONS and before is not None:
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        fold_batch_norms(child)
        before = (name, child) if isinstance(child, _CONVOLUTIONS) else None
