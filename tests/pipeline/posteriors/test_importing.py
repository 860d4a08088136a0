import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from foreign_files import (
    ALPHABETICAL,
    TESTED,
    logits,
    protocol,
    takes,
    write_bilstm,
    write_named,
    write_static,
    write_wav2vec2,
)
from scipy.special import softmax

from manifests import Fold, Folds, Manifest
from manifests.ravdess import EMOTIONS
from pipeline.posteriors import PosteriorError, PosteriorTable
from pipeline.posteriors.dialects import DIALECTS, Foreign, read_csv
from pipeline.posteriors.importing import bring_in
from pipeline.protocol import Protocol

WRITERS: dict[str, Callable[[Path], Path]] = {
    "mmer-wav2vec2": write_wav2vec2,
    "mmer-bilstm": write_bilstm,
    "mmer-static": write_static,
}


def brought(name: str, folder: Path) -> tuple[PosteriorTable, list[str]]:
    return bring_in(DIALECTS[name](WRITERS[name](folder)), "theirs", protocol())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_posteriors_in_our_order(dialect: str, tmp_path: Path) -> None:
    table, notes = brought(dialect, tmp_path)
    assert table.about.classes == list(EMOTIONS)
    for fold, tested in enumerate(TESTED):
        clips, values = table.part("test", fold)
        assert sorted(clips) == sorted(takes(tested))
        np.testing.assert_allclose(values, softmax(logits(clips, EMOTIONS), axis=1), atol=1e-9)
        assert len(table.part("train", fold)[0]) == 16
    assert any("columns permuted by name: angry, calm" in n for n in notes) == (dialect != "mmer-static")
    assert table.about.selected_on_test == (dialect != "mmer-static")


def test_logits_are_kept_beside_the_posteriors(tmp_path: Path) -> None:
    table, _ = brought("mmer-wav2vec2", tmp_path)
    clips, raw = table.part("test", 0, raw=True)
    np.testing.assert_allclose(raw, logits(clips, EMOTIONS))
    static, _ = brought("mmer-static", tmp_path / "static")
    np.testing.assert_array_equal(static.part("test", 0, raw=True)[1], static.part("test", 0)[1])


def test_the_training_subjects_come_from_the_training_rows(tmp_path: Path) -> None:
    table, _ = brought("mmer-static", tmp_path)
    assert [m.seen_subjects for m in table.about.models] == [["03", "04"], ["01", "02"]]
    assert table.about.protocol_sha256 == protocol().sha256
    assert table.about.imported == "mmer-static"


def test_folds_are_matched_by_their_subjects_not_by_their_numbers(tmp_path: Path) -> None:
    write_static(tmp_path)
    for split in ("test", "train"):
        (tmp_path / f"{split}_fold0.csv").rename(tmp_path / f"{split}_fold7.csv")
    table, _ = bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", protocol())
    assert sorted(table.part("test", 0)[0]) == sorted(takes(TESTED[0]))


def test_words_for_y_are_checked_against_the_manifest(tmp_path: Path) -> None:
    bring_in(DIALECTS["mmer-bilstm"](write_bilstm(tmp_path, y="word")), "theirs", protocol())
    path = tmp_path / "RAVDESS_AUs-val--fold_1_outof_5.csv"
    path.write_text(path.read_text().replace("happy", "sad"))
    with pytest.raises(PosteriorError, match=r"says 'sad' of clip '01-01-03-.*the manifest says 'happy'"):
        bring_in(DIALECTS["mmer-bilstm"](tmp_path), "theirs", protocol())


def test_clips_that_the_manifest_lacks_are_left_out_and_said(tmp_path: Path) -> None:
    write_named(tmp_path / "a.csv", EMOTIONS, [*takes(), "01-01-01-01-01-24"])
    foreign = read_csv(tmp_path / "a.csv", EMOTIONS, "emotion")
    table, notes = bring_in(foreign, "theirs", protocol(), others_trained=True)
    assert notes == ["1 clips that are not in the manifest were left out (01-01-01-01-01-24)"]
    assert len(table.rows) == 32


def test_clips_that_the_files_lack_are_listed(tmp_path: Path) -> None:
    write_named(tmp_path / "a.csv", EMOTIONS, takes()[1:])
    foreign = read_csv(tmp_path / "a.csv", EMOTIONS, "emotion")
    table, notes = bring_in(foreign, "theirs", protocol(), others_trained=True)
    assert table.about.missing_clips == takes()[:1]
    assert notes == [f"1 clips of the manifest have no test posteriors ({takes()[0]})"]


def named(tmp_path: Path, columns: tuple[str, ...] = EMOTIONS) -> tuple[Path, pd.DataFrame]:
    path = tmp_path / "theirs.csv"
    return path, write_named(path, columns)


def csv(path: Path, key: str | None = None) -> Foreign:
    return read_csv(path, EMOTIONS, "emotion", key)


def test_any_table_with_named_columns_comes_in_in_any_order(tmp_path: Path) -> None:
    path, _ = named(tmp_path, tuple(c.capitalize() for c in ALPHABETICAL))
    table, notes = bring_in(csv(path), "theirs", protocol(), others_trained=True)
    clips, values = table.part("test", 1)
    np.testing.assert_allclose(values, softmax(logits(clips, EMOTIONS), axis=1), atol=1e-9)
    assert notes == [f"columns permuted by name: {', '.join(ALPHABETICAL)} -> {', '.join(EMOTIONS)}"]
    assert [m.seen_subjects for m in table.about.models] == [["03", "04"], ["01", "02"]]


def test_rounded_probabilities_sum_to_one_again(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    table[list(EMOTIONS)] = table[list(EMOTIONS)].round(4)
    table.to_csv(path, index=False)
    assert np.abs(table[list(EMOTIONS)].sum(axis=1) - 1).max() > 5e-5
    brought_in, _ = bring_in(csv(path), "theirs", protocol(), others_trained=True)
    clips, values = brought_in.part("test", 0)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(values, softmax(logits(clips, EMOTIONS), axis=1), atol=5e-4)


def test_what_is_no_distribution_is_taken_for_logits(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    table[list(EMOTIONS)] = np.log(table[list(EMOTIONS)])
    table.to_csv(path, index=False)
    assert csv(path).kind == "logits"


def test_training_subjects_that_nobody_states_are_asked_for(tmp_path: Path) -> None:
    path, _ = named(tmp_path)
    with pytest.raises(
        PosteriorError, match=r"which subjects the model of fold 0 was trained on.*--others-trained"
    ):
        bring_in(csv(path), "theirs", protocol())


def test_training_rows_are_read_where_a_table_has_them(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    tested = table.assign(split="test", fold=[int(c[-2:] in TESTED[1]) for c in table["clip_id"]])
    train = tested.assign(split="train", fold=1 - tested["fold"])
    inner = train.assign(split="oof")
    pd.concat([tested, train, inner]).to_csv(path, index=False)
    found, notes = bring_in(csv(path), "theirs", protocol())
    assert found.rows["split"].value_counts().to_dict() == {"test": 32, "train": 32}
    assert notes == ["32 rows that are neither test nor train rows were left out"]


def test_names_are_found_inside_longer_ones(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    table["clip_id"] = "videos/" + table["clip_id"] + ".mp4"
    table.rename(columns={"clip_id": "where"}).to_csv(path, index=False)
    with pytest.raises(PosteriorError, match=r"no column that names the clip .*--key"):
        csv(path)
    with pytest.raises(PosteriorError, match=r"no column 'were' \(did you mean 'where'\?\)"):
        csv(path, "were")
    with pytest.raises(PosteriorError, match="none of the clips is in the manifest; they are called videos/"):
        bring_in(csv(path, "where"), "theirs", protocol(), others_trained=True)
    found, _ = bring_in(
        csv(path, "where"), "x", protocol(), others_trained=True, name_pattern=r"videos/(.+)\.mp4"
    )
    assert len(found.rows) == 32
    for wrong, complaint in (("(", "not a regular expression"), (".+", "expected one group")):
        with pytest.raises(PosteriorError, match=complaint):
            bring_in(csv(path, "where"), "x", protocol(), name_pattern=wrong)


def test_other_names_for_classes_must_be_said(tmp_path: Path) -> None:
    _, table = named(tmp_path)
    values = table[list(EMOTIONS)].rename(columns={"fearful": "scared"})
    path = tmp_path / "scared.csv"
    pd.concat([table["clip_id"], values], axis=1).to_csv(path, index=False)
    with pytest.raises(PosteriorError, match="no column named after class 'fearful'"):
        csv(path)
    foreign = read_csv(path, EMOTIONS, "emotion", rename={"scared": "fearful"})
    found, _ = bring_in(foreign, "theirs", protocol(), others_trained=True)
    assert len(found.rows) == 32


def test_an_experiment_with_other_names_says_what_the_dialects_names_mean(tmp_path: Path) -> None:
    foreign = DIALECTS["mmer-static"](write_static(tmp_path))
    ours = protocol()
    spoken = ["scared" if c == "fearful" else c for c in EMOTIONS]
    ours = replace(ours, classes=spoken, labels=ours.labels.replace("fearful", "scared"))
    with pytest.raises(
        PosteriorError, match=r"class 'fearful' is none of this experiment's.*--rename fearful="
    ):
        bring_in(foreign, "theirs", ours)
    found, _ = bring_in(foreign, "theirs", ours, rename={"fearful": "scared"})
    assert found.about.classes == spoken
    with pytest.raises(PosteriorError, match=r"have classes .*; expected .*, each once"):
        bring_in(foreign, "theirs", ours, rename={"fearful": "happy"})


def test_posteriors_without_class_names_are_refused(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    table.columns = ["clip_id", *(f"embs{i}" for i in range(8))]
    table.to_csv(path, index=False)
    with pytest.raises(
        PosteriorError, match=r"no column named after class 'neutral'.*embs0.*never by position"
    ):
        csv(path)


def test_train_rows_that_carry_test_names_are_refused(tmp_path: Path) -> None:
    """SYSTEMS T11: the fusion of MMER writes training posteriors under the names of test clips."""
    write_static(tmp_path)
    train, test = (pd.read_csv(tmp_path / f"{s}_fold0.csv", sep=";") for s in ("train", "test"))
    train["video_name"] = test["video_name"].to_numpy()
    train.to_csv(tmp_path / "train_fold0.csv", sep=";", index=False)
    with pytest.raises(
        PosteriorError, match=r"train_fold0\.csv: its training rows name clips of test subjects of fold 0"
    ):
        bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", protocol())


def test_files_of_another_split_are_refused(tmp_path: Path) -> None:
    write_static(tmp_path)
    table = pd.read_csv(tmp_path / "test_fold0.csv", sep=";")
    table["video_name"] = table["video_name"].str[:-2] + "03"
    table.drop_duplicates("video_name").to_csv(tmp_path / "test_fold0.csv", sep=";", index=False)
    with pytest.raises(
        PosteriorError, match="is left that tests them; the files are of another split or of another run"
    ):
        bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", protocol())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: pd.concat([t, t[:1]]), r"clip '01-01-08-.*' is a test row of fold 0 twice"),
        (lambda t: t.assign(embs3=np.nan), "are NaN or infinite"),
        (lambda t: t.assign(embs3=t["embs3"] + 0.1), "are no probabilities"),
        (lambda t: t.assign(embs3="high"), r"row 1, column 'embs3': 'high' is no number"),
        (lambda t: t.assign(embs3=["", *t["embs3"][1:]]), r"row 1, column 'embs3': '' is no number"),
        (lambda t: t.drop(columns="embs3"), "missing column 'embs3'"),
        (lambda t: t[:0], "no rows"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], complaint: str
) -> None:
    path = write_static(tmp_path) / "test_fold0.csv"
    change(pd.read_csv(path, sep=";")).to_csv(path, sep=";", index=False, na_rep="nan")
    with pytest.raises(PosteriorError, match=complaint):
        bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", protocol())


def test_a_fold_without_test_posteriors_is_refused(tmp_path: Path) -> None:
    write_static(tmp_path)
    (tmp_path / "test_fold1.csv").unlink()
    (tmp_path / "train_fold1.csv").unlink()
    with pytest.raises(PosteriorError, match=re.escape("no test posteriors for fold 1 (subjects 03, 04)")):
        bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", protocol())


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    for name, read in DIALECTS.items():
        with pytest.raises(PosteriorError, match="no such folder"):
            read(tmp_path / "nowhere")
        with pytest.raises(PosteriorError, match="is this another format"):
            read(tmp_path)
        WRITERS[name](tmp_path / name / "first")
        WRITERS[name](tmp_path / name / "second")
        with pytest.raises(PosteriorError, match=r"2 runs below it \(first.*second.*\); name one of them"):
            read(tmp_path / name)
    with pytest.raises(PosteriorError, match="no CSV file in it"):
        csv(tmp_path)


def test_posteriors_of_another_length_are_refused(tmp_path: Path) -> None:
    path = write_bilstm(tmp_path) / "RAVDESS_AUs-val--fold_2_outof_5.csv"
    path.write_text(path.read_text().replace("-0.3, 3.0", "3.0", 1))
    with pytest.raises(PosteriorError, match=r"row \d+ has 7 posteriors; expected 8"):
        DIALECTS["mmer-bilstm"](tmp_path)


def test_a_swap_of_names_is_done_once(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    swapped = table.rename(columns={"happy": "sad", "sad": "happy"}).assign(
        emotion=["sad" if e == "happy" else "happy" if e == "sad" else e for e in protocol().labels]
    )
    swapped.to_csv(path, index=False)
    rename = {"happy": "sad", "sad": "happy"}
    foreign = read_csv(path, EMOTIONS, "emotion", rename=rename)
    found, _ = bring_in(foreign, "theirs", protocol(), rename=rename, others_trained=True)
    clips, values = found.part("test", 0)
    np.testing.assert_allclose(values, softmax(logits(clips, EMOTIONS), axis=1), atol=1e-9)
    assert found.about.claimed


@pytest.mark.parametrize(("factor", "decimals"), [(1, 2), (100, 0)])
def test_rounded_probabilities_and_percentages_stay_what_they_are(
    tmp_path: Path, factor: int, decimals: int
) -> None:
    path, table = named(tmp_path)
    exact = table[list(EMOTIONS)].to_numpy()
    table[list(EMOTIONS)] = (factor * exact).round(decimals)
    table.to_csv(path, index=False)
    foreign = csv(path)
    assert foreign.kind == "probabilities"
    assert "were brought to a sum of 1" in foreign.notes[0]
    found, _ = bring_in(foreign, "theirs", protocol(), others_trained=True)
    values = found.rows[[f"p:{e}" for e in EMOTIONS]].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1)
    assert np.abs(np.sort(values, axis=1) - np.sort(exact, axis=1)).max() < 0.05


def test_numbers_that_are_neither_probabilities_nor_logits_are_refused(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    table[list(EMOTIONS)] *= 3
    table.to_csv(path, index=False)
    with pytest.raises(PosteriorError, match="neither probabilities, which sum to 1, nor likely logits"):
        csv(path)


def test_odd_tables_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path, table = named(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Excel writes UTF-8
    assert len(csv(path).parts[0].names) == 32
    table.assign(split="Test").to_csv(path, index=False)
    assert csv(path).parts[0].split == "test"
    table.assign(split="val").to_csv(path, index=False)
    with pytest.raises(PosteriorError, match="no test or train rows"):
        bring_in(csv(path), "theirs", protocol())
    path.write_text("")
    with pytest.raises(PosteriorError, match="not a readable table"):
        csv(path)
    table.assign(Happy=0.5).to_csv(path, index=False)
    with pytest.raises(PosteriorError, match="columns 'happy', 'Happy' are both for class 'happy'"):
        csv(path)


def test_a_fold_of_strangers_is_left_out(tmp_path: Path) -> None:
    """A manifest of some of the subjects: the files of the other folds still have train rows of ours."""
    write_static(tmp_path)
    whole = protocol()
    few = whole.labels.index[whole.subjects.isin(TESTED[0])]
    frame = pd.DataFrame({"clip_id": few, "subject": whole.subjects[few], "emotion": whole.labels[few]})
    manifest = Manifest(frame.assign(held="0").reset_index(drop=True))
    fold = Fold(0, frozenset(TESTED[0]), frozenset({"99"}), ())
    ours = Protocol.from_manifest(manifest, "emotion", EMOTIONS, Folds([fold], "one"))
    found, notes = bring_in(DIALECTS["mmer-static"](tmp_path), "theirs", ours, others_trained=True)
    assert "their folds 1 test nobody of the manifest and were left out" in notes
    assert set(found.rows["split"]) == {"test"}
