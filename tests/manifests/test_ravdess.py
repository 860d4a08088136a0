import os
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from manifests import CORPORA, Corpus, ManifestError, make_folds
from manifests.corpus import Reading
from manifests.ravdess import EMOTIONS, Ravdess


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def only_row(reading: Reading) -> pd.Series:
    assert len(reading.manifest) == 1
    return reading.manifest.frame.iloc[0]


# Names


def test_every_field_of_the_name_becomes_a_column(tmp_path: Path) -> None:
    row = only_row(Ravdess().read(tree(tmp_path, "Actor_16/03-01-05-02-01-02-16.wav")))
    assert row["clip_id"] == "01-05-02-01-02-16"
    assert row["subject"] == row["actor"] == "16"
    assert (row["emotion"], row["intensity"], row["repetition"]) == ("angry", "strong", "2")
    assert (row["channel"], row["modality"]) == ("speech", "audio-only")
    assert (row["statement"], row["sex"]) == ("kids are talking by the door", "female")


@pytest.mark.parametrize(("code", "emotion"), list(enumerate(EMOTIONS, start=1)))
def test_emotion_code_counts_from_neutral(tmp_path: Path, code: int, emotion: str) -> None:
    assert only_row(Ravdess().read(tree(tmp_path, f"03-01-0{code}-01-01-01-01.wav")))["emotion"] == emotion


@pytest.mark.parametrize(
    ("actor", "sex"), [("01", "male"), ("02", "female"), ("23", "male"), ("24", "female")]
)
def test_odd_actors_are_male(tmp_path: Path, actor: str, sex: str) -> None:
    assert only_row(Ravdess().read(tree(tmp_path, f"03-01-01-01-01-01-{actor}.wav")))["sex"] == sex


def test_reading_names_label_canonical_classes_and_the_usual_split(tmp_path: Path) -> None:
    reading = Ravdess().read(tree(tmp_path, "03-01-08-01-01-01-01.wav"))
    assert (reading.label, reading.folds, reading.notes) == ("emotion", "mmer", [])
    assert reading.classes == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


# Media of one take

VOICE, FULL, SILENT = "03-01-05-01-01-01-16.wav", "01-01-05-01-01-01-16.mp4", "02-01-05-01-01-01-16.mp4"


@pytest.mark.parametrize(
    ("files", "video", "audio", "modality"),
    [
        ([VOICE], "", VOICE, "audio-only"),
        ([FULL], FULL, "", "audio-video"),
        ([SILENT], SILENT, "", "video-only"),
        ([FULL, SILENT], FULL, "", "audio-video+video-only"),
        ([VOICE, FULL], FULL, VOICE, "audio-video+audio-only"),
        ([VOICE, SILENT], SILENT, VOICE, "video-only+audio-only"),
        ([VOICE, FULL, SILENT], FULL, VOICE, "audio-video+video-only+audio-only"),
    ],
)
def test_voice_and_face_files_meet_on_one_clip(
    tmp_path: Path, files: list[str], video: str, audio: str, modality: str
) -> None:
    row = only_row(Ravdess().read(tree(tmp_path, *files)))
    assert row["clip_id"] == "01-05-01-01-01-16"
    assert (row["video"], row["audio"], row["modality"]) == (video, audio, modality)


def test_files_of_one_take_may_lie_in_different_folders(tmp_path: Path) -> None:
    row = only_row(Ravdess().read(tree(tmp_path, f"Video/Actor_16/{FULL}", f"Audio/{VOICE}")))
    assert (row["video"], row["audio"]) == (f"Video/Actor_16/{FULL}", f"Audio/{VOICE}")


def test_sound_cut_out_of_the_video_is_second_to_the_voice_file(tmp_path: Path) -> None:
    cut = "01-01-05-01-01-01-16.wav"
    assert only_row(Ravdess().read(tree(tmp_path / "one", cut, FULL)))["audio"] == cut
    assert only_row(Ravdess().read(tree(tmp_path / "two", cut, VOICE)))["audio"] == VOICE


@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".flac", ".ogg"])
def test_sound_may_have_been_converted(tmp_path: Path, suffix: str) -> None:
    name = f"03-01-05-01-01-01-16{suffix}"
    assert only_row(Ravdess().read(tree(tmp_path, name)))["audio"] == name


# What is left out


def test_songs_are_left_out_and_counted(tmp_path: Path) -> None:
    songs = [f"03-02-0{e}-01-01-01-01.wav" for e in (1, 2, 3)]
    reading = Ravdess().read(tree(tmp_path, VOICE, *songs))
    assert only_row(reading)["channel"] == "speech"
    assert reading.notes == ["left out files of the song channel: 3"]


def test_songs_are_read_when_asked_for(tmp_path: Path) -> None:
    reading = Ravdess(channel="song").read(tree(tmp_path, VOICE, "03-02-03-01-01-01-01.wav"))
    assert only_row(reading)["clip_id"] == "02-03-01-01-01-01"
    assert reading.notes == ["left out files of the speech channel: 1"]


@pytest.mark.parametrize("name", ["hello.wav", "03-01-05.wav", "03-01-05-01-01-01-16-copy.wav", "._" + VOICE])
def test_media_of_another_name_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    reading = Ravdess().read(tree(tmp_path, VOICE, name))
    assert only_row(reading)["audio"] == VOICE
    assert reading.notes == ["left out media files without a RAVDESS name: 1"]


@pytest.mark.parametrize(
    "stem",
    [
        "04-01-05-01-01-01-16",
        "03-03-05-01-01-01-16",
        "03-01-00-01-01-01-16",
        "03-01-09-01-01-01-16",
        "03-01-05-03-01-01-16",
        "03-01-05-01-03-01-16",
        "03-01-05-01-01-03-16",
        "03-01-05-01-01-01-00",
        "03-01-05-01-01-01-25",
    ],
)
def test_fields_outside_the_code_are_left_out_and_counted(tmp_path: Path, stem: str) -> None:
    reading = Ravdess().read(tree(tmp_path, VOICE, f"{stem}.wav"))
    assert only_row(reading)["audio"] == VOICE
    assert reading.notes == ["left out files whose name has a field outside the RAVDESS code: 1"]


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("03-01-05-01-01-01-16.txt", "audio-only"),
        ("03-01-05-01-01-01-16.mp4", "audio-only"),
        ("02-01-05-01-01-01-16.wav", "video-only"),
    ],
)
def test_file_whose_suffix_contradicts_its_name_is_left_out(tmp_path: Path, name: str, modality: str) -> None:
    reading = Ravdess().read(tree(tmp_path, name, "03-01-01-01-01-01-01.wav"))
    assert only_row(reading)["audio"] == "03-01-01-01-01-01-01.wav"
    assert reading.notes == [f"left out files that their name calls {modality} and their suffix does not: 1"]


def test_digits_of_another_script_are_no_ravdess_name(tmp_path: Path) -> None:
    reading = Ravdess().read(tree(tmp_path, VOICE, "03-01-05-01-01-01-\u0661\u0667.wav"))
    assert only_row(reading)["audio"] == VOICE
    assert reading.notes == ["left out media files without a RAVDESS name: 1"]


def test_second_copy_is_left_out_and_the_first_by_path_is_kept(tmp_path: Path) -> None:
    reading = Ravdess().read(tree(tmp_path, f"b/{VOICE}", f"a/{VOICE}", f"a/x/{VOICE}"))
    assert only_row(reading)["audio"] == f"a/{VOICE}"
    assert reading.notes == ["left out second copies of a take: 2"]


def test_files_that_are_no_media_are_not_mentioned(tmp_path: Path) -> None:
    assert Ravdess().read(tree(tmp_path, VOICE, "README.md", "checksums.csv")).notes == []


def test_each_reason_has_its_own_count(tmp_path: Path) -> None:
    reading = Ravdess().read(tree(tmp_path, VOICE, f"copy/{VOICE}", "hello.wav", "03-02-05-01-01-01-16.wav"))
    assert reading.notes == [
        "left out files of the song channel: 1",
        "left out media files without a RAVDESS name: 1",
        "left out second copies of a take: 1",
    ]


# Refusals


def test_absent_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="none: no such folder; give the RAVDESS root with --root"):
        Ravdess().read(tmp_path / "none")


def test_folder_without_the_corpus_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no RAVDESS speech files \(names like 03-01-05-01-01-01-16\.wav\)$"
    ):
        Ravdess().read(tmp_path)


def test_folder_of_songs_alone_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no RAVDESS speech files .*; left out files of the song channel: 1$"
    ):
        Ravdess().read(tree(tmp_path, "03-02-03-01-01-01-01.wav"))


def test_link_out_of_the_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / VOICE).symlink_to(tree(tmp_path, "secret.wav") / "secret.wav")
    with pytest.raises(ManifestError, match="leaves the corpus root through a link"):
        Ravdess().read(tmp_path / "corpus")


# Order

TAKES = [
    f"{folder}/{modality}-01-05-01-01-01-{actor}{suffix}"
    for actor in ("01", "02", "10", "24")
    for folder, modality, suffix in (("v", "01", ".mp4"), ("a", "03", ".wav"), ("b", "03", ".wav"))
]


def test_rows_do_not_depend_on_the_order_the_file_system_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Ravdess().read(tree(tmp_path, *TAKES))
    walk, shuffle = os.walk, random.Random(0).shuffle

    def disorderly(top: Path) -> list[tuple[str, list[str], list[str]]]:
        found = list(walk(top))
        shuffle(found)
        for _, _, names in found:
            shuffle(names)
        return found

    monkeypatch.setattr(os, "walk", disorderly)
    for _ in range(5):
        again = Ravdess().read(tmp_path)
        pd.testing.assert_frame_equal(again.manifest.frame, expected.manifest.frame)
        assert again.notes == expected.notes


def test_rows_stand_by_actor(tmp_path: Path) -> None:
    names = ["03-01-08-01-01-01-01.wav", "03-01-01-01-01-01-02.wav", "03-01-02-01-01-01-01.wav"]
    frame = Ravdess().read(tree(tmp_path, *names)).manifest.frame
    assert list(frame["clip_id"]) == ["01-02-01-01-01-01", "01-08-01-01-01-01", "01-01-01-01-01-02"]


# Registry


def test_corpora_are_readers_under_their_names() -> None:
    assert {"ravdess", "table"} <= set(CORPORA)
    assert all(issubclass(CORPORA[name], Corpus) for name in CORPORA)
    assert CORPORA["ravdess"] is Ravdess


# The real clips


@pytest.fixture(scope="module")
def real(real_data: Path) -> Reading:
    root = real_data / "ravdess_speech_16k"
    if not root.is_dir():
        pytest.skip("AFFECTSTACK_DATA holds no ravdess_speech_16k")
    return Ravdess().read(root)


@pytest.mark.realdata
def test_speech_part_has_1440_clips_of_24_actors(real: Reading) -> None:
    assert len(real.manifest) == 1440
    assert Counter(real.manifest.subjects()) == {f"{a:02d}": 60 for a in range(1, 25)}
    assert real.notes == []


@pytest.mark.realdata
def test_speech_part_has_96_neutral_clips_and_192_of_each_other_emotion(real: Reading) -> None:
    counts = Counter(real.manifest.labels("emotion", real.classes))
    assert counts == {"neutral": 96} | dict.fromkeys(EMOTIONS[1:], 192)


@pytest.mark.realdata
def test_published_folds_of_the_real_clips_have_their_sizes(real: Reading) -> None:
    subjects = real.manifest.subjects()
    assert real.folds == "mmer"
    held = [int(subjects.isin(fold.test).sum()) for fold in make_folds("mmer", real.manifest)]
    assert held == [300, 300, 300, 300, 240]


def test_a_path_that_is_no_unicode_is_left_out_and_counted(tmp_path: Path) -> None:
    for folder in (b"plain", b"odd\xff"):
        odd = tmp_path / os.fsdecode(folder)
        odd.mkdir()
        (odd / f"03-01-05-01-01-01-{16 if folder == b'plain' else 17}.wav").touch()
    reading = Ravdess().read(tmp_path)
    assert len(reading.manifest) == 1
    assert reading.notes == ["left out files whose path is not valid Unicode: 1"]
