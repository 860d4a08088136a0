from pathlib import Path

import pandas as pd
import pytest
from label_makers import CREMA_HEADER, CREMA_ROWS, names, table, touch

from manifests import CORPORA, Manifest, ManifestError, make_folds
from manifests.corpus import Reading
from manifests.crema_d import CremaD, clip_of

ANGRY = "1001_DFA_ANG_XX"


def only_row(reading: Reading) -> pd.Series:
    assert len(reading.manifest) == 1
    return reading.manifest.frame.iloc[0]


def labelled(tmp_path: Path, *rows: str, header: str = CREMA_HEADER) -> Reading:
    labels = table(tmp_path / "labels/label_consensus_1.csv", header, rows)
    return CremaD(labels).read(touch(tmp_path / "clips", *names(CREMA_ROWS)))


# Names


def test_every_field_of_the_name_becomes_a_column(tmp_path: Path) -> None:
    row = only_row(CremaD().read(touch(tmp_path, "AudioWAV/1091_IEO_FEA_LO.wav")))
    assert (row["clip_id"], row["subject"], row["audio"]) == (
        "1091_IEO_FEA_LO", "1091", "AudioWAV/1091_IEO_FEA_LO.wav"
    )  # fmt: skip
    assert (row["emotion"], row["intended"], row["level"], row["sentence"]) == ("fear", "fear", "low", "IEO")


@pytest.mark.parametrize(
    ("code", "emotion"),
    [
        ("ANG", "angry"), ("SAD", "sad"), ("DIS", "disgust"),
        ("FEA", "fear"), ("NEU", "neutral"), ("HAP", "happy"),
    ],
)  # fmt: skip
def test_the_emotion_of_the_name_is_the_intended_one(tmp_path: Path, code: str, emotion: str) -> None:
    row = only_row(CremaD().read(touch(tmp_path, f"1001_DFA_{code}_XX.wav")))
    assert (row["emotion"], row["intended"]) == (emotion, emotion)


def test_all_twelve_sentences_are_known() -> None:
    for sentence in ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"):
        assert clip_of(f"1001_{sentence}_ANG_XX") == f"1001_{sentence}_ANG_XX"


def test_the_one_clip_whose_published_name_lacks_a_letter_meets_its_video(tmp_path: Path) -> None:
    root = touch(tmp_path, "AudioWAV/1040_ITH_SAD_X.wav", "VideoFlash/1040_ITH_SAD_XX.flv")
    row = only_row(CremaD().read(root))
    assert (row["clip_id"], row["level"]) == ("1040_ITH_SAD_XX", "unspecified")
    assert (row["audio"], row["video"]) == ("AudioWAV/1040_ITH_SAD_X.wav", "VideoFlash/1040_ITH_SAD_XX.flv")


def test_sound_and_picture_meet_and_the_wav_is_taken_before_the_mp3(tmp_path: Path) -> None:
    root = touch(tmp_path, f"AudioMP3/{ANGRY}.mp3", f"AudioWAV/{ANGRY}.wav", f"VideoFlash/{ANGRY}.flv")
    reading = CremaD().read(root)
    row = only_row(reading)
    assert (row["audio"], row["video"]) == (f"AudioWAV/{ANGRY}.wav", f"VideoFlash/{ANGRY}.flv")
    assert reading.notes == ["left out other formats of a take: 1"]


@pytest.mark.parametrize(
    "stem",
    [
        "1000_DFA_ANG_XX",
        "1092_DFA_ANG_XX",
        "1001_ABC_ANG_XX",
        "1001_DFA_SUR_XX",
        "1001_DFA_ANG_ZZ",
        "1001_DFA_ANG_L",
    ],
)
def test_fields_outside_the_code_are_left_out_and_counted(tmp_path: Path, stem: str) -> None:
    reading = CremaD().read(touch(tmp_path, f"{ANGRY}.wav", f"{stem}.wav"))
    assert only_row(reading)["clip_id"] == ANGRY
    assert reading.notes == ["left out files whose name has a field outside the CREMA-D code: 1"]


@pytest.mark.parametrize("name", ["hello.wav", f"{ANGRY}-copy.wav", f"._{ANGRY}.wav", "1001_DFA_ANG.wav"])
def test_media_of_another_name_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    reading = CremaD().read(touch(tmp_path, f"{ANGRY}.wav", name))
    assert only_row(reading)["clip_id"] == ANGRY
    assert reading.notes == ["left out media files without a CREMA-D name: 1"]


def test_a_folder_without_the_corpus_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no CREMA-D files \(names like 1001_DFA_ANG_XX\.wav\); left out media files"
    ):
        CremaD().read(touch(tmp_path, "hello.wav"))
    with pytest.raises(ManifestError, match="no such folder; give the CREMA-D root"):
        CremaD().read(tmp_path / "none")


def test_without_labels_folds_are_by_subject(tmp_path: Path) -> None:
    reading = CremaD().read(touch(tmp_path, f"{ANGRY}.wav"))
    assert (reading.label, reading.folds) == ("emotion", {"by": "subject", "k": 5, "seed": 0})
    assert reading.classes == ("angry", "sad", "disgust", "fear", "neutral", "happy")
    assert reading.attributes == ()


# Votes


def test_votes_become_columns_and_their_winner_the_emotion(tmp_path: Path) -> None:
    reading = labelled(
        tmp_path, *CREMA_ROWS, "1008_ITS_DIS_XX.wav,0.01,0.762,0.198,0.01,0.01,0.01,1008,F,Test"
    )
    frame = reading.manifest.frame.set_index("clip_id")
    assert reading.notes == ["left out labels of clips that are not there: 1"]
    assert frame.loc["1026_IEO_ANG_HI", "votes:angry"] == "0.856"
    assert [c for c in frame if c.startswith("votes:")] == [f"votes:{e}" for e in reading.classes]
    assert frame["emotion"].to_dict() == {
        "1007_IOM_HAP_XX": "happy",
        "1011_TAI_DIS_XX": "disgust",
        "1026_IEO_ANG_HI": "angry",
        "1038_MTI_SAD_XX": "sad",
        "1066_MTI_ANG_XX": "angry",
    }


def test_people_may_hear_another_emotion_than_the_intended_one(tmp_path: Path) -> None:
    row = "1026_IEO_ANG_HI.wav,0.01,0.01,0.01,0.01,0.856,0.104,1026,Male,Train"
    read = only_row(labelled(tmp_path, row))
    assert (read["emotion"], read["intended"]) == ("neutral", "angry")


def test_clips_without_votes_or_without_a_winner_are_left_out_and_counted(tmp_path: Path) -> None:
    tie = "1026_IEO_ANG_HI.wav,0.48,0.48,0.01,0.01,0.01,0.01,1026,Male,Train"
    reading = labelled(tmp_path, tie, *CREMA_ROWS[1:3])
    assert list(reading.manifest.frame["clip_id"]) == ["1007_IOM_HAP_XX", "1011_TAI_DIS_XX"]
    assert reading.notes == [
        "left out clips whose votes have no single winner: 1",
        "left out clips without labels: 2",
    ]


def test_labels_of_other_clips_alone_are_refused(tmp_path: Path) -> None:
    labels = table(tmp_path / "label_consensus_1.csv", CREMA_HEADER, CREMA_ROWS)
    with pytest.raises(
        ManifestError, match=r"no votes with a winner for the clips below .*; left out clips wi"
    ):
        CremaD(labels).read(touch(tmp_path / "clips", f"{ANGRY}.wav"))


def test_clips_that_one_of_the_files_lacks_are_noted(tmp_path: Path) -> None:
    table(tmp_path / "labels/label_consensus_2.csv", CREMA_HEADER, CREMA_ROWS[:3])
    labelled(tmp_path, *CREMA_ROWS)
    reading = CremaD(tmp_path / "labels").read(tmp_path / "clips")
    assert reading.notes == ["partition2 is empty where its file lacks the clip: 2"]
    assert reading.folds == "partition1"
    with pytest.raises(ManifestError, match="CREMA-D: column 'partition2' is empty in 2 of 5 rows"):
        make_folds("partition2", reading.manifest)


def test_the_corpus_own_votes_label_clips_and_leave_folds_to_subjects(tmp_path: Path) -> None:
    header = '"","A","D","F","H","N","S","fileName","numResponses"'
    votes = table(tmp_path / "tabulatedVotes.csv", header, ['"307320",0,0,0,9,1,0,"1090_MTI_HAP_XX",10'])
    reading = CremaD(votes).read(touch(tmp_path, "1090_MTI_HAP_XX.wav"))
    row = only_row(reading)
    assert (row["emotion"], row["votes:happy"], row["votes:neutral"]) == ("happy", "0.9", "0.1")
    assert reading.folds == {"by": "subject", "k": 5, "seed": 0}


def test_the_published_sides_are_a_fold(tmp_path: Path) -> None:
    reading = labelled(tmp_path, *CREMA_ROWS)
    assert reading.folds == "partition1"
    (fold,) = make_folds("partition1", reading.manifest)
    assert (fold.test, fold.inner) == ({"1011", "1066"}, (frozenset({"1007", "1038"}),))
    assert fold.train == {"1007", "1026", "1038"}


def test_the_published_side_of_a_speaker_is_the_one_that_the_named_split_knows(tmp_path: Path) -> None:
    manifest = labelled(tmp_path, *CREMA_ROWS).manifest
    (column,), (named,) = make_folds("partition1", manifest), make_folds("crema-d-1", manifest)
    assert (column.test, column.inner, column.train) == (named.test, named.inner, named.train)


def test_labels_read_back_from_the_manifest_are_the_same(tmp_path: Path) -> None:
    manifest = labelled(tmp_path, *CREMA_ROWS).manifest
    manifest.write_csv(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(Manifest.read_csv(tmp_path / "manifest.csv").frame, manifest.frame)


def test_it_is_known_by_name() -> None:
    assert CORPORA["crema_d"] is CremaD
