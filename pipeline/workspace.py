"""An experiment in its folder: what its sections name, built."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affectstack import did_you_mean
from classifiers import HEADS, Head
from classifiers.contract import Task
from extractors import EXTRACTORS, Extractor
from fusion import FUSERS, VALUE_FUSERS, Combiner, Tempered
from manifests import Folds, Manifest, make_folds
from pipeline.options import ConfigError, build
from pipeline.sections import Experiment, FeatureSpec, FusionSpec, HeadSpec


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
        count = len(self.folds(self.labelled()))
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

    def labelled(self) -> Manifest:
        """Return the clips that heads are tested on and fusion sees: all but those of dropped classes."""
        manifest, dropped = self.manifest(), self.experiment.drop
        if self.experiment.unlabelled == "keep":
            manifest, _ = manifest.by_label(self._label_columns)
        return manifest.without(self.experiment.label, dropped) if dropped else manifest

    def unlabelled(self) -> Manifest | None:
        """Return the clips without a label, where the experiment keeps them and there are any."""
        if self.experiment.unlabelled == "error":
            return None
        return self.manifest().by_label(self._label_columns)[1]

    @property
    def _label_columns(self) -> tuple[str, ...]:
        return self.experiment.attributes or (self.experiment.label,)

    @property
    def label(self) -> str:
        """The label column; "" if the experiment is about attributes."""
        return "" if self.experiment.attributes else self.experiment.label

    @property
    def task(self) -> Task:
        """What heads predict here."""
        return "values" if self.experiment.attributes else "classes"

    def refuse_attributes(self, what: str) -> None:
        """Refuse what is there for classes alone.

        Raises:
            ConfigError: If the experiment is about attributes.
        """
        if self.experiment.attributes:
            raise ConfigError(
                f"{self.file.name} is about attributes ({', '.join(self.experiment.attributes)}); "
                f"{what} takes experiments on classes only"
            )

    def classes(self, manifest: Manifest) -> list[str]:
        """Return the classes in report order; none if the experiment is about attributes."""
        if self.experiment.attributes:
            return []
        if self.experiment.classes is not None:
            return [name for name in self.experiment.classes if name not in self.experiment.drop]
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
        head = build(HEADS, spec.head, spec.options(), f"heads.{name}", self.folder, defaults)
        if self.task not in head.tasks:
            fit = [h for h in HEADS if self.task in HEADS[h].tasks]
            about = "attributes" if self.task == "values" else "classes"
            raise ConfigError(
                f"heads.{name}: {spec.head} does not predict {self.task}, and this experiment is about "
                f"{about}{did_you_mean(spec.head, fit)}"
            )
        return head

    def with_heads(self, heads: Mapping[str, HeadSpec]) -> "Workspace":
        """Return the same with other heads, which may have any names."""
        experiment = self.experiment.model_copy(
            update={"heads": dict(heads), "sweep": (), "fusion": FusionSpec()}
        )
        return Workspace(experiment, self.folder, self.file)

    def head_identity(self, name: str) -> dict[str, Any]:
        """Return everything that the experiment says about a head, defaults included, as JSON."""
        spec = self.experiment.heads[name]
        named = spec.features if isinstance(spec.features, str) else list(spec.features)
        own: dict[str, Any] = {"features": named, "pool": spec.pool, "speaker_norm": spec.speaker_norm}
        own |= {} if spec.views is None else {"views": list(spec.views)}
        own |= {"soft": True} if spec.soft else {}
        own |= {} if spec.rate is None else {"rate": spec.rate}
        own |= {} if spec.longest is None else {"longest": spec.longest, "cut": spec.cut}
        params: dict[str, Any] = json.loads(json.dumps(self.head(name).get_params(), default=str))
        return {"head": spec.head, **own, **params}

    def fuser(self) -> Combiner:
        """Construct the fuser, unfitted."""
        spec = self.experiment.fusion
        if self.experiment.attributes:
            return self._value_fuser()
        fuser = build(FUSERS, spec.method, spec.options(), "fusion", self.folder)
        if spec.temperature and fuser.raw:
            raise ConfigError(
                f"fusion: {spec.method} takes what the models gave as it is; leave temperature out"
            )
        return Tempered(fuser) if spec.temperature else fuser

    def _value_fuser(self) -> Combiner:
        spec, known = self.experiment.fusion, ", ".join(VALUE_FUSERS)
        if spec.method in FUSERS and spec.method not in VALUE_FUSERS:
            raise ConfigError(f"fusion: {spec.method} fuses posteriors; values are fused by one of {known}")
        if spec.temperature:
            raise ConfigError(
                "fusion: a temperature calibrates posteriors, and values have none; leave it out"
            )
        return build(VALUE_FUSERS, spec.method, spec.options(), "fusion", self.folder)

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

    def _check_pictures(self, name: str, source: str | None) -> None:
        """Refuse a feature that reads the pictures of one that is not there, or has none."""
        if source is None:
            return
        features = self.experiment.features
        if source not in features:
            raise ConfigError(
                f"features.{name}: no feature {source!r} in this experiment{did_you_mean(source, features)}"
            )
        if not self.extractor(source).gives_pictures:
            raise ConfigError(
                f"features.{name}: {source!r} ({features[source].extractor}) holds no pictures; "
                "name a feature whose extractor is `faces`"
            )

    def _known_sources(self) -> list[str]:
        return [*self.experiment.heads, *self.experiment.finetune, *self.experiment.imported]

    def _check_attributes(self) -> None:
        """Refuse an experiment on attributes that is on classes as well, or asks for what only these have."""
        experiment = self.experiment
        if not experiment.attributes:
            return
        both = [key for key in ("label", "classes", "drop") if key in experiment.model_fields_set]
        if both := [key for key in both if getattr(experiment, key)]:
            raise ConfigError(
                f"{self.file.name}: `attributes` and `{both[0]}` exclude each other: an experiment is about "
                "values or about classes; take one of them out"
            )
        for key in ("finetune", "sweep", "imported"):
            if getattr(experiment, key):
                self.refuse_attributes(f"`{key}`")

    def _check_references(self) -> None:
        """Find every mistake that needs no data, before anything starts."""
        experiment = self.experiment
        self._check_attributes()
        for name, spec in experiment.features.items():
            if spec.finetuned is None:
                self._check_pictures(name, self.extractor(name).reads_feature)
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
            if scoped := sorted(self.scoped & set(setting.feature_names)):
                raise ConfigError(
                    f"sweep: {name!r} reads {scoped[0]!r}, which is another in every fold; a sweep "
                    "tries heads on features that all folds share"
                )
        if settings:
            self.with_heads(settings)
        for name, head in experiment.heads.items():
            for feature in head.feature_names:
                if feature not in experiment.features:
                    raise ConfigError(
                        f"heads.{name}: no feature {feature!r} in this experiment"
                        f"{did_you_mean(feature, experiment.features)}"
                    )
            built = self.head(name)
            inputs = built.inputs
            if head.soft and experiment.attributes:
                raise ConfigError(
                    f"heads.{name}: `soft` shares votes among classes, and attributes have none"
                )
            if head.soft and not built.learns_shares:
                able = [n for n in HEADS if HEADS[n].learns_shares]
                raise ConfigError(
                    f"heads.{name}: {head.head} does not learn from shares of votes (`soft`); these do: "
                    f"{', '.join(able)}"
                )
            if not built.sequence and (head.rate is not None or head.longest is not None):
                raise ConfigError(
                    f"heads.{name}: {head.head} reads means over time, so `rate` and `longest` say nothing "
                    "to it; leave them out, or take a head of sequences"
                )
            if inputs and len(inputs) != len(head.feature_names):
                raise ConfigError(
                    f"heads.{name}: {head.head} reads {len(inputs)} features ({', '.join(inputs)}), but "
                    f"{len(head.feature_names)} are named"
                )
        known = self._known_sources()
        if twice := [name for name, times in Counter(known).items() if times > 1]:
            raise ConfigError(f"{twice[0]!r} is the name of two sources; every one needs its own")
        for source in experiment.fusion.sources or ():
            if source not in known:
                raise ConfigError(f"fusion.sources: no source {source!r}{did_you_mean(source, known)}")
        self.fuser()
