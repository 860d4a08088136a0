"""Predicting clips from outside an experiment, against what the experiment itself stored."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trained as corpus
from lab import Lab

from extractors import Clip, Features
from pipeline import Predictor, posteriors
from pipeline.experiment import load
from pipeline.features import read_index
from pipeline.predicting.prediction import Prediction, Refusal
from pipeline.predicting.reading import Found
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.sources import HeadSource

pytestmark = pytest.mark.slow  # trains an experiment first

CLIP = "s3-1"
NEW = 1000  # seeds of clips that are not in the corpus


@pytest.fixture(scope="module")
def found(trained: Path, predictor: Predictor) -> Found:
    """What the predictor finds in a clip of the corpus."""
    clip = Clip("recording", trained.parent / "media" / f"{CLIP}.mkv")
    (one,) = predictor._reader.features([clip], predictor._wanted)
    return one


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """New clips: one whole, and some that lack something."""
    folder = tmp_path_factory.mktemp("films")
    label = corpus.CLASSES[1]
    heard = folder / "heard.wav"
    corpus.clip_makers.write_clip(
        heard, sound=[(0.0, corpus.sound(label, 1.2, NEW))], sound_codec="pcm_s16le", rate=corpus.RATE
    )
    return {
        "whole": corpus.film(folder / "whole.mkv", label, NEW),
        "faceless": corpus.film(folder / "faceless.mkv", label, NEW, faces=False),
        "mute": corpus.film(folder / "mute.mkv", label, NEW, voice=False),
        "heard": heard,
        "nothing": corpus.film(folder / "nothing.mkv", label, NEW, faces=False, voice=False),
        "long": corpus.film(folder / "long.mkv", label, NEW, times=10),
    }


@pytest.mark.parametrize("feature", ["voice", "mel", "faces", "face"])
def test_features_are_those_of_the_store(trained: Path, found: Found, feature: str) -> None:
    workspace = load(trained)
    stored = read_index(workspace, feature).open(workspace).with_pictures((CLIP, ""))
    made = found[feature]
    assert isinstance(made, Features)
    if feature == "face":  # a network's batches are others here
        np.testing.assert_allclose(made.values, stored.values, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(made.values, stored.values)
    np.testing.assert_array_equal(made.intervals, stored.intervals)
    np.testing.assert_array_equal(made.valid, stored.valid)
    assert made.pictures == stored.pictures
    assert (made.pictures is not None) == (feature == "faces")


@pytest.mark.parametrize("head", ["voice-log", "face-log", "both", "mel-net", "joined"])
def test_the_head_of_a_fold_gives_the_posteriors_that_are_stored(
    trained: Path, predictor: Predictor, found: Found, head: str
) -> None:
    table = posteriors.read(trained.parent / "posteriors" / f"{head}.parquet")
    (fold,) = [k for k in range(2) if CLIP in table.part("test", k)[0]]
    clips, stored = table.part("test", fold)
    (source,) = [s for s in predictor._sources.values() if s.name == head]
    assert isinstance(source, HeadSource)
    made = source._of_fold(fold, [found])
    np.testing.assert_allclose(made[0], stored[clips.index(CLIP)], atol=1e-5)
    other = source._of_fold(1 - fold, [found])
    (said,) = source.say([found], one_speaker=False)
    assert not isinstance(said, str)
    np.testing.assert_allclose(said.posteriors, (made[0] + other[0]) / 2, atol=1e-12)


def of(prediction: Prediction, name: str) -> str:
    """Return why a source was not used, or ""."""
    (source,) = [s for s in prediction.sources if s.name == name]
    assert (source.posteriors is None) == bool(source.reason)
    return source.reason


def test_a_new_clip_is_predicted_from_what_it_has(predictor: Predictor, films: dict[str, Path]) -> None:
    whole = predictor.predict(films["whole"])
    assert whole.label == corpus.CLASSES[1]
    assert whole.used == ("audio", "face")
    assert sum(whole.posteriors.values()) == pytest.approx(1)
    assert list(whole.posteriors) == list(corpus.CLASSES)
    assert of(whole, "told-log") == "told.csv holds 'told' of the corpus' clips alone"
    assert "z-scored per speaker" in of(whole, "voice-sn") and "--one-speaker" in of(whole, "voice-sn")
    assert whole.timeline[0].sources == ("voice-log", "face-log", "both", "mel-net", "joined")
    assert any("mean of its models of 2 folds" in note for note in whole.notes)
    assert any(note.startswith("fused by logpool: voice-log + face-log + both") for note in whole.notes)
    assert any(note.startswith("untrained: ") and "(face-log, both, joined)" in note for note in whole.notes)
    assert not any("optimistic" in note for note in whole.notes)


def test_without_a_face_the_voice_is_used(predictor: Predictor, films: dict[str, Path]) -> None:
    faceless = predictor.predict(films["faceless"])
    assert faceless.used == ("audio",)
    assert of(faceless, "face-log") == of(faceless, "both") == of(faceless, "joined") == "no face was found"
    assert faceless.label == corpus.CLASSES[1]


def test_without_sound_the_face_is_used(predictor: Predictor, films: dict[str, Path]) -> None:
    mute = predictor.predict(films["mute"])
    assert mute.used == ("face",)
    assert of(mute, "voice-log") == of(mute, "mel-net") == "there is no sound in it"
    assert mute.label == corpus.CLASSES[1]


def test_a_sound_file_alone_is_enough(predictor: Predictor, films: dict[str, Path]) -> None:
    heard = predictor.predict(str(films["heard"]))
    assert heard.used == ("audio",)
    assert of(heard, "face-log") == "there is no picture in it"


def test_digital_silence_is_no_voice(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "silent.wav"
    silence = np.zeros(corpus.RATE, np.float32)
    corpus.clip_makers.write_clip(path, sound=[(0.0, silence)], sound_codec="pcm_s16le", rate=corpus.RATE)
    with pytest.raises(PredictError, match="voice-log: the sound is digital silence"):
        predictor.predict(path)


def test_a_file_of_which_nothing_can_be_said_names_every_reason(
    predictor: Predictor, films: dict[str, Path]
) -> None:
    with pytest.raises(PredictError) as error:
        predictor.predict(films["nothing"])
    assert str(error.value).startswith(
        "nothing.mkv: no source can be used on it: voice-log: there is no sound"
    )
    assert "face-log: no face was found" in str(error.value)


@pytest.mark.parametrize("content", [b"no media", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"])
def test_files_that_are_no_media_are_refused_and_others_go_on(
    predictor: Predictor, films: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    bad = tmp_path / "list.mp4"
    bad.write_bytes(content)
    results = list(predictor.predict_all([bad, films["heard"], tmp_path / "absent.mp4"]))
    assert [type(r) for r in results] == [Refusal, Prediction, Refusal]
    assert [r.path for r in results] == [bad, films["heard"], tmp_path / "absent.mp4"]
    assert "not media that can be decoded" in str(results[0])
    assert str(results[2]) == "absent.mp4: no such file"


def test_a_clip_of_the_corpus_is_called_optimistic(trained: Path, predictor: Predictor) -> None:
    prediction = predictor.predict(trained.parent / "media" / f"{CLIP}.mkv")
    assert any(
        f"this file is clip {CLIP} of the experiment, and 1 of 2 models" in n for n in prediction.notes
    )


def test_a_recording_that_clips_are_cut_from_names_all_of_them(copied: Path) -> None:
    """Whichever models learned from any of its subjects, and whatever other files the clips have."""
    frame = pd.read_csv(copied.parent / "manifest.csv").set_index("clip_id")
    pieces = ["s3-0", "s3-1", "s4-0"]
    frame.loc[pieces, "video"], frame.loc[pieces, "start"] = "s3-1.mkv", [0.0, 0.3, 0.6]
    frame.loc["s5-0", "audio"] = "s3-1.mkv"
    frame.loc[[*pieces, "s5-0"], "sha256"] = ""
    frame.to_csv(copied.parent / "manifest.csv")
    with Predictor(copied, ["fusion.sources=[voice-log]"], workers=1) as predictor:
        others = predictor.predict(copied.parent / "media" / "s5-0.mkv").notes
        notes = predictor.predict(copied.parent / "media" / "s3-1.mkv").notes
    assert any("this file is clip s5-0 of the experiment, and 1 of 2 models" in note for note in others)
    (note,) = [note for note in notes if note.startswith("optimistic: ")]
    assert note.startswith("optimistic: part of it is clips s3-0, s3-1, s4-0, s5-0 of the experiment, and ")
    assert "2 of 2 models learned from its subjects s3, s4, s5;" in note


def test_a_long_recording_gives_a_timeline(predictor: Predictor, films: dict[str, Path]) -> None:
    long = predictor.predict(films["long"])
    assert len(long.timeline) > 10
    assert long.timeline[-1].end == pytest.approx(long.seconds, abs=0.1)
    mean = np.mean([list((w.posteriors or {}).values()) for w in long.timeline], axis=0)
    np.testing.assert_allclose(list(long.posteriors.values()), mean)
    assert any("windows of 1.20 s, the median length of the corpus' clips" in n for n in long.notes)
    (one,) = predictor.predict(films["long"], window=60).timeline
    assert (one.start, one.end) == (0.0, long.seconds)


def test_where_nobody_knows_how_long_clips_are_windows_say_so(copied: Path, films: dict[str, Path]) -> None:
    frame = pd.read_csv(copied.parent / "manifest.csv")
    frame.drop(columns="duration").to_csv(copied.parent / "manifest.csv", index=False)
    with Predictor(copied, ["fusion.sources=[voice-log]"], workers=1) as predictor:
        long = predictor.predict(films["long"])
    assert any("windows of 4.00 s, since the manifest does not say" in note for note in long.notes)


def test_a_window_is_what_a_clip_with_a_start_and_an_end_would_be(
    predictor: Predictor, films: dict[str, Path]
) -> None:
    prediction = predictor.predict(films["long"], window=2.0, hop=3.0)
    assert any("% of it lies between them and was not looked at" in note for note in prediction.notes)
    window = prediction.timeline[2]
    assert (window.start, window.end) == (6.0, 8.0)
    (clip,) = predictor._reader.features([Clip("c", films["long"], None, 6.0, 8.0)], predictor._wanted)
    (said,) = predictor._say([clip], one_speaker=False)
    fused = predictor._fused(said)
    assert fused is not None and window.posteriors is not None
    np.testing.assert_allclose(list(window.posteriors.values()), fused, atol=1e-9)


def test_heads_normalised_by_speaker_need_enough_of_one(predictor: Predictor, films: dict[str, Path]) -> None:
    few = predictor.predict(films["whole"], one_speaker=True)
    assert of(few, "voice-sn") == "1 clips or windows of the speaker; at least 8 are needed"
    many = predictor.predict(films["long"], one_speaker=True)
    assert of(many, "voice-sn") == ""
    assert any(n.startswith("transductive: ") and "(voice-sn)" in n for n in many.notes)


def test_files_of_one_speaker_are_normalised_together(trained: Path, predictor: Predictor) -> None:
    clips = [trained.parent / "media" / f"s{i}-{k}.mkv" for i in range(4) for k in range(2)]
    results = list(predictor.predict_all(clips, one_speaker=True))
    assert all(isinstance(r, Prediction) and not of(r, "voice-sn") for r in results)
    voices = [
        s.posteriors for r in results if isinstance(r, Prediction) for s in r.sources if s.name == "voice-sn"
    ]
    assert [max(v, key=v.__getitem__) for v in voices if v] == list(corpus.CLASSES) * 4


def test_one_prediction_after_the_other(predictor: Predictor, films: dict[str, Path]) -> None:
    going: Iterator[Prediction | Refusal] = predictor.predict_all([films["heard"], films["mute"]])
    next(going)
    with pytest.raises(PredictError, match="at work"):
        predictor.predict(films["heard"])
    going.close()  # type: ignore[attr-defined]  # a generator
    assert predictor.predict(films["mute"]).used == ("face",)  # and what was under way is forgotten


def test_rules_need_no_fit_and_take_the_sources_that_are_there(trained: Path, films: dict[str, Path]) -> None:
    settings = ["fusion.method=product", "fusion.sources=[voice-log, mel-net, told-log]"]
    with Predictor(trained, settings, workers=1) as predictor:
        prediction = predictor.predict(films["heard"])
    first, second, _ = [s.posteriors for s in prediction.sources]
    assert first is not None and second is not None
    product = {c: first[c] * second[c] for c in corpus.CLASSES}
    total = sum(product.values())
    assert prediction.posteriors == pytest.approx({c: p / total for c, p in product.items()}, rel=1e-4)
    assert "fused by product: voice-log + mel-net" in prediction.notes


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The trained experiment, to be damaged."""
    shutil.copytree(trained.parent, tmp_path / "copy")
    return tmp_path / "copy" / trained.name


def test_heads_of_other_settings_are_refused(trained: Path) -> None:
    with pytest.raises(
        PredictError.__mro__[1], match=r"head 'voice-log' was trained with other settings \(C: "
    ):
        Predictor(trained, ["heads.voice-log.C=7"])


def test_heads_of_other_features_are_refused(trained: Path) -> None:
    with pytest.raises(PredictError, match=r"learned from 'voice' of another make \(rate: 16000 -> 8000\)"):
        Predictor(trained, ["features.voice.rate=8000"])


def test_heads_of_other_labels_are_refused(copied: Path) -> None:
    frame = pd.read_csv(copied.parent / "manifest.csv")
    frame["emotion"] = frame["emotion"].to_numpy()[::-1]
    frame.to_csv(copied.parent / "manifest.csv", index=False)
    with pytest.raises(posteriors.PosteriorError, match="with other labels, subjects or folds"):
        Predictor(copied)


def test_heads_that_are_not_there_are_named_with_the_command(copied: Path) -> None:
    (copied.parent / "models" / "voice-log" / "fold1" / "fold.json").unlink()
    with pytest.raises(
        PredictError, match=r"model of 'voice-log' on fold 1 is not there; run: .*train_heads"
    ):
        Predictor(copied)
    (copied.parent / "posteriors" / "voice-log.parquet").unlink()
    with pytest.raises(
        posteriors.PosteriorError, match=r"'voice-log' was not trained yet; run: .*train_heads"
    ):
        Predictor(copied)


def test_a_model_that_did_not_make_the_stored_posteriors_is_refused(copied: Path) -> None:
    models = copied.parent / "models"
    shutil.copy(
        models / "mel-net" / "fold0" / "posteriors.parquet",
        models / "voice-log" / "fold0" / "posteriors.parquet",
    )
    with pytest.raises(
        PredictError, match="'voice-log' on fold 0 did not make the posteriors that are stored"
    ):
        Predictor(copied)


def test_an_experiment_of_tables_alone_predicts_nothing_new(lab: Lab) -> None:
    lab.all_stages()
    with pytest.raises(
        PredictError, match=r"no source of experiment\.yaml can be used on new clips: one-log: one\.csv"
    ):
        Predictor(lab.folder / "experiment.yaml")


def test_the_name_is_there_without_its_weight() -> None:
    script = (
        "import sys, pipeline; assert 'Predictor' in pipeline.__all__; "
        "sys.exit('torch' in sys.modules or 'pipeline.predicting' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match=r"no attribute 'Predicter'"):
        import pipeline

        _ = pipeline.Predicter


def test_heads_on_several_cameras_and_imported_tables_are_left_out(lab: Lab) -> None:
    """A file is of one camera, and nobody knows the models behind an imported table."""
    manifest = pd.read_csv(lab.folder / "manifest.csv")
    both = [manifest.assign(view=view, start=0, end=1) for view in ("front", "left")]
    pd.concat(both).to_csv(lab.folder / "manifest.csv", index=False)
    lab.document["heads"] = {"wide": {"features": "one", "head": "logistic", "views": ["front", "left"]}}
    lab.document["features"].pop("two")
    lab.document["imported"] = ["theirs"]
    lab.document["fusion"] = {"method": "mean"}
    lab.save()
    assert lab.run("extract") == 0, lab.err
    assert lab.run("train_heads") == 0, lab.err
    with pytest.raises(PredictError) as error:
        Predictor(lab.folder / "experiment.yaml")
    assert "wide: it reads several cameras side by side (front, left), and a file is of one" in str(
        error.value
    )
    assert "theirs: its posteriors were imported" in str(error.value)
