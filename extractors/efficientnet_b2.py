"""EfficientNet-B2 (Tan and Le 2019) as HSEmotion trained it on faces (Savchenko 2022)."""

import warnings
from typing import TYPE_CHECKING

from extractors.faces.embedding import FaceEmbedding
from extractors.registry import EXTRACTORS
from extractors.weights import Weights, WeightsError, load_state_dict

if TYPE_CHECKING:
    from torch import nn

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLASSIFIER = "classifier."


@EXTRACTORS.register("efficientnet_b2")
class EfficientNetB2(FaceEmbedding):
    """1,408 values per frame; SYSTEMS 5.1. See `FaceEmbedding` for the arguments.

    The weights are a state dict of timm's `tf_efficientnet_b2`; a classifier in it is left out. Those of its
    `efficientnet_b2` have the same names but are of another network, of other padding and normalisation.
    """

    network = "efficientnet_b2"

    @property
    def width(self) -> int:
        """The channels of the last convolution."""
        return 1408

    @property
    def mean(self) -> tuple[float, ...]:
        """That of ImageNet."""
        return _IMAGENET[0]

    @property
    def std(self) -> tuple[float, ...]:
        """That of ImageNet."""
        return _IMAGENET[1]

    def build(self, weights: Weights) -> "nn.Module":
        """Return the network up to its classifier."""
        try:
            with warnings.catch_warnings():  # it speaks of PyTorch's plans, which no user can act on
                warnings.simplefilter("ignore", FutureWarning)
                import timm
        except ImportError as error:
            raise WeightsError(f"{self.network}: timm is missing; run: python -m pip install timm") from error
        from extractors.filling import fill, unwrapped

        network: nn.Module = timm.create_model("tf_efficientnet_b2", pretrained=False, num_classes=0)
        if weights.path is not None:
            state = unwrapped(load_state_dict(weights.path))
            kept = {k: v for k, v in state.items() if not k.startswith(_CLASSIFIER)}
            fill(network, kept, f"{weights.path}: does not fit {self.network}")
        return network
