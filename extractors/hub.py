"""Any image model of the Hugging Face hub: what it sees in a face."""

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any

from extractors.faces.embedding import FaceEmbedding
from extractors.faces.settings import MOST_PIXELS
from extractors.registry import EXTRACTORS
from extractors.weights import Weights, WeightsError

if TYPE_CHECKING:
    from torch import nn

_HALF = (0.5, 0.5, 0.5)
_LEAST_SIDE, _ROUNDING = 16, 1e-3

# The shape of ViT-Base (Dosovitskiy et al. 2021), for random weights.
_VIT_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "patch_size": 16,
}


@EXTRACTORS.register("hub")
class HubImageModel(FaceEmbedding):
    """One vector per frame by an image model of transformers (ViT, ResNet, ConvNeXt, CLIP, …).

    The vector is the model's own: its pooled output, or the image features of a model that also reads text;
    where it has neither, as a classifier whose checkpoint has no pooler, the average over the positions of
    its last layer. What the model sees (side, mean, standard deviation) is read from its
    `preprocessor_config.json`. Code that comes with a model is never run.

    Args:
        weights: `org/name@revision`, a folder as `save_pretrained` writes it, or "random" (a ViT-Base).
        crops: See `FaceEmbedding`.
        detect: See `FaceEmbedding`.
        seed: Of random weights.
        trained_on: Subjects of this manifest that the weights have seen.
    """

    network = "hub"

    def __getstate__(self) -> dict[str, Any]:
        """Leave networks and configurations behind when sent to another process."""
        kept = super().__getstate__()
        return {k: v for k, v in kept.items() if k not in ("_config", "_seen")}

    @cached_property
    def width(self) -> int:
        """D of the model's vector, found without its weights."""
        import torch

        from extractors.faces.vector import Vector

        side = self.side
        try:
            with torch.device("meta"), torch.no_grad():
                found = Vector(self._from_config().eval())(torch.zeros(1, 3, side, side))
        except Exception as error:  # whatever a configuration from elsewhere leads to
            raise WeightsError(
                f"{self.weights}: no image model of transformers ({_short(error)}); expected one that takes "
                f"pictures of {side} pixels and gives a vector"
            ) from error
        return int(found.shape[1])

    @property
    def side(self) -> int:
        """As the model's preprocessor says."""
        return int(self._seen["side"])

    @property
    def mean(self) -> tuple[float, ...]:
        """As the model's preprocessor says."""
        return tuple(self._seen["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """As the model's preprocessor says."""
        return tuple(self._seen["std"])

    def identity(self) -> dict[str, Any]:
        """That of every embedding, the kind of model, and whether its vector is the pooled output."""
        pooled = "add_pooling_layer" not in self._building
        return {**super().identity(), "model": self._config.model_type, "pooled": pooled}

    def gflop_per_window(self) -> float:
        """Count the operations of the model."""
        import torch

        from extractors.networks.counting import count

        self.prepare()
        assert self._model is not None  # noqa: S101  # made by prepare
        own = next(self._model.parameters())
        return count(self._model, torch.zeros(1, 3, self.side, self.side, dtype=own.dtype, device=own.device))

    def build(self, weights: Weights) -> "nn.Module":
        """Return the model behind its vector; every parameter must come from the file."""
        from transformers import AutoModel

        from extractors.faces.vector import Vector

        if weights.random:
            return Vector(self._from_config())
        model, info = self._from_pretrained(AutoModel, output_loading_info=True, **self._building)
        # Poolers that a checkpoint was never trained with would be random.
        lacking = sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])})
        if lacking:
            raise WeightsError(
                f"{self.weights}: does not fill its model: {len(lacking)} parameters are missing or of "
                f"another shape ({', '.join(lacking[:3])})"
            )
        return Vector(model)

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig, ViTConfig

        return ViTConfig(**_VIT_BASE) if self._resolved().random else self._from_pretrained(AutoConfig)

    def _from_config(self) -> Any:
        from transformers import AutoModel

        return AutoModel.from_config(self._config, trust_remote_code=False, **self._building)

    @property
    def _building(self) -> dict[str, bool]:
        """How the model is built: without a pooler if it was saved as a classifier that has none."""
        from transformers import MODEL_MAPPING

        saved_as = getattr(self._config, "architectures", None) or []
        if not saved_as or any(str(name).endswith("Model") for name in saved_as):
            return {}
        kind = MODEL_MAPPING.get(type(self._config), None)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        has_choice = any(k and "add_pooling_layer" in inspect.signature(k.__init__).parameters for k in kinds)
        return {"add_pooling_layer": False} if has_choice else {}

    @cached_property
    def _seen(self) -> dict[str, Any]:
        """What the model sees."""
        if self._resolved().random:
            return {"side": 224, "mean": _HALF, "std": _HALF}
        from transformers import AutoImageProcessor

        asked = self._from_pretrained(AutoImageProcessor).to_dict()
        size = asked.get("crop_size") if asked.get("do_center_crop") else asked.get("size")
        side = (
            size if isinstance(size, int) else (size or {}).get("height") or (size or {}).get("shortest_edge")
        )
        if not side or not asked.get("image_mean") or not asked.get("image_std"):
            raise WeightsError(
                f"{self.weights}: its preprocessor_config.json does not say size, image_mean and image_std; "
                "an image model's does"
            )
        scaled = (
            asked.get("do_rescale", True) and abs(asked.get("rescale_factor", 1 / 255) * 255 - 1) < _ROUNDING
        )
        if not scaled or not _LEAST_SIDE <= side <= MOST_PIXELS:
            raise WeightsError(
                f"{self.weights}: its preprocessor_config.json asks for {side} pixels, do_rescale "
                f"{asked.get('do_rescale')}, rescale_factor {asked.get('rescale_factor')}; expected "
                f"{_LEAST_SIDE} to {MOST_PIXELS} pixels that are divided by 255"
            )
        if not asked.get("do_normalize", True):
            return {"side": side, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        return {"side": side, "mean": asked["image_mean"], "std": asked["image_std"]}

    def _from_pretrained(self, kind: Any, **options: Any) -> Any:
        from transformers.utils import logging

        weights = self._resolved()
        source = str(weights.path or weights.hub)
        if weights.path is None:
            options["revision"] = weights.revision
        else:
            options["local_files_only"] = True
        logging.disable_progress_bar()
        try:
            return kind.from_pretrained(source, trust_remote_code=False, **options)
        except Exception as error:  # whatever files from elsewhere lead to
            raise self._card.missing(f"cannot load {source} ({_short(error)})") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
