"""Fine-tuning on every fold: from the manifest to checkpoints and posteriors."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from affectstack import AffectstackError, __version__
from extractors.contract import Clip, ClipError, TooShortError
from extractors.wav2vec2 import Wav2Vec2
from manifests import Fold
from pipeline.engine.plan import Takes
from pipeline.files import canonical_json, publish, publish_json, read_json
from pipeline.finetuning.loop import Learned, Loop, Settings
from pipeline.finetuning.network import SpeechClassifier, fewest_samples, save
from pipeline.posteriors import NO_INNER, About, ModelNote, PosteriorTable, rows_of, to_parquet
from pipeline.progress import Meter
from pipeline.protocol import Protocol
from pipeline.sections import FinetuneSpec
from pipeline.store import Failure
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import datasets

_RATE = 16000


@dataclass(frozen=True)
class Sounds:
    """The sound of all clips, decoded once and kept on disk.

    Attributes:
        data: A row per piece: `clip_id`, `sound`.
        clips: `[N]` the clip of each piece.
        failures: Clips that could not be read.
        sha256: Fingerprint of clips and preparation.
    """

    data: "datasets.Dataset"
    clips: NDArray[Any]
    failures: list[Failure]
    sha256: str

    def __call__(self, piece: int) -> NDArray[np.float32]:
        """Return a piece."""
        return np.asarray(self.data[int(piece)]["sound"], dtype=np.float32)


def _stamp(file: Path) -> list[int]:
    """Return what tells a file from another of its name; nothing if it is not there."""
    try:
        found = file.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


class Finetuning:
    """One `finetune` entry of an experiment.

    Args:
        workspace: The experiment.
        name: The entry.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.name = name
        self.protocol = Protocol.of(workspace)
        self.identity = workspace.finetune_identity(name)
        self._spec: FinetuneSpec = workspace.experiment.finetune[name]
        self._workspace = workspace
        self._extractor = Wav2Vec2(weights=workspace.finetune_weights(name), chunk=self._spec.chunk)
        self._refuse_known()

    def introduction(self) -> str:
        """Say in a line what is fine-tuned and how."""
        spec = self._spec
        begin = "RANDOM weights" if self._extractor.untrained else str(spec.weights or "published weights")
        chosen = "held-out training subjects" if spec.select_on == "inner" else "the TEST subjects"
        return f"{spec.encoder} from {begin}, {spec.epochs} epochs, weights chosen on {chosen}"

    def sounds(self) -> Sounds:
        """Decode every clip, or find what was decoded before."""
        import datasets

        manifest = self._workspace.labelled()
        takes = Takes(manifest, self._workspace.root)
        what = [self._extractor.identity()["normalised"], self._spec.chunk, self._shortest, __version__]
        files = [[_stamp(f) for f in takes[i].files] for i in range(len(takes))]
        fingerprint = hashlib.sha256(
            canonical_json([what, takes.fingerprint(range(len(takes))), files]).encode()
        ).hexdigest()
        cache = self._workspace.folder / "finetune" / "sound" / fingerprint[:32]
        failures: list[Failure] = []
        known = read_json(cache / "failures.json")
        if known is None:  # never decoded, or not to the end
            shutil.rmtree(cache, ignore_errors=True)

        def pieces() -> Iterator[dict[str, Any]]:
            with Meter("  decoding", len(takes), "clips") as meter:
                for i in range(len(takes)):
                    clip = takes[i].clip
                    try:
                        for piece in self._pieces(clip):
                            yield {"clip_id": clip.clip_id, "sound": piece}
                    except ClipError as error:
                        failures.append(Failure(clip.clip_id, clip.view, type(error).__name__, str(error)))
                        meter.failed = len(failures)
                    meter.add(1)

        datasets.disable_progress_bars()
        features = datasets.Features(
            {"clip_id": datasets.Value("string"), "sound": datasets.List(datasets.Value("float32"))}
        )
        try:
            data = datasets.Dataset.from_generator(
                pieces, features=features, cache_dir=str(cache), fingerprint=fingerprint[:32]
            )
        except ValueError:
            if len({f.clip_id for f in failures}) < len(takes):
                raise
            data = datasets.Dataset.from_dict({"clip_id": [], "sound": []}, features=features)  # all failed
        if known is None:
            publish_json(cache / "failures.json", {"failures": [asdict(f) for f in failures]})
        else:
            failures = [Failure(**f) for f in known["failures"]]
        clips = np.array(data["clip_id"][:])
        return Sounds(data.with_format("numpy"), clips, failures, fingerprint)

    def folder(self, fold: Fold) -> Path:
        """Return where a fold's checkpoint goes."""
        return self._workspace.folder / "models" / self.name / f"fold{fold.index}"

    def is_done(self, fold: Fold, sounds: Sounds) -> bool:
        """Tell whether a fold's checkpoint is there and was made from the same inputs."""
        note = read_json(self.folder(fold) / "fold.json")
        return note is not None and note["fingerprint"] == self._fingerprint(fold, sounds)

    def steps(self, fold: Fold, sounds: Sounds) -> int:
        """Return how many optimiser steps a fold takes."""
        per_step = self._spec.batch * self._spec.accumulate
        return self._spec.epochs * -(-len(self._parts(fold, sounds)[0]) // per_step)

    def run(self, fold: Fold, sounds: Sounds) -> Iterator[int]:
        """Fine-tune on a fold and publish its checkpoint and posteriors; yield the steps done."""
        folder = self.folder(fold)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fold.json").unlink(missing_ok=True)
        fingerprint = self._fingerprint(fold, sounds)
        self._forget_others(folder, fingerprint)
        fit, watch = self._parts(fold, sounds)
        torch.manual_seed(self._spec.seed)
        network = SpeechClassifier(self._encoder(), len(self.protocol.classes), self._spec.pool)
        number = {c: i for i, c in enumerate(self.protocol.classes)}
        labels = np.array([number[label] for label in self.protocol.labels.loc[sounds.clips]])
        fields = {k: getattr(self._spec, k) for k in Settings.__dataclass_fields__ if k != "precision"}
        settings = Settings(**fields, precision=self._spec.resolved_precision())
        loop = Loop(network, sounds, labels, fit, watch, settings, folder)
        yield from loop.run()
        save(network, folder, _RATE, self._extractor.normalises)
        known = frozenset(self.protocol.subjects)
        seen = sorted(fold.train | (self._extractor.trained_on & known))
        held_out = sorted(fold.inner[0]) if self._spec.select_on == "inner" else []
        publish_json(
            folder / "encoder" / "affectstack.json",
            {
                "seen_subjects": seen,
                "fold": fold.index,
                "selected_on_test": self._chosen_by_test,
                "untrained": self._extractor.untrained,
            },
        )
        self._publish_rows(loop, fold, sounds, folder)
        note = asdict(ModelNote(fold.index, NO_INNER, seen, held_out))
        learned: Learned = loop.learned
        publish_json(
            folder / "fold.json",
            {
                "fingerprint": fingerprint,
                "identity": self.identity,
                "model": note,
                "kept": asdict(learned),
                "settings": asdict(settings),
            },
        )
        loop.forget()
        (folder / "running.json").unlink(missing_ok=True)

    def table(self, sounds: Sounds) -> PosteriorTable:
        """Join the finished folds into a posterior table."""
        notes = [read_json(self.folder(f) / "fold.json") or {} for f in self.protocol.folds]
        rows = [pd.read_parquet(self.folder(f) / "posteriors.parquet") for f in self.protocol.folds]
        about = About(
            source=self.name,
            label=self.protocol.label,
            classes=list(self.protocol.classes),
            head=self.identity,
            features={"name": "", "identity": {"sound": sounds.sha256}},
            folds=self.protocol.folds.name,
            protocol_sha256=self.protocol.sha256,
            test_subjects=[sorted(f.test) for f in self.protocol.folds],
            models=[ModelNote(**n["model"]) for n in notes],
            transductive=False,
            untrained=self._extractor.untrained,
            missing_clips=sorted({f.clip_id for f in sounds.failures}),
            selected_on_test=self._chosen_by_test,
        )
        return PosteriorTable(pd.concat(rows, ignore_index=True), about)

    def _pieces(self, clip: Clip) -> list[NDArray[np.float32]]:
        pieces = [window.data for window in self._extractor.windows(clip)]
        if len(pieces[0]) < self._shortest:
            raise TooShortError(f"{len(pieces[0])} samples; training needs {self._shortest}")
        return [piece for piece in pieces if len(piece) >= self._shortest]  # the last one may be a rest

    @property
    def _chosen_by_test(self) -> bool:
        """Whether test clips chose these weights, or those that they began with."""
        return self._spec.select_on == "test" or self._extractor.selected_on_test

    def refuse_empty_folds(self, sounds: Sounds) -> None:
        """Refuse folds without clips to learn from, to watch or to test, before anything is trained."""
        if not len(sounds.clips):
            raise AffectstackError(
                f"finetune.{self.name}: no clip could be read; the first: {sounds.failures[0].message}"
            )
        owners = self.protocol.subjects.loc[sounds.clips].to_numpy()
        for fold in self.protocol.folds:
            self._parts(fold, sounds)
            if not np.isin(owners, sorted(fold.test)).any():
                raise AffectstackError(
                    f"finetune.{self.name}: fold {fold.index} has no test clip that can be read (subjects "
                    f"{', '.join(sorted(fold.test))}); see failures.csv"
                )

    @property
    def _shortest(self) -> int:
        """The fewest samples that SpecAugment can mask a stretch of."""
        return fewest_samples(self._extractor.config)

    def _refuse_known(self) -> None:
        for fold in self.protocol.folds:
            if both := sorted(fold.test & self._extractor.trained_on):
                raise AffectstackError(
                    f"finetune.{self.name}: the weights have seen subject {', '.join(both[:5])}, who is a "
                    f"test subject of fold {fold.index}; begin with weights that have not"
                )

    def _parts(self, fold: Fold, sounds: Sounds) -> tuple[list[int], list[int]]:
        """Return the pieces to learn from, and those to watch."""
        owners = self.protocol.subjects.loc[sounds.clips].to_numpy()
        watched = fold.inner[0] if self._spec.select_on == "inner" else fold.test
        fit = np.isin(owners, sorted(fold.train - watched))
        watch = np.isin(owners, sorted(watched))
        if not fit.any() or not watch.any():
            raise AffectstackError(
                f"finetune.{self.name}: fold {fold.index} has no clips to learn from or to watch"
            )
        return np.flatnonzero(fit).tolist(), np.flatnonzero(watch).tolist()

    def _encoder(self) -> Any:
        """Return the encoder to begin with; training alone needs the embedding of masked frames."""
        self._extractor.precision = "fp32"
        self._extractor.prepare()
        model = self._extractor.network.cpu().requires_grad_(True)
        self._extractor.forget()
        return model

    def _fingerprint(self, fold: Fold, sounds: Sounds) -> str:
        what = {
            "version": __version__,
            "settings": self.identity,
            "precision": self._spec.resolved_precision(),
            "weights": self._extractor.identity(),
            "sound": sounds.sha256,
            "protocol": self.protocol.sha256,
            "fold": sorted(fold.test),
        }
        return hashlib.sha256(canonical_json(what).encode()).hexdigest()

    def _forget_others(self, folder: Path, fingerprint: str) -> None:
        """Delete states of a run with other inputs, so that none is gone on with by mistake."""
        mark = folder / "running.json"
        if (read_json(mark) or {}).get("fingerprint") != fingerprint:
            for file in [*folder.glob("*.state"), *folder.glob(".*.state.*.tmp")]:
                file.unlink()
            publish_json(mark, {"fingerprint": fingerprint})

    def _publish_rows(self, loop: Loop, fold: Fold, sounds: Sounds, folder: Path) -> None:
        owners = self.protocol.subjects.loc[sounds.clips].to_numpy()
        frames = []
        for split, subjects in (("test", fold.test), ("train", fold.train)):
            pieces = np.flatnonzero(np.isin(owners, sorted(subjects)))
            logits = pd.DataFrame(loop.logits(pieces.tolist()), columns=pd.Index(self.protocol.classes))
            by_clip = logits.groupby(sounds.clips[pieces], sort=False).mean()
            raw = by_clip.to_numpy(dtype=np.float64)
            clips: Sequence[str] = by_clip.index.tolist()
            part: Any = split
            frames.append(
                rows_of(clips, softmax(raw, axis=1), self.protocol.targets, fold.index, NO_INNER, part, raw)
            )
        classes = {"classes": self.protocol.classes}
        publish(folder / "posteriors.parquet", to_parquet(pd.concat(frames, ignore_index=True), classes))
