"""Speech embeddings by wav2vec 2.0 (Baevski et al. 2020; XLSR-53: Conneau et al. 2020)."""

import json
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectstack import AffectstackError
from extractors.audio import DECODER
from extractors.contract import Clip, FloatArray, TooShortError, Window, WindowExtractor
from extractors.reading import sound_of
from extractors.registry import EXTRACTORS
from extractors.weights import Weights, WeightsError, card, resolve

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

_RATE = 16000
_WASTE = 0.05  # of a batch may be padding

# The shape of jonatasgrosman/wav2vec2-large-xlsr-53-english, for random weights (SYSTEMS 2.2).
_XLSR_53: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


@EXTRACTORS.register("wav2vec2")
class Wav2Vec2(WindowExtractor):
    """Hidden states of a wav2vec 2.0 encoder, per frame of 20 ms or pooled.

    Padding never enters a value: networks with layer normalisation get an attention mask, and those with
    group normalisation, which no mask can correct, run one clip at a time.

    Args:
        weights: A folder as `save_pretrained` writes it, `org/name@revision`, "random" (the shape of XLSR-53
            large), or None: the pinned English XLSR-53.
        layer: Which hidden state: 0 is the input of the first transformer layer, -1 the last output;
            "conv" is the convolutional encoder's normalised output (512-d).
        pool: "mean" or "max" over time gives one row per chunk, "none" one row per frame.
        chunk: Longer clips are cut into pieces of this many seconds, each seen for itself.
        seed: Of random weights.
        trained_on: Subjects of this manifest that the weights have seen.
    """

    modality = "audio"
    sound_rate = _RATE
    look_ahead = 32

    def __init__(
        self,
        weights: str | None = None,
        layer: int | Literal["conv"] = -1,
        pool: Literal["mean", "max", "none"] = "mean",
        chunk: float = 30.0,
        seed: int = 0,
        trained_on: Sequence[str] = (),
    ) -> None:
        if chunk < 1:
            raise AffectstackError(f"wav2vec2: chunk {chunk:g}; expected at least 1 second")
        self.weights = weights
        self.layer = layer
        self.pool = pool
        self.chunk = chunk
        self.seed = seed
        self._trained_on = frozenset(trained_on)
        self.rows_per_second = 50.0 if pool == "none" else 0.0
        self._model: Wav2Vec2Model | None = None

    @property
    def untrained(self) -> bool:  # type: ignore[override]  # decided by the weights
        """True for random weights, and for those that our own fine-tuning began with random ones."""
        return self._resolved().random or bool(self._note.get("untrained", False))

    @property
    def trained_on(self) -> frozenset[str]:  # type: ignore[override]  # known by the weights as well
        """The subjects that are named, and those that our own fine-tuning noted beside the weights."""
        return self._trained_on | frozenset(map(str, self._note.get("seen_subjects", ())))

    @property
    def selected_on_test(self) -> bool:  # type: ignore[override]  # known by the weights
        """True if our own fine-tuning let test clips choose the weights."""
        return bool(self._note.get("selected_on_test", False))

    @property
    def _note(self) -> dict[str, Any]:
        path = self._resolved().path
        note = None if path is None else path / "affectstack.json"
        if note is None or not note.is_file():
            return {}
        try:
            known: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
            _ = known["seen_subjects"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{note}: does not say which subjects these weights have seen; fine-tune "
                "them again, or use others"
            ) from error
        return known

    @property
    def normalises(self) -> bool:
        """Whether the network wants every clip at zero mean and unit variance."""
        return self._normalises

    @property
    def network(self) -> "Wav2Vec2Model":
        """The network, after `prepare`."""
        assert self._model is not None  # noqa: S101  # by contract
        return self._model

    def forget(self) -> None:
        """Give the network away; `prepare` loads another."""
        self._model = None

    @cached_property
    def config(self) -> "Wav2Vec2Config":
        """The network's configuration; read without its weights."""
        from transformers import Wav2Vec2Config

        random = self._resolved().random
        config = Wav2Vec2Config(**_XLSR_53) if random else self._from_pretrained(Wav2Vec2Config)
        layers = config.num_hidden_layers
        if self.layer != "conv" and not -layers - 1 <= self.layer <= layers:
            raise AffectstackError(
                f"wav2vec2: layer {self.layer}; this network has 0 to {config.num_hidden_layers}, and -1"
            )
        return config

    @property
    def feature_names(self) -> tuple[str, ...]:
        """`w0` … of the hidden size, or of the convolutional size for layer "conv"."""
        size = self.config.conv_dim[-1] if self.layer == "conv" else self.config.hidden_size
        return tuple(f"w{i}" for i in range(size))

    def identity(self) -> dict[str, Any]:
        """Weights, layer, pooling, chunk, decoder and precision."""
        weights = self._resolved()
        seed = {"seed": self.seed} if weights.random else {}
        return {
            **weights.identity(),
            **seed,
            "layer": self.layer,
            "pool": self.pool,
            "chunk_seconds": self.chunk,
            "normalised": self._normalises,
            "rate": _RATE,
            "decoder": DECODER,
            "precision": self.precision,
        }

    def windows(self, clip: Clip) -> Iterator[Window]:
        """Yield `[N]` float32 pieces of at most `chunk` seconds, normalised as the network was trained."""
        sound = sound_of(clip, _RATE)
        size = round(self.chunk * _RATE)
        least, normalises = self._front
        if len(sound.samples) < least:
            raise TooShortError(f"{len(sound.samples)} samples; wav2vec2 needs {least}")
        for first in range(0, len(sound.samples), size):
            piece = sound.samples[first : first + size]
            if len(piece) >= least:
                start = sound.start + first / _RATE
                data = _normalise(piece) if normalises else piece
                yield Window(data, start, start + len(piece) / _RATE, silent=sound.silent)

    @property
    def allows_bf16(self) -> bool:
        """As the card of the weights says."""
        return card("wav2vec2").allows_bf16

    def windows_in(self, seconds: float | None) -> int:
        """Return how many chunks a clip of some length has."""
        return 1 if seconds is None else max(1, math.ceil(seconds / self.chunk))

    def batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Yield windows of nearly equal length together, so that little of a batch is padding."""
        yield from bucketed([len(w.data) for w in windows], self._most_in_batch, _WASTE)

    def prepare(self) -> None:
        """Load the network; a missing one is an error that says where to get it."""
        if self._model is not None:
            return
        import torch
        from transformers import Wav2Vec2Model

        if self._resolved().random:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                model = Wav2Vec2Model(self.config)
        else:
            model, info = self._from_pretrained(Wav2Vec2Model, output_loading_info=True)
            # Only training masks frames with this one; every other parameter must come from the file.
            lacking = sorted(
                {*info["missing_keys"], *map(str, info["mismatched_keys"])} - {"masked_spec_embed"}
            )
            if lacking:
                raise WeightsError(
                    f"{self._source()['pretrained_model_name_or_path']}: does not fill wav2vec2: "
                    f"{len(lacking)} parameters are missing or of another shape ({', '.join(lacking[:3])})"
                )
        model = model.eval().requires_grad_(False)
        model = model.to(torch.bfloat16 if self.precision == "bf16" else torch.float32)
        self._model = model.cuda() if torch.cuda.is_available() else model

    def embed(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return `[T, D]` frames or `[1, D]` pooled rows, the same in any batch."""
        import torch

        self.prepare()
        with torch.inference_mode():
            if self.config.feat_extract_norm == "group":
                return [row for w in windows for row in self._embed_batch([w.data])]
            return self._embed_batch([w.data for w in windows])

    def intervals(self, window: Window, rows: int) -> NDArray[np.float64]:
        """Frames lie one hop apart and cover one receptive field; a pooled row covers the window."""
        if self.pool != "none":
            return super().intervals(window, rows)
        starts = window.start + np.arange(rows) * self._hop / _RATE
        return np.column_stack([starts, starts + self._receptive_field / _RATE])

    def _embed_batch(self, pieces: Sequence[NDArray[np.float32]]) -> list[FloatArray]:
        import torch

        model = self._model
        assert model is not None  # noqa: S101  # made by prepare
        longest = max(len(p) for p in pieces)
        batch = torch.zeros(len(pieces), longest)
        mask = torch.zeros(len(pieces), longest, dtype=torch.long)
        for i, piece in enumerate(pieces):
            batch[i, : len(piece)] = torch.from_numpy(piece)
            mask[i, : len(piece)] = 1
        masked = {} if self.config.feat_extract_norm == "group" else {"attention_mask": mask.to(model.device)}
        out = model(batch.to(model.device, model.dtype), output_hidden_states=self.layer != "conv", **masked)
        if self.layer == "conv":
            states = out.extract_features
        elif self.layer in (-1, self.config.num_hidden_layers):
            states = out.last_hidden_state  # the only one behind the closing layer norm
        else:
            states = out.hidden_states[self.layer]
        frames = [self._frames(len(p)) for p in pieces]
        return [self._pooled(s[:t].float().cpu().numpy()) for s, t in zip(states, frames, strict=True)]

    def _pooled(self, states: FloatArray) -> FloatArray:
        if self.pool == "none":
            return states
        return (states.mean(axis=0) if self.pool == "mean" else states.max(axis=0))[None]

    def _frames(self, samples: int) -> int:
        """Return how many frames the convolutions make of so many samples."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    @property
    def _hop(self) -> int:
        return int(np.prod(self.config.conv_stride))

    @cached_property
    def _front(self) -> tuple[int, bool]:
        """What a decode worker must know: the fewest samples, and whether they are normalised."""
        return self._receptive_field, self._normalises

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network and its configuration behind when sent to another process."""
        _ = self._front
        return {k: v for k, v in self.__dict__.items() if k != "config"} | {"_model": None}

    @cached_property
    def _receptive_field(self) -> int:
        field, hop = 1, 1
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return field

    @cached_property
    def _normalises(self) -> bool:
        from transformers import Wav2Vec2FeatureExtractor

        weights = self._resolved()
        here = weights.path is None or (weights.path / "preprocessor_config.json").is_file()
        if weights.random or not here:
            return True  # the library's own default
        return bool(self._from_pretrained(Wav2Vec2FeatureExtractor).do_normalize)

    @property
    def _most_in_batch(self) -> int:
        import torch

        return 32 if torch.cuda.is_available() else 4

    def _resolved(self) -> Weights:
        return resolve(self.weights, card("wav2vec2"))

    def _source(self) -> dict[str, Any]:
        weights = self._resolved()
        if weights.path is not None:
            return {"pretrained_model_name_or_path": str(weights.path), "local_files_only": True}
        return {"pretrained_model_name_or_path": weights.hub, "revision": weights.revision}

    def _from_pretrained(self, kind: Any, **options: Any) -> Any:
        from pickle import UnpicklingError  # only to catch it

        from safetensors import SafetensorError
        from transformers.utils import logging

        source = self._source()
        logging.disable_progress_bar()
        try:
            loaded = kind.from_pretrained(**source, **options)
        except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
            reason = " ".join(str(error).split())[:160]
            where = source["pretrained_model_name_or_path"]
            raise card("wav2vec2").missing(f"cannot load {where} ({reason})") from error
        return loaded


def bucketed(lengths: Sequence[int], most: int, waste: float) -> Iterator[list[int]]:
    """Yield batches of positions, longest first, each padded to its longest.

    Args:
        lengths: Of the samples.
        most: The size of a batch at most.
        waste: The share of any batch that may be padding.
    """
    batch: list[int] = []
    real = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        padded = (len(batch) + 1) * lengths[batch[0]] if batch else lengths[i]
        if batch and (len(batch) == most or real + lengths[i] < (1 - waste) * padded):
            yield batch
            batch, real = [], 0
        batch.append(i)
        real += lengths[i]
    if batch:
        yield batch


def _normalise(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    wide = samples.astype(np.float64)
    return ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)).astype(np.float32)
