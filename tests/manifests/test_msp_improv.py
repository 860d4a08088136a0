from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_makers import MSP_HEADER, MSP_ROWS, names, table, touch

from manifests import CORPORA, Manifest, ManifestError, consensus, make_folds
from manifests.corpus import Reading
from manifests.msp_improv import ATTRIBUTES, MspImprov, scaled

CLIP = "MSP-IMPROV-S15H-M06-S-MF03"


def made(tmp_path: Path, *rows: str, header: str = MSP_HEADER) -> tuple[Path, Path]:
    labels = table(tmp_path / "labels/labels_consensus_1.csv", header, rows or MSP_ROWS)
    return labels, touch(tmp_path / "clips", *names(MSP_ROWS))


def reading(tmp_path: Path, *rows: str, reverse: bool = True) -> Reading:
    labels, root = made(tmp_path, *rows)
    return MspImprov(labels, reverse_arousal=reverse).read(root)


def refusal(tmp_path: Path, *rows: str, header: str = MSP_HEADER) -> str:
    labels, root = made(tmp_path, *rows, header=header)
    with pytest.raises(ManifestError) as caught:
        MspImprov(labels).read(root)
    return str(caught.value)


def targets(manifest: Manifest) -> pd.DataFrame:
    return manifest.frame.set_index("clip_id")[list(ATTRIBUTES)].astype(float)


# Names


def test_every_field_of_the_name_becomes_a_column(tmp_path: Path) -> None:
    row = reading(tmp_path).manifest.frame.set_index("clip_id").loc[CLIP]
    assert (row["subject"], row["session"], row["sex"]) == ("M06", "6", "male")
    assert (row["intended"], row["sentence"], row["scenario"], row["turn"]) == ("happy", "15", "S", "MF03")


def test_speakers_of_one_number_are_two_subjects_of_one_session(tmp_path: Path) -> None:
    frame = reading(tmp_path).manifest.frame
    assert sorted(frame[frame["session"] == "2"]["subject"]) == ["F02", "M02"]


def test_sound_and_picture_of_a_turn_meet(tmp_path: Path) -> None:
    labels, root = made(tmp_path)
    touch(root, f"session6/S15H/S/{CLIP}.avi")
    row = MspImprov(labels).read(root).manifest.frame.set_index("clip_id").loc[CLIP]
    assert (row["video"], row["audio"]) == (f"session6/S15H/S/{CLIP}.avi", f"{CLIP}.wav")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hello.wav", "media files without an MSP-IMPROV name"),
        (f"{CLIP}x.wav", "media files without an MSP-IMPROV name"),
        ("MSP-IMPROV-S00A-F02-R-FF01.wav", "files whose name has a field outside the MSP-IMPROV code"),
        ("MSP-IMPROV-S21A-F02-R-FF01.wav", "files whose name has a field outside the MSP-IMPROV code"),
        ("MSP-IMPROV-S01X-F02-R-FF01.wav", "files whose name has a field outside the MSP-IMPROV code"),
        ("MSP-IMPROV-S01A-F07-R-FF01.wav", "files whose name has a field outside the MSP-IMPROV code"),
        ("MSP-IMPROV-S01A-F02-X-FF01.wav", "files whose name has a field outside the MSP-IMPROV code"),
        ("MSP-IMPROV-S20N-F01-R-FF01.wav", "clips without labels"),
    ],
)
def test_what_is_left_out_is_counted(tmp_path: Path, name: str, reason: str) -> None:
    labels, root = made(tmp_path)
    read = MspImprov(labels).read(touch(root, name))
    assert len(read.manifest) == len(MSP_ROWS)
    assert read.notes[:-1] == [f"left out {reason}: 1"]


def test_folders_without_the_corpus_or_its_labels_are_refused(tmp_path: Path) -> None:
    labels, _ = made(tmp_path)
    with pytest.raises(ManifestError, match=r"no MSP-IMPROV files \(names like MSP-IMPROV-S01A"):
        MspImprov(labels).read(touch(tmp_path / "empty", "x.wav"))
    with pytest.raises(ManifestError, match="no labels of the clips below"):
        MspImprov(labels).read(touch(tmp_path / "other", "MSP-IMPROV-S20N-F01-R-FF01.wav"))


# Targets


def test_scores_become_numbers_from_0_to_1_and_arousal_is_reversed(tmp_path: Path) -> None:
    read = reading(tmp_path)
    found = targets(read.manifest)
    assert found.loc["MSP-IMPROV-S15N-F02-P-MF02"].tolist() == [0.25, 1.0, 0.75]  # of 4, 5, 4
    assert found.loc[CLIP].tolist() == pytest.approx([(5 - 2.857143) / 4, 2.428571 / 4, 2.857143 / 4])
    assert read.notes == ["arousal is 6 - EmoAct, scores from 1 to 5 became 0 to 1"]
    assert (read.label, read.classes, read.attributes) == ("", (), ("arousal", "valence", "dominance"))


def test_arousal_may_be_taken_as_it_is(tmp_path: Path) -> None:
    plain = reading(tmp_path, reverse=False)
    reverse = targets(reading(tmp_path).manifest)
    assert targets(plain.manifest)["arousal"].tolist() == pytest.approx((1 - reverse["arousal"]).tolist())
    assert targets(plain.manifest)["valence"].tolist() == reverse["valence"].tolist()
    assert plain.notes == ["scores from 1 to 5 became 0 to 1"]


@given(st.decimals(1, 5, places=6).map(float))
def test_scaling_is_exact_to_the_places_of_the_file_and_reversing_mirrors_it(score: float) -> None:
    assert 4 * scaled(score) + 1 == pytest.approx(score, abs=1e-12)
    assert scaled(score) + scaled(score, reverse=True) == pytest.approx(1, abs=1e-12)
    assert 0 <= scaled(score) <= 1


def test_targets_are_the_same_however_often_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAVL reverses its array in place, so that its targets change at every pass (SYSTEMS 10, T16)."""
    labels, root = made(tmp_path)
    before, frame = labels.read_bytes(), consensus.read_text_table(labels)
    kept = frame.copy()
    monkeypatch.setattr(consensus, "read_text_table", lambda path: frame)  # one frame for all passes
    reader = MspImprov(labels)
    first, second = reader.read(root).manifest, reader.read(root).manifest
    pd.testing.assert_frame_equal(first.frame, second.frame)
    pd.testing.assert_frame_equal(frame, kept)
    assert labels.read_bytes() == before
    first.write_csv(tmp_path / "manifest.csv")
    back = Manifest.read_csv(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(back.frame, first.frame)
    assert targets(back).equals(targets(first))


def test_the_published_sides_are_a_fold(tmp_path: Path) -> None:
    read = reading(tmp_path)
    assert read.folds == "partition1"
    (fold,) = make_folds("partition1", read.manifest)
    assert (fold.test, fold.inner) == ({"M05"}, (frozenset({"F04"}),))
    assert fold.train == {"F02", "F04", "M02", "M06"}


def test_clips_that_one_of_the_files_lacks_are_noted(tmp_path: Path) -> None:
    labels, root = made(tmp_path)
    table(labels.with_name("labels_consensus_2.csv"), MSP_HEADER, MSP_ROWS[:4])
    assert MspImprov(labels.parent).read(root).notes[:-1] == [
        "partition2 is empty where its file lacks the clip: 1"
    ]


def test_sessions_may_be_folds(tmp_path: Path) -> None:
    folds = make_folds("session", reading(tmp_path).manifest)
    assert [fold.test for fold in folds] == [{"F02", "M02"}, {"F04"}, {"M05"}, {"M06"}]


# Bad labels


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2.857143", "0.9", "column 'EmoAct': '0.9' is no number from 1 to 5"),
        ("3.428571", "5.5", "column 'EmoVal': '5.5' is no number from 1 to 5"),
        ("3.857143", "high", "column 'EmoDom': 'high' is no number from 1 to 5"),
        (",6,Male", ",2,Male", f"column 'SpkrID': '2' is not the speaker of {CLIP}.wav"),
        (",6,Male", ",6,Female", "column 'Gender': 'Female' is not the sex of speaker M06"),
        (CLIP, "MSP-IMPROV-S15H-M07-S-MF03", "is no name of an MSP-IMPROV clip"),
        ("Train", "train it", "column 'Split_Set': 'train it' is none of Train, Development and Test"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = refusal(tmp_path, MSP_ROWS[1], MSP_ROWS[0].replace(old, new))
    assert found.startswith("labels_consensus_1.csv: line 3, column ")
    assert message in found


def test_a_file_without_scores_is_refused(tmp_path: Path) -> None:
    header = MSP_HEADER.replace("EmoDom", "Other")
    assert "missing column 'EmoDom'" in refusal(tmp_path, header=header)


def test_a_speaker_number_may_have_a_leading_zero(tmp_path: Path) -> None:
    assert len(reading(tmp_path, MSP_ROWS[0].replace(",6,Male", ",06,Male")).manifest) == 1


def test_it_is_known_by_name() -> None:
    assert CORPORA["msp_improv"] is MspImprov
