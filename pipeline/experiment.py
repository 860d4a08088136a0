"""The experiment file: what is extracted, trained and fused. See the README for an example."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from affectstack import did_you_mean
from classifiers import HEADS, Head
from extractors import EXTRACTORS, Extractor
from extractors.hardware import has_bf16
from fusion import FUSERS, Fuser, Missing, Tempered
from manifests import Folds, Manifest, make_folds
from pipeline.options import ConfigError, build, problem

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
    """One head: the feature it reads, what happens to it first, and the classifier's options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    features: str
    head: str
    pool: Literal["mean"] = "mean"
    speaker_norm: bool = False

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
    """How the sources' posteriors are combined.

    Attributes:
        method: A fuser.
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


def fold_feature(name: str, fold: int) -> str:
    """Return what a feature of one fold is called."""
    return f"{name}@fold{fold}"


class Workspace:
    """An experiment file together with the folder it works in.

    Args:
        experiment: What the file says.
        folder: Where the file lies; features, models, posteriors and reports go there.
        file: The file.
    """

    def __init__(self, experiment: Experiment, folder: Path, file: Path) -> None:
        self.experiment = experiment
        self.folder = folder
        self.file = file
        self.scoped = frozenset(n for n, spec in experiment.features.items() if spec.finetuned)
        self._check_references()

    @property
    def root(self) -> Path:
        """The corpus root."""
        return (self.folder / self.experiment.root).resolve()

    def with_fold_features(self) -> "Workspace":
        """Return the same with one feature per fold in place of each that a fine-tuned encoder makes."""
        if not self.scoped:
            return self
        count = len(self.folds(self.manifest()))
        features: dict[str, FeatureSpec] = {}
        for name, spec in self.experiment.features.items():
            if spec.finetuned is None:
                features[name] = spec
                continue
            for fold in range(count):
                place = f"models/{spec.finetuned}/fold{fold}/encoder"
                changed = {**spec.model_dump(exclude={"finetuned"}), "weights": place}
                features[fold_feature(name, fold)] = FeatureSpec.model_validate(changed)
        workspace = Workspace(self.experiment, self.folder, self.file)
        workspace.experiment = self.experiment.model_copy(update={"features": features})
        return workspace

    def tuned_encoder(self, feature: str) -> Path | None:
        """Return the folder of the weights of a feature of one fold; None for other features."""
        name, scoped, _ = feature.partition("@fold")
        if not scoped or name not in self.scoped:
            return None
        return self.folder / self.experiment.features[feature].options()["weights"]

    def manifest(self) -> Manifest:
        """Read and validate the manifest."""
        return Manifest.read_csv(self.folder / self.experiment.manifest, root=self.root)

    def classes(self, manifest: Manifest) -> list[str]:
        """Return the classes in report order."""
        if self.experiment.classes is not None:
            return list(self.experiment.classes)
        return sorted(set(manifest.labels(self.experiment.label)))

    def folds(self, manifest: Manifest) -> Folds:
        """Build the folds."""
        return make_folds(self.experiment.folds, manifest, self.experiment.inner_folds)

    def extractor(self, name: str) -> Extractor:
        """Construct a feature's extractor."""
        spec = self.experiment.features[name]
        where = f"features.{name}"
        extractor = build(
            EXTRACTORS, spec.extractor, spec.options(), where, self.folder, {"modality": spec.modality}
        )
        if extractor.modality != spec.modality:
            raise ConfigError(
                f"{where}: modality {spec.modality!r}, but {spec.extractor} reads {extractor.modality!r}"
            )
        return extractor

    def head(self, name: str) -> Head:
        """Construct a head, unfitted."""
        spec = self.experiment.heads[name]
        defaults = {"seed": self.experiment.seed}
        return build(HEADS, spec.head, spec.options(), f"heads.{name}", self.folder, defaults)

    def with_heads(self, heads: Mapping[str, HeadSpec]) -> "Workspace":
        """Return the same with other heads, which may have any names."""
        experiment = self.experiment.model_copy(
            update={"heads": dict(heads), "sweep": (), "fusion": FusionSpec()}
        )
        return Workspace(experiment, self.folder, self.file)

    def head_identity(self, name: str) -> dict[str, Any]:
        """Return everything that the experiment says about a head, defaults included, as JSON."""
        spec = self.experiment.heads[name]
        own = {"features": spec.features, "pool": spec.pool, "speaker_norm": spec.speaker_norm}
        params: dict[str, Any] = json.loads(json.dumps(self.head(name).get_params(), default=str))
        return {"head": spec.head, **own, **params}

    def fuser(self) -> Fuser:
        """Construct the fuser, unfitted."""
        spec = self.experiment.fusion
        fuser = build(FUSERS, spec.method, spec.options(), "fusion", self.folder)
        if spec.temperature and fuser.raw:
            raise ConfigError(
                f"fusion: {spec.method} takes what the models gave as it is; leave temperature out"
            )
        return Tempered(fuser) if spec.temperature else fuser

    def sources(self) -> list[str]:
        """Return the heads, fine-tuned encoders and imported tables that are fused."""
        named = self.experiment.fusion.sources
        return self._known_sources() if named is None else list(named)

    def finetune_weights(self, name: str) -> str | None:
        """Return the weights that an encoder begins with; a folder of the experiment by its path."""
        weights = self.experiment.finetune[name].weights
        return str(self.folder / weights) if weights and (self.folder / weights).exists() else weights

    def finetune_identity(self, name: str) -> dict[str, Any]:
        """Return everything that the experiment says about a fine-tuned encoder, as JSON."""
        return {"head": "finetuned", **self.experiment.finetune[name].model_dump(mode="json")}

    def _known_sources(self) -> list[str]:
        return [*self.experiment.heads, *self.experiment.finetune, *self.experiment.imported]

    def _check_references(self) -> None:
        """Find every mistake that needs no data, before anything starts."""
        experiment = self.experiment
        for name, spec in experiment.features.items():
            if spec.finetuned is None:
                self.extractor(name)
                continue
            tuned = experiment.finetune.get(spec.finetuned)
            if tuned is None:
                raise ConfigError(
                    f"features.{name}.finetuned: no encoder {spec.finetuned!r} under `finetune:`"
                    f"{did_you_mean(spec.finetuned, experiment.finetune)}"
                )
            if tuned.encoder != spec.extractor:
                raise ConfigError(
                    f"features.{name}: extractor {spec.extractor!r}, "
                    f"but {spec.finetuned} is a {tuned.encoder}"
                )
        settings = experiment.settings()
        for name, setting in settings.items():
            if setting.features in self.scoped:
                raise ConfigError(
                    f"sweep: {name!r} reads {setting.features!r}, which is another in every fold; a sweep "
                    "tries heads on features that all folds share"
                )
        if settings:
            self.with_heads(settings)
        for name, head in experiment.heads.items():
            if head.features not in experiment.features:
                raise ConfigError(
                    f"heads.{name}: no feature {head.features!r} in this experiment"
                    f"{did_you_mean(head.features, experiment.features)}"
                )
            self.head(name)
        known = self._known_sources()
        if twice := [name for name, times in Counter(known).items() if times > 1]:
            raise ConfigError(f"{twice[0]!r} is the name of two sources; every one needs its own")
        for source in experiment.fusion.sources or ():
            if source not in known:
                raise ConfigError(f"fusion.sources: no source {source!r}{did_you_mean(source, known)}")
        self.fuser()


def load(file: Path, overrides: Sequence[str] = ()) -> Workspace:
    """Read an experiment file.

    Args:
        file: The YAML file.
        overrides: `key.to.value=YAML` from the command line; `*` in a key matches any name.

    Raises:
        ConfigError: If the file is absent or anything in it is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not a UTF-8 text file; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(
            f"no {file} here ({error.strerror}). Make one with: "
            "python -m pipeline.init --corpus ravdess --root DIR, or name one with --experiment FILE"
        ) from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(
            f"{file}: expected keys like manifest, features, heads; found {type(document).__name__}"
        )
    workspace = Workspace(parse(override(document, overrides), file.name), file.resolve().parent, file)
    return workspace.with_fold_features()


def parse(document: Mapping[str, Any], source: str) -> Experiment:
    """Validate a document.

    Raises:
        ConfigError: With the path of the first wrong key, and a suggestion if it is unknown.
    """
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        where = ".".join(location)
        if first["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            hint = did_you_mean(location[-1], known)
            raise ConfigError(f"{source}: unknown key {where!r}{hint}") from error
        if first["type"] == "missing":
            raise ConfigError(f"{source}: {where} is missing") from error
        raise ConfigError(f"{source}: {where}: {problem(error)}; found {first['input']!r}") from error


def override(document: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a document with `key.to.value=YAML` settings applied.

    Raises:
        ConfigError: If a setting has no `=`, is no YAML, or its key leads through a plain value.
    """
    out: dict[str, Any] = json.loads(json.dumps(document, default=str))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting}: expected key=value, as in --set heads.voice-svc.C=3")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting}: the value is not valid YAML") from error
        for parent in _parents(out, key.strip().split(".")[:-1], setting):
            parent[key.strip().split(".")[-1]] = value
    return out


def dump(document: Mapping[str, Any]) -> str:
    """Return a document as YAML, in its own order."""
    return yaml.safe_dump(
        dict(document), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )


def _parents(document: dict[str, Any], keys: Sequence[str], setting: str) -> Iterator[dict[str, Any]]:
    """Yield the mappings that a dotted key leads to, making those that are absent."""
    if not keys:
        yield document
        return
    first, rest = keys[0], keys[1:]
    if "*" in first:
        matches = [k for k in document if fnmatchcase(k, first)]
        if not matches:
            raise ConfigError(f"--set {setting}: nothing matches {first!r} (known: {', '.join(document)})")
    else:
        document.setdefault(first, {})
        matches = [first]
    for match in matches:
        if not isinstance(document[match], dict):
            raise ConfigError(f"--set {setting}: {match!r} is a value, it has no keys below it")
        yield from _parents(document[match], rest, setting)


def _plain(value: Any) -> str:
    """Return a value as a name shows it: without spaces and brackets."""
    return re.sub(r"[\[\]()' ]", "", str(list(value) if isinstance(value, tuple) else value))


def _known_keys(location: Sequence[str]) -> list[str]:
    model: Any = Experiment
    if location and location[0] in ("features", "heads", "fusion"):
        model = {"features": FeatureSpec, "heads": HeadSpec, "fusion": FusionSpec}[location[0]]
    return list(model.model_fields)
