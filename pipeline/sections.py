"""The sections of an experiment file, as the file writes them."""

import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from extractors.hardware import has_bf16
from fusion import Missing
from pipeline.options import ConfigError

Modality = Literal["video", "audio", "au", "face", "text"]
Stacking = Literal["nested", "cross-fitted", "in-sample"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureSpec(_Section):
    """One feature: which extractor makes it, and the options that define its values.

    Attributes:
        modality: What it describes.
        extractor: Its extractor.
        finetuned: The name of a fine-tuned encoder whose checkpoints are its weights: one feature per fold,
            called `name@fold0` and so on, each for the heads of its own fold.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    modality: Modality
    extractor: str
    finetuned: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the extractor's own options."""
        return dict(self.model_extra or {})


class HeadSpec(_Section):
    """One head: the feature it reads, what happens to it first, and the classifier's options.

    Attributes:
        features: A feature, or several: side by side, or one for each input of a head that has several.
        views: The cameras whose features are joined side by side, in this order; None where there is one.
        soft: True: what the head learns of a clip are the shares of people who said each class of it, in the
            manifest's columns `votes:<class>`.
        rate: Rows per second that sequences are brought to, each the mean of what falls into it; None leaves
            them as they are.
        longest: Seconds of a sequence that are read; of longer ones the rest is left out, and counted.
        cut: Which part of a longer sequence stays.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    features: str | Annotated[tuple[str, ...], Field(min_length=1)]
    head: str
    pool: Literal["mean"] = "mean"
    speaker_norm: bool = False
    views: tuple[str, ...] | None = Field(default=None, min_length=1)
    soft: bool = False
    rate: float | None = Field(default=None, gt=0)
    longest: float | None = Field(default=None, gt=0)
    cut: Literal["centre", "start"] = "centre"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features, in order."""
        return (self.features,) if isinstance(self.features, str) else self.features

    def options(self) -> dict[str, Any]:
        """Return the classifier's own options."""
        return dict(self.model_extra or {})


class SweepSpec(_Section):
    """A grid of heads: like a head, with lists of values to try in place of values."""

    model_config = ConfigDict(extra="allow", frozen=True)
    features: str | tuple[str, ...]
    head: str

    def settings(self) -> dict[str, HeadSpec]:
        """Return every combination by a name that says what is special about it."""
        document = self.model_dump()
        axes = {k: v if isinstance(v, list | tuple) else [v] for k, v in document.items()}
        if empty := [k for k, v in axes.items() if not v]:
            raise ConfigError(f"sweep: {empty[0]} is an empty list; expected a value or several to try")
        found = {}
        for values in product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            special = [f"{k}={_plain(v)}" for k, v in chosen.items() if len(axes[k]) > 1]
            found[" ".join([self.head, *special])] = HeadSpec.model_validate(chosen)
        return found


class FinetuneSpec(_Section):
    """One encoder that is fine-tuned per fold; see `pipeline.finetuning` for what the settings mean.

    Attributes:
        modality: What it reads.
        encoder: Its kind.
        weights: What it begins with, as the extractor of this name takes it.
        pool: See `SpeechClassifier`.
        chunk: Longer clips are cut into pieces of this many seconds.
        select_on: Which clips choose the weights that are kept: those of held-out training subjects
            ("inner"), or the test clips, which the reports flag.
        precision: "auto" is bf16 or fp16 on a GPU and float32 elsewhere.
    """

    modality: Literal["audio"]
    encoder: Literal["wav2vec2"] = "wav2vec2"
    weights: str | None = None
    pool: Literal["mean", "max", "mean-unmasked"] = "mean"
    chunk: float = Field(default=30.0, ge=1)
    select_on: Literal["inner", "test"] = "inner"
    epochs: int = Field(default=10, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    batch: int = Field(default=4, ge=1)
    accumulate: int = Field(default=2, ge=1)
    eval_every: int = Field(default=10, ge=1)
    save_every: int = Field(default=100, ge=1)
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    seed: int = Field(default=2020, ge=0, lt=2**32)

    def resolved_precision(self) -> str:
        """Return what "auto" means on this machine."""
        if self.precision != "auto":
            return self.precision
        import torch

        if not torch.cuda.is_available():
            return "no"
        return "bf16" if has_bf16() else "fp16"


class FusionSpec(_Section):
    """How the sources' posteriors, or values, are combined.

    Attributes:
        method: A fuser; of values, the default is "mean".
        sources: Which heads and imported tables; None takes all.
        stacking: What a fuser that learns may learn from.
        missing: What happens to clips that some source lacks.
        temperature: Divide every source's log-posteriors by a temperature that is learned first.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    method: str = "logpool"
    sources: tuple[str, ...] | None = None
    stacking: Stacking = "nested"
    missing: Missing = "error"
    temperature: bool = False

    def options(self) -> dict[str, Any]:
        """Return the fuser's own options."""
        return dict(self.model_extra or {})


class Experiment(_Section):
    """A whole experiment.

    Attributes:
        manifest: The clips, relative to the experiment's folder.
        root: The corpus root that media paths are relative to.
        label: The label column.
        classes: The classes in report order; None sorts the names in the manifest.
        drop: Classes whose clips heads and fusion leave out; features are extracted of all.
        unlabelled: What clips without a label are: an error, or kept for heads that learn from them too.
        attributes: Columns of values that heads predict in place of classes.
        folds: A named split, a manifest column, or `{by: subject, k: 5, seed: 0}`.
        inner_folds: Inner folds inside every training part.
        seed: Of heads that do not set their own.
        note: A sentence that the report shows at its top.
        finetune: Encoders that `python -m pipeline.finetune` trains per fold; sources like heads.
        sweep: Grids of heads that `train_heads --sweep` tries.
        imported: Posterior tables that `python -m pipeline.posteriors import` brings in; sources like heads.
    """

    manifest: Path = Path("manifest.csv")
    root: Path = Path()
    label: str = "emotion"
    classes: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    unlabelled: Literal["error", "keep"] = "error"
    attributes: tuple[str, ...] = ()
    folds: str | dict[str, Any] = Field(default_factory=lambda: {"by": "subject", "k": 5, "seed": 0})
    inner_folds: int = Field(default=4, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)
    note: str = ""
    features: dict[str, FeatureSpec] = Field(default_factory=dict)
    heads: dict[str, HeadSpec] = Field(default_factory=dict)
    finetune: dict[str, FinetuneSpec] = Field(default_factory=dict)
    sweep: tuple[SweepSpec, ...] = ()
    imported: tuple[str, ...] = ()
    fusion: FusionSpec = Field(default_factory=FusionSpec)

    @field_validator("features", "heads", "finetune", "imported")
    @classmethod
    def _plain_names(cls, value: Iterable[str]) -> Iterable[str]:
        for name in value:
            if not re.match(NAME, name):
                raise ValueError(f"name {name!r}: expected letters, digits, '.', '_', '@', '-'")
        return value

    @field_validator("attributes")
    @classmethod
    def _named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not all(name.strip() for name in value):
            raise ValueError("expected names of columns, each once")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fused_by_their_mean(cls, document: Any) -> Any:
        """Fuse values by their mean, where nothing else is said; the default for classes is for classes."""
        if not isinstance(document, dict) or not document.get("attributes"):
            return document
        fusion = document.get("fusion", {})
        return {**document, "fusion": {"method": "mean", **fusion}} if isinstance(fusion, dict) else document

    def settings(self) -> dict[str, HeadSpec]:
        """Return every setting of the sweep by name.

        Names that two grids share are told apart by the number of the grid.
        """
        found: dict[str, HeadSpec] = {}
        for number, entry in enumerate(self.sweep):
            for name, spec in entry.settings().items():
                if name in found:
                    name = f"{name} (grid {number + 1})"
                found[name] = spec
        return found


def _plain(value: Any) -> str:
    """Return a value as a name shows it: without spaces and brackets."""
    return re.sub(r"[\[\]()' ]", "", str(list(value) if isinstance(value, tuple) else value))
