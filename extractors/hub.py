"""Any image model of the Hugging Face hub: what it sees in a face."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from extractors.faces.embedding import FaceEmbedding
from extractors.registry import EXTRACTORS
from extractors.weights import Weights, WeightsError

if TYPE_CHECKING:
    from torch import nn

_HALF = (0.5, 0.5, 0.5)

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
    where it has neither, the average over the positions of its last layer. What the model sees (side, mean,
    standard deviation) is read from its `preprocessor_config.json`. Code of the model's own is never run.

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
        from transformers import AutoModel

        from extractors.faces.vector import Vector

        with torch.device("meta"):
            model = AutoModel.from_config(self._config).eval()
            picture = torch.zeros(1, 3, self.side, self.side)
            with torch.no_grad():
                return int(Vector(model)(picture).shape[1])

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
        """That of every embedding, and the kind of model."""
        return {**super().identity(), "model": self._config.model_type}

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
            return Vector(AutoModel.from_config(self._config))
        model, info = self._from_pretrained(AutoModel, output_loading_info=True)
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
        return {"side": side, "mean": asked["image_mean"], "std": asked["image_std"]}

    def _from_pretrained(self, kind: Any, **options: Any) -> Any:
        from pickle import UnpicklingError  # only to catch it

        from safetensors import SafetensorError
        from transformers.utils import logging

        weights = self._resolved()
        source = str(weights.path or weights.hub)
        if weights.path is None:
            options["revision"] = weights.revision
        else:
            options["local_files_only"] = True
        logging.disable_progress_bar()
        try:
            return kind.from_pretrained(source, **options)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, UnpicklingError) as error:
            reason = " ".join(str(error).split())[:160]
            raise self._card.missing(f"cannot load {source} ({reason})") from error
