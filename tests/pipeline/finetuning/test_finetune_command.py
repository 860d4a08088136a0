"""`python -m pipeline.finetune audio` on a corpus of tones, and what becomes of its checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from lab import Lab
from speakers import CLASSES, experiment, write_corpus, write_encoder

from pipeline import posteriors

HOUSE = Path(__file__).parents[3]


@pytest.fixture
def tones(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    write_corpus(tmp_path)
    return Lab(tmp_path, experiment(), capsys, monkeypatch)


def note(lab: Lab, fold: int) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((lab.folder / f"models/speech/fold{fold}/fold.json").read_text())
    return value


def test_the_whole_road_from_clips_to_a_fusion(tones: Lab) -> None:
    assert tones.run("finetune", "audio") == 0, tones.err
    assert "speech: wav2vec2 from small, 2 epochs, weights chosen on held-out training subjects" in tones.out
    table = posteriors.read(tones.folder / "posteriors/speech.parquet")
    manifest = pd.read_csv(tones.folder / "manifest.csv")
    for fold in range(2):
        tested, trained = (table.part(split, fold, raw=True) for split in ("test", "train"))  # type: ignore[arg-type]
        assert sorted([*tested[0], *trained[0]]) == sorted(manifest["clip_id"])
        assert (tested[1].sum(axis=1) != 1).all()  # logits
        model = table.about.models[fold]
        assert not set(model.seen_subjects) & set(table.about.test_subjects[fold])
        assert set(model.held_out) < set(model.seen_subjects)
    for command in (("extract", "all"), ("train_heads",), ("fuse", "--report")):
        assert tones.run(*command) == 0, tones.err
    heads = posteriors.read(tones.folder / "posteriors/emb-log.parquet")
    assert set(heads.rows["split"]) == {"test", "train"}  # inner folds would know their clips
    assert [m.seen_subjects for m in heads.about.models] == [m.seen_subjects for m in table.about.models]
    found = json.loads((tones.folder / "reports/latest/metrics.json").read_text())
    assert set(found["sources"]) == {"speech", "emb-log"}


def test_features_of_a_fold_are_refused_elsewhere(tones: Lab) -> None:
    """A checkpoint knows whom it has seen, however it comes into an experiment."""
    assert tones.run("finetune", "audio") == 0
    tones.document["features"]["emb"] = {
        "modality": "audio", "extractor": "wav2vec2", "weights": "models/speech/fold0/encoder",
    }  # fmt: skip
    tones.save()
    assert tones.run("extract", "all") == 0, tones.err
    assert tones.run("train_heads") == 1
    assert "feature 'emb' has seen subject" in tones.err
    (tones.folder / "models/speech/fold0/encoder/affectstack.json").write_text("{}")
    assert tones.run("extract", "all") == 1
    assert "does not say which subjects these weights have seen" in tones.err


def test_weights_that_know_a_test_subject_are_no_beginning(tones: Lab) -> None:
    (tones.folder / "small/affectstack.json").write_text(json.dumps({"seen_subjects": ["s3"]}))
    assert tones.run("finetune", "audio") == 1
    assert "finetune.speech: the weights have seen subject s3, who is a test subject of fold" in tones.err


def test_finished_folds_are_not_trained_again(tones: Lab) -> None:
    assert tones.run("finetune", "audio") == 0
    first = posteriors.read(tones.folder / "posteriors/speech.parquet")
    assert tones.run("finetune", "audio") == 0
    assert tones.out.count("is there") == 2
    assert not list((tones.folder / "models").rglob("*.state"))
    tones.document["finetune"]["speech"]["lr"] = 0.001
    tones.document["fusion"]["sources"] = ["speech"]
    tones.save()
    assert tones.run("fuse") == 1
    assert "head 'speech' was trained with other settings (lr: 0.003 -> 0.001)" in tones.err
    assert "python -m pipeline.finetune audio" in tones.err
    assert tones.run("finetune", "audio") == 0
    assert "is there" not in tones.out
    again = posteriors.read(tones.folder / "posteriors/speech.parquet")
    columns = posteriors.columns(CLASSES)
    assert np.abs(first.rows[columns] - again.rows[columns]).to_numpy().max() > 1e-6


def test_states_of_other_settings_are_not_gone_on_with(tones: Lab) -> None:
    folder = tones.folder / "models/speech/fold0"
    folder.mkdir(parents=True)
    (folder / "last.state").write_bytes(b"of another run")
    assert tones.run("finetune", "audio") == 0, tones.err


@pytest.mark.parametrize("kept", ["inner", "test"])
def test_what_chose_the_weights_is_said(tones: Lab, kept: str) -> None:
    tones.document = {**experiment(select_on=kept), "heads": {}, "features": {}, "fusion": {"method": "mean"}}
    tones.save()
    assert tones.run("finetune", "audio") == 0, tones.err
    assert ("selected on test" in tones.out) == (kept == "test")
    assert bool(note(tones, 0)["model"]["held_out"]) == (kept == "inner")
    assert tones.run("fuse") == 0
    assert ("selected on test: the models of speech" in tones.out) == (kept == "test")


def test_a_clip_that_cannot_be_read_costs_that_clip(tones: Lab) -> None:
    (tones.folder / "media/s0-low-0.wav").write_bytes(b"RIFF")
    short = np.zeros(1000, np.float32)
    import soundfile

    soundfile.write(tones.folder / "media/s1-low-0.wav", short, 16000)
    for _ in range(2):  # also when the sound is there already
        assert tones.run("finetune", "audio") == 2, tones.err
        failures = pd.read_csv(tones.folder / "models/speech/failures.csv")
        assert failures["clip_id"].tolist() == ["s0-low-0", "s1-low-0"]
    assert "1000 samples; training needs 3280" in failures["message"][1]
    table = posteriors.read(tones.folder / "posteriors/speech.parquet")
    assert table.about.missing_clips == ["s0-low-0", "s1-low-0"]


def test_what_test_clips_chose_is_said_of_its_features_too(tones: Lab) -> None:
    tones.document = experiment(select_on="test")
    tones.document["fusion"]["sources"] = ["emb-log"]
    tones.save()
    for command in (("finetune", "audio"), ("extract", "all"), ("train_heads",), ("fuse",)):
        assert tones.run(*command) == 0, tones.err
    assert "selected on test: the models of emb-log" in tones.out


def test_a_random_beginning_is_said_of_its_features_too(tones: Lab) -> None:
    (tones.folder / "small/affectstack.json").write_text(json.dumps({"seen_subjects": [], "untrained": True}))
    for command in (("finetune", "audio"), ("extract", "all"), ("train_heads",), ("fuse",)):
        assert tones.run(*command) == 0, tones.err
    assert "untrained: features of emb-log, speech come from random weights" in tones.out


def test_features_of_an_encoder_that_was_tuned_again_are_stale(tones: Lab) -> None:
    for command in (("finetune", "audio"), ("extract", "all"), ("train_heads",)):
        assert tones.run(*command) == 0, tones.err
    tones.document["finetune"]["speech"]["lr"] = 0.001
    tones.save()
    assert tones.run("extract", "all") == 1
    assert "models/speech/fold0/encoder was made with other settings" in tones.err
    assert tones.run("finetune", "audio") == 0
    assert tones.run("train_heads") == 1
    assert "feature 'emb@fold0' is of an encoder that was fine-tuned anew since" in tones.err
    assert tones.run("extract", "all") == 0
    assert tones.run("train_heads") == 0, tones.err


def test_a_fold_without_a_readable_test_clip_is_refused_before_training(tones: Lab) -> None:
    tones.document["folds"] = "loso"
    tones.save()
    for file in (tones.folder / "media").glob("s3-*.wav"):
        file.write_bytes(b"")
    assert tones.run("finetune", "audio") == 1
    assert "fold 3 has no test clip that can be read (subjects s3)" in tones.err
    for file in (tones.folder / "media").glob("*.wav"):
        file.write_bytes(b"")
    assert tones.run("finetune", "audio") == 1
    assert "no clip could be read; the first: " in tones.err


def test_a_sweep_over_features_of_folds_is_refused(tones: Lab) -> None:
    tones.document["sweep"] = [{"features": "emb", "head": "logistic"}]
    tones.save()
    assert tones.run("train_heads", "--sweep") == 1
    assert "sweep: 'logistic' reads 'emb', which is another in every fold" in tones.err


def test_features_of_an_encoder_that_was_not_tuned_name_the_command(tones: Lab) -> None:
    assert tones.run("extract", "all") == 1
    assert "feature 'emb@fold0': models/speech/fold0/encoder is not there" in tones.err
    assert "run: python -m pipeline.finetune audio" in tones.err


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("finetune", {}, "no encoder 'speech' under `finetune:`"),
        ("heads", {"speech": {"features": "emb", "head": "logistic"}}, "'speech' is the name of two sources"),
        ("finetune", {"speech": {"modality": "audio", "epoch": 3}}, r"unknown key 'finetune.speech.epoch'"),
        ("finetune", {"speech": {"modality": "audio", "lr": 0}}, "finetune.speech.lr: "),
    ],
)
def test_mistakes_are_named(tones: Lab, key: str, value: Any, complaint: str) -> None:
    tones.document[key] = value
    tones.save()
    assert tones.run("finetune", "audio") == 1
    assert complaint in tones.err


def test_an_experiment_without_an_encoder_to_tune_says_so(tones: Lab) -> None:
    tones.document = {**tones.document, "finetune": {}, "features": {}, "heads": {}}
    tones.save()
    assert tones.run("finetune", "audio") == 1
    assert "has nothing to fine-tune on audio" in tones.err


def start(folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.finetune", "audio"]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE)


def encoders(folder: Path) -> list[bytes]:
    return [p.read_bytes() for p in sorted((folder / "models").rglob("model.safetensors"))]


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "whole")
    write_corpus(tmp_path / "killed")
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        document = experiment(epochs=12, save_every=3)
        (folder / "experiment.yaml").write_text(yaml.safe_dump({**document, "features": {}, "heads": {}}))
    assert start(tmp_path / "whole").wait(timeout=300) == 0
    killed = 0
    for fold in range(2):
        process = start(tmp_path / "killed")
        state = tmp_path / f"killed/models/speech/fold{fold}/last.state"
        deadline = time.monotonic() + 200
        while not state.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed
    assert start(tmp_path / "killed").wait(timeout=300) == 0
    assert len(encoders(tmp_path / "whole")) == 2
    assert encoders(tmp_path / "killed") == encoders(tmp_path / "whole")


@pytest.mark.realdata
@pytest.mark.slow
def test_real_clips_of_a_few_actors(real_data: Path, tones: Lab, tmp_path: Path) -> None:
    """A small random encoder over real speech: the loss falls, the checkpoints feed features per fold."""
    media = tmp_path / "ravdess"
    media.mkdir()
    for actor in ("01", "02", "03", "04"):
        shutil.copytree(real_data / f"ravdess_speech_16k/Actor_{actor}", media / actor)
    assert (
        tones.run("init", "--corpus", "ravdess", "--root", str(media), "--recipe", "voice", "--out", "work")
        == 0
    )
    write_encoder(tones.folder / "work/small", hidden_size=32, conv_dim=(32,) * 7, intermediate_size=64)
    tones.folder = tones.folder / "work"
    written = yaml.safe_load((tones.folder / "experiment.yaml").read_text())
    tuning = experiment(epochs=8, lr=0.003, eval_every=10, save_every=50)
    keep = {k: written[k] for k in ("manifest", "root", "label", "classes")}
    tones.document = {**tuning, **keep}
    tones.save()
    for command in (("finetune", "audio"), ("extract", "all"), ("train_heads",), ("fuse",)):
        assert tones.run(*command) == 0, tones.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tones.folder / "models/speech/fold0/tensorboard"))
    board.Reload()
    losses = [e.value for e in board.Scalars("loss")]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
