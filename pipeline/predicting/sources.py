"""The sources of an experiment as they predict new clips: what was trained, read back and checked."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from affectstack import AffectstackError
from classifiers import Head
from extractors import Extractor, Features
from extractors.contract import MissingMediaError, WindowExtractor
from pipeline.cli import stage
from pipeline.engine.messages import Failed
from pipeline.engine.plan import changed_keys, identity_of
from pipeline.files import canonical_json, read_json
from pipeline.head_data import as_read, clip_input, normalised
from pipeline.joining import JoinError
from pipeline.posteriors import PosteriorTable
from pipeline.predicting.reading import Found
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.tuned import TunedVoice
from pipeline.protocol import Protocol
from pipeline.sections import FinetuneSpec, HeadSpec
from pipeline.sources import learned_from, stored_source, training_command
from pipeline.targets import Targets
from pipeline.training import said_by
from pipeline.workspace import Workspace, fold_feature

FEWEST_OF_SPEAKER = 8


@dataclass(frozen=True)
class Said:
    """What a source says of a clip.

    Attributes:
        posteriors: `[K]`, or values `[A]`, the mean over folds.
        raw: `[K]` what the models themselves gave, for fusers that want it.
    """

    posteriors: NDArray[np.float64]
    raw: NDArray[np.float64]


class Source(ABC):
    """One trained source.

    Attributes:
        name: What the experiment calls it.
        table: Its stored posteriors.
        extractors: What it reads, by feature.
    """

    def __init__(self, name: str, table: PosteriorTable, extractors: Mapping[str, Extractor]) -> None:
        self.name = name
        self.table = table
        self.extractors = dict(extractors)

    @abstractmethod
    def say(self, clips: Sequence[Found], one_speaker: bool) -> list[Said | str]:
        """Return what it says of each clip, or why it says nothing.

        Args:
            clips: What was found in each, by feature.
            one_speaker: True if all of them are of one speaker.
        """


class HeadSource(Source):
    """The heads of all folds, each trained on the training part of its own.

    Args:
        name: The head.
        table: Its posteriors.
        extractors: By feature.
        heads: One per fold.
        features: The features that each of them reads.
        spec: What the experiment says of them.
        targets: Classes or attributes, in the experiment's order.
    """

    def __init__(
        self,
        name: str,
        table: PosteriorTable,
        extractors: Mapping[str, Extractor],
        heads: Sequence[Head],
        features: Sequence[tuple[str, ...]],
        spec: HeadSpec,
        targets: Targets,
    ) -> None:
        super().__init__(name, table, extractors)
        self._heads = list(heads)
        self._features = list(features)
        self._spec = spec
        self._transductive = spec.speaker_norm
        self._targets = targets

    def say(self, clips: Sequence[Found], one_speaker: bool) -> list[Said | str]:
        """Average what the heads of all folds say."""
        if self._transductive and not one_speaker:
            return [
                "its features are z-scored per speaker, which takes several clips of the speaker: give at "
                f"least {FEWEST_OF_SPEAKER} files, or a long recording, of one speaker and say --one-speaker"
            ] * len(clips)
        out: list[Said | str] = [self._reason(clip) or "" for clip in clips]
        usable = [i for i, reason in enumerate(out) if not reason]
        if self._transductive and len(usable) < FEWEST_OF_SPEAKER:
            few = f"{len(usable)} clips or windows of the speaker; at least {FEWEST_OF_SPEAKER} are needed"
            return [few if i in usable else reason for i, reason in enumerate(out)]
        if not usable:
            return out
        folds = np.mean(
            [self._of_fold(k, [clips[i] for i in usable]) for k in range(len(self._heads))], axis=0
        )
        for i, row in zip(usable, folds, strict=True):
            out[i] = Said(row, row)
        return out

    def _of_fold(self, fold: int, clips: Sequence[Found]) -> NDArray[np.float64]:
        head = self._heads[fold]
        inputs: list[Any] = [self._input(fold, clip) for clip in clips]
        if self._transductive:
            inputs = normalised(inputs, ["the speaker"] * len(inputs))
        return said_by(head, as_read(head, inputs), self._targets)

    def _input(self, fold: int, clip: Found) -> Any:
        features = [self._usable(clip, feature) for feature in self._features[fold]]
        return clip_input(self._heads[fold], self._spec, features)

    def _usable(self, clip: Found, feature: str) -> Features | None:
        """Return a feature of a clip, or None if it is of no use."""
        found = clip.get(feature)
        reason = _without(found, self.extractors[feature].modality)
        return None if reason or not isinstance(found, Features) else found

    def _reason(self, clip: Found) -> str:
        """Return why the heads cannot read a clip; "" if they can."""
        features = dict.fromkeys(f for own in self._features for f in own)
        reasons = [_without(clip.get(f), self.extractors[f].modality) for f in features]
        if all(reasons) or (any(reasons) and not self._heads[0].partial):
            return next(reason for reason in reasons if reason)
        try:
            readable = all(self._input(fold, clip) is not None for fold in range(len(self._heads)))
        except JoinError as error:
            return str(error)
        return "" if readable else "no row is valid in all of its features"


class TunedSource(Source):
    """A fine-tuned encoder: the networks of all folds.

    Args:
        name: The encoder.
        table: Its posteriors.
        extractors: What gives its logits, by its own name.
        classes: In the experiment's order.
    """

    def __init__(
        self, name: str, table: PosteriorTable, extractors: Mapping[str, Extractor], classes: Sequence[str]
    ) -> None:
        super().__init__(name, table, extractors)
        self._columns = [table.about.classes.index(c) for c in classes]

    def say(self, clips: Sequence[Found], one_speaker: bool) -> list[Said | str]:
        """Average the posteriors of all folds; each takes the mean logits of a clip's pieces."""
        return [self._of_clip(clip[self.name]) for clip in clips]

    def _of_clip(self, found: Features | Failed) -> Said | str:
        if reason := _without(found, "audio"):
            return reason
        assert isinstance(found, Features)  # noqa: S101  # or there would be a reason
        logits = found.values.mean(axis=0, dtype=np.float64).reshape(-1, len(self._columns))
        logits = logits[:, self._columns]
        return Said(softmax(logits, axis=1).mean(axis=0), logits.mean(axis=0))


def _without(found: Features | Failed | None, modality: str) -> str:
    """Return why a feature of a clip is of no use; "" if it is."""
    if found is None:
        return "nothing came of it"
    if isinstance(found, Failed):
        lacking = "there is no sound in it" if modality == "audio" else "there is no picture in it"
        return lacking if found.type == MissingMediaError.__name__ else found.message
    if found.silent:
        return "the sound is digital silence"
    if not found.valid.any():
        return "no face was found" if modality in ("face", "au") else "no row is valid"
    return ""


class Extractors:
    """The experiment's extractors, each made and prepared once.

    Args:
        workspace: The experiment.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._made: dict[str, dict[str, Extractor] | str] = {}

    def get(self, feature: str, identity: Mapping[str, Any]) -> dict[str, Extractor] | str:
        """Return a feature's extractor and that of the feature it reads, or why it takes no new clips.

        Args:
            feature: The feature.
            identity: What decided the values that a head learned from; networks compute in its precision.
        """
        if feature not in self._made:
            self._made[feature] = self._make(feature, identity)
        return self._made[feature]

    def identity(self, feature: str) -> dict[str, Any]:
        """Return what decides the values of a feature that can be made."""
        made = self._made[feature]
        assert isinstance(made, dict)  # noqa: S101  # asked for those that can be used
        extractor = made[feature]
        source = extractor.reads_feature
        pictures = None if source is None else self.identity(source)
        return identity_of(self._workspace, feature, extractor, pictures)

    def _make(self, feature: str, identity: Mapping[str, Any]) -> dict[str, Extractor] | str:
        extractor = self._workspace.extractor(feature)
        if extractor.looks_up:
            return f"{extractor.looks_up} holds {feature!r} of the corpus' clips alone"
        read: dict[str, Extractor] = {}
        if extractor.reads_feature is not None:
            found = self.get(extractor.reads_feature, identity.get("pictures", {}))
            if isinstance(found, str):
                return found
            read = found
            extractor.rows_per_second = found[extractor.reads_feature].rows_per_second
        if isinstance(extractor, WindowExtractor) and "precision" in identity:
            extractor.precision = identity["precision"]
        try:
            extractor.prepare()
        except AffectstackError as error:
            return str(error)
        return {**read, feature: extractor}


def read_source(workspace: Workspace, name: str, protocol: Protocol, extractors: Extractors) -> Source | str:
    """Return a source as it predicts new clips, or why it cannot.

    Args:
        workspace: The experiment.
        name: The source.
        protocol: Of the experiment.
        extractors: Shared between sources.

    Raises:
        PosteriorError, PredictError: If it was not trained, or with other settings, data or features.
    """
    experiment = workspace.experiment
    if name in experiment.imported:
        return "its posteriors were imported: no model is here that could make them for a new clip"
    table = stored_source(workspace, name, protocol)
    folders = [_checked_folder(workspace, name, table, k) for k in range(len(protocol.folds))]
    if name in experiment.finetune:
        return _tuned(name, table, folders, experiment.finetune[name], protocol.classes)
    spec = experiment.heads[name]
    if spec.views is not None and len(spec.views) > 1:
        views = ", ".join(spec.views)
        return f"it reads several cameras side by side ({views}), and a file is of one"
    scoped = workspace.scoped & set(spec.feature_names)
    own = [
        tuple(fold_feature(f, k) if f in scoped else f for f in spec.feature_names)
        for k in range(len(folders))
    ]
    made: dict[str, Extractor] = {}
    for feature, identity in learned_from(workspace, table):
        found = extractors.get(feature, identity)
        if isinstance(found, str):
            return found
        made |= found
        _refuse_other(workspace, name, feature, identity, extractors.identity(feature))
    kind = type(workspace.head(name))
    heads = [kind.load(folder) for folder in folders]
    return HeadSource(name, table, made, heads, own, spec, protocol.targets)


def _tuned(
    name: str, table: PosteriorTable, folders: Sequence[Path], spec: FinetuneSpec, classes: Sequence[str]
) -> TunedSource | str:
    voice = TunedVoice(folders, len(classes), spec)
    try:
        voice.prepare()
    except AffectstackError as error:
        return str(error)
    return TunedSource(name, table, {name: voice}, classes)


def _checked_folder(workspace: Workspace, name: str, table: PosteriorTable, fold: int) -> Path:
    """Return where a fold's model is; refuse one whose posteriors are not those of the table.

    The model and its posteriors are published together.
    """
    folder = workspace.folder / "models" / name / f"fold{fold}"
    rows = folder / "posteriors.parquet"
    command = f"run: {training_command(workspace, name)}"
    if read_json(folder / "fold.json") is None or not rows.is_file():
        raise PredictError(f"the model of {name!r} on fold {fold} is not there; {command}")
    own = pd.read_parquet(rows)
    stored = table.rows[table.rows["outer_fold"] == fold]
    same = own.reset_index(drop=True).equals(stored[own.columns].reset_index(drop=True))
    if not same:
        raise PredictError(
            f"the model of {name!r} on fold {fold} did not make the posteriors that are stored; {command}"
        )
    return folder


def _refuse_other(
    workspace: Workspace, name: str, feature: str, learned: dict[str, Any], now: dict[str, Any]
) -> None:
    if canonical_json(learned) != canonical_json(now):
        raise PredictError(
            f"{name!r} learned from {feature!r} of another make ({changed_keys(learned, now)}), which this "
            f"installation would not give; run: {stage('extract all', workspace.file)}, then "
            + stage("train_heads", workspace.file)
        )
