import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectstack import AffectstackError
from manifests import Manifest, ManifestError
from manifests.manifest import MEDIA_COLUMNS, read_text_table

EMOTIONS = ("neutral", "happy", "sad")


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows with what they leave out filled in: ids c0, c1, ... and subject s."""
    return pd.DataFrame([{"clip_id": f"c{i}", "subject": "s", **row} for i, row in enumerate(rows)])


def refusal(*rows: dict[str, Any], root: Path | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        Manifest(table(*rows), source="mine.csv", root=root)
    return str(caught.value)


def read(folder: Path, text: str | bytes) -> Manifest:
    path = folder / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Manifest.read_csv(path)


# Columns


def test_refusal_is_an_error_that_commands_print_as_a_line() -> None:
    assert issubclass(ManifestError, AffectstackError)


def test_columns_are_completed_and_stand_in_a_fixed_order() -> None:
    frame = Manifest(
        pd.DataFrame({"emotion": ["sad"], "video": ["a.mp4"], "subject": [1], "clip_id": ["a"]})
    ).frame
    order = "clip_id subject view video audio text start end sha256 duration emotion"
    assert " ".join(frame.columns) == order
    assert frame.loc[0, "subject"] == "1"


@pytest.mark.parametrize("empty", [None, float("nan"), "", "  "])
def test_empty_cell_is_the_empty_text_however_it_is_given(empty: object) -> None:
    frame = Manifest(table({"video": "a.mp4", "audio": empty, "start": empty})).frame
    assert frame.loc[0, "audio"] == ""
    assert frame["start"].isna().all()


@pytest.mark.parametrize("gone", ["clip_id", "subject"])
def test_missing_column_is_named_with_the_ones_found(gone: str) -> None:
    with pytest.raises(ManifestError, match=f"mine.csv: missing column '{gone}'; found .*'video'"):
        Manifest(table({"video": "a.mp4"}).drop(columns=gone), source="mine.csv")


def test_column_that_occurs_twice_is_refused() -> None:
    frame = pd.DataFrame([["a", "s", "sad", "happy"]], columns=["clip_id", "subject", "emotion", "emotion"])
    with pytest.raises(ManifestError, match=r"mine\.csv: column 'emotion' occurs twice"):
        Manifest(frame, source="mine.csv")


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(ManifestError, match="no rows; expected one row per clip"):
        Manifest(pd.DataFrame(columns=["clip_id", "subject"]))


def test_argument_is_left_as_it_was() -> None:
    frame = table({"start": "1.5"})
    before = frame.copy()
    Manifest(frame)
    pd.testing.assert_frame_equal(frame, before)


# Rows


@pytest.mark.parametrize("clip", ["a", "01-05-01-01-01-16", "A.b_c-9", "...a", "x" * 128])
def test_plain_clip_id_is_accepted(clip: str) -> None:
    assert Manifest(table({"clip_id": clip})).frame.loc[0, "clip_id"] == clip


@pytest.mark.parametrize(
    "clip", ["", "a b", "a/b", "../a", ".", "..", "é", "=cmd()", "a\0", "<script>", "x" * 129]
)
def test_clip_id_that_is_no_plain_file_name_is_refused(clip: str) -> None:
    message = refusal({}, {"clip_id": clip})
    assert "line 3, column 'clip_id'" in message
    assert "is not 1 to 128 of A-Z a-z 0-9 . _ -" in message


def test_duplicate_id_names_both_lines() -> None:
    assert "line 4, column 'clip_id': 'a' is a duplicate of line 2" in refusal(
        {"clip_id": "a"}, {"clip_id": "b"}, {"clip_id": "a"}
    )


def test_views_of_one_take_share_its_id() -> None:
    assert len(Manifest(table({"clip_id": "a", "view": "left"}, {"clip_id": "a", "view": "right"}))) == 2


def test_the_same_view_twice_is_a_duplicate() -> None:
    message = refusal({"clip_id": "a", "view": "left"}, {"clip_id": "a", "view": "left"})
    assert "line 3, column 'clip_id': 'a' is a duplicate of line 2 with view 'left'" in message


TWINS = [("Ann.mp4", "ann.mp4"), ("Jos\u00e9.mp4", "Jose\u0301.mp4"), ("\u00c9.mp4", "e\u0301.mp4")]


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("clip_id", "Clip", "clip"),
        *[(column, *twins) for column in ("subject", *MEDIA_COLUMNS) for twins in TWINS],
    ],
)
def test_names_that_differ_only_in_case_or_unicode_form_are_refused(
    column: str, first: str, second: str
) -> None:
    message = refusal({column: first}, {column: second})
    assert (
        f"line 3, column {column!r}: {second!r} differs from {first!r} only in case or Unicode form"
        in message
    )


def test_takes_may_share_a_file_and_a_subject() -> None:
    assert len(Manifest(table({"video": "a.mp4", "end": 1}, {"video": "a.mp4", "start": 1}))) == 2


def test_views_that_disagree_on_the_subject_are_refused() -> None:
    message = refusal(
        {"clip_id": "a", "view": "l", "subject": "1"}, {"clip_id": "a", "view": "r", "subject": "2"}
    )
    assert "line 3, column 'subject': '2' differs from another view of clip a" in message


@pytest.mark.parametrize("column", ["clip_id", "subject", "view", "video", "start", "emotion"])
@pytest.mark.parametrize("value", ["x\ny", "x\ry", "x\r\ny"])
def test_cell_with_a_line_break_is_refused(column: str, value: str) -> None:
    assert f"line 3, column {column!r}: {value!r} holds a line break" in refusal({}, {column: value})


@pytest.mark.parametrize("subject", ["", " ", None])
def test_empty_subject_is_refused(subject: str | None) -> None:
    assert "line 2, column 'subject': '' is empty" in refusal({"subject": subject})


@pytest.mark.parametrize("column", MEDIA_COLUMNS)
@pytest.mark.parametrize(
    "value", ["../x.mp4", "/x.mp4", "C:\\x.mp4", "http://h/x.mp4", "a\nb.mp4", "a\0.mp4", "-i", "a\\b"]
)
def test_unsafe_path_is_refused_in_every_media_column(column: str, value: str) -> None:
    assert f"line 3, column {column!r}: {value!r} " in refusal({}, {column: value})


def test_link_out_of_the_root_is_refused_when_the_root_is_known(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "x.mp4").symlink_to(tmp_path / "secret.mp4")
    message = refusal({"video": "x.mp4"}, root=tmp_path / "clips")
    assert "line 2, column 'video': 'x.mp4' leaves the corpus root through a link" in message
    Manifest(table({"video": "x.mp4"})).write_csv(tmp_path / "mine.csv")
    with pytest.raises(ManifestError, match="through a link"):
        Manifest.read_csv(tmp_path / "mine.csv", root=tmp_path / "clips")


@pytest.mark.parametrize("column", ["start", "end", "duration"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("soon", "'soon' is not a number of seconds"),
        ("1:30", "'1:30' is not a number of seconds"),
        ("-1", "-1.0 is not a time of 0 seconds or more"),
        ("inf", "inf is not a time of 0 seconds or more"),
    ],
)
def test_time_is_a_finite_number_of_seconds_from_zero(column: str, value: str, words: str) -> None:
    assert f"line 2, column {column!r}: {words}" in refusal({column: value})


@pytest.mark.parametrize(("start", "end"), [("2", "1"), ("2", "2"), ("", "0")])
def test_end_must_come_after_the_start(start: str, end: str) -> None:
    assert f"line 2, column 'end': {float(end)} is not after the start" in refusal(
        {"start": start, "end": end}
    )


@pytest.mark.parametrize(("start", "end"), [("0", "1"), ("", "1"), ("1", ""), ("", "")])
def test_either_end_of_a_segment_may_be_open(start: str, end: str) -> None:
    assert len(Manifest(table({"start": start, "end": end}))) == 1


# Reports


def test_more_than_ten_problems_show_ten_and_count_the_rest() -> None:
    lines = refusal(*[{"subject": ""}] * 13).splitlines()
    assert lines[0] == "mine.csv: 13 problems; nothing was started"
    assert [line.split(",")[0] for line in lines[1:11]] == [f"  line {i}" for i in range(2, 12)]
    assert lines[11:] == ["  … and 3 more"]


def test_ten_problems_are_all_shown() -> None:
    lines = refusal(*[{"subject": ""}] * 10).splitlines()
    assert len(lines) == 11
    assert "more" not in lines[-1]


def test_one_problem_is_singular() -> None:
    assert refusal({"subject": ""}).startswith("mine.csv: 1 problem; nothing was started")


def test_problems_of_all_rows_and_columns_come_in_one_report() -> None:
    message = refusal({"clip_id": "a b"}, {"subject": ""}, {"video": "../x"}, {"start": "2", "end": "1"})
    assert "4 problems" in message
    for words in (
        "line 2, column 'clip_id'",
        "line 3, column 'subject'",
        "line 4, column 'video'",
        "line 5, column 'end'",
    ):
        assert words in message


def test_ten_megabyte_cell_is_shown_in_short() -> None:
    message = refusal({"video": "../" + "x" * 10_000_000})
    assert "leaves the corpus root" in message
    assert len(message) < 300


# Labels


def labelled(*values: str) -> Manifest:
    return Manifest(table(*[{"emotion": v} for v in values]), source="mine.csv")


def test_labels_are_indexed_by_clip_in_the_order_of_the_rows() -> None:
    labels = labelled("sad", "happy").labels("emotion", EMOTIONS)
    assert labels.to_dict() == {"c0": "sad", "c1": "happy"}


def test_unknown_label_is_refused_with_line_and_suggestion() -> None:
    with pytest.raises(ManifestError) as caught:
        labelled("sad", "hapy").labels("emotion", EMOTIONS)
    assert "mine.csv: 1 problem" in str(caught.value)
    assert "line 3, column 'emotion': 'hapy' is an unknown label (did you mean 'happy'?)" in str(caught.value)


def test_any_label_but_the_empty_one_goes_when_classes_are_not_given() -> None:
    assert list(labelled("=cmd()", "NA").labels("emotion")) == ["=cmd()", "NA"]
    with pytest.raises(ManifestError, match="line 2, column 'emotion': '' is empty"):
        labelled("", "sad").labels("emotion")


def test_empty_label_is_refused_even_among_given_classes() -> None:
    with pytest.raises(ManifestError, match="line 2, column 'emotion': '' is empty"):
        labelled("", "sad").labels("emotion", EMOTIONS)


def test_absent_label_column_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ManifestError, match=r"no label column 'emotoin' \(did you mean 'emotion'\?\)"):
        labelled("sad").labels("emotoin")


def test_views_that_disagree_on_the_label_are_refused() -> None:
    manifest = Manifest(
        table(
            {"clip_id": "a", "view": "left", "emotion": "sad"},
            {"clip_id": "a", "view": "right", "emotion": "happy"},
        )
    )
    with pytest.raises(
        ManifestError, match="line 3, column 'emotion': 'happy' differs from another view of clip a"
    ):
        manifest.labels("emotion", EMOTIONS)


def test_take_with_two_views_has_one_label_and_one_subject() -> None:
    row = {"clip_id": "a", "subject": "7", "emotion": "sad"}
    manifest = Manifest(table({**row, "view": "left"}, {**row, "view": "right"}))
    assert manifest.labels("emotion").to_dict() == {"a": "sad"}
    assert manifest.subjects().to_dict() == {"a": "7"}


# Files

PLAIN = "clip_id,subject,emotion\na,1,sad\nb,2,NA\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PLAIN.encode("utf-8-sig"), id="BOM"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(PLAIN.replace("\n", "\r\n").encode("utf-8-sig"), id="BOM and CRLF"),
        pytest.param(PLAIN.replace(",", ";"), id="semicolon"),
        pytest.param(PLAIN.replace(",", "\t"), id="tab"),
        pytest.param(PLAIN.replace(",", " , "), id="blanks around the separator"),
        pytest.param(PLAIN.replace("clip_id", '"clip_id"').replace("sad", '"sad"'), id="quotes"),
        pytest.param(PLAIN.rstrip("\n"), id="no final newline"),
        pytest.param("emotion,subject,clip_id\nsad,1,a\nNA,2,b\n", id="other column order"),
    ],
)
def test_habits_of_spreadsheets_change_nothing(tmp_path: Path, text: str | bytes) -> None:
    expected = read(tmp_path, PLAIN).frame
    pd.testing.assert_frame_equal(read(tmp_path, text).frame, expected)


def test_cells_are_text_and_never_guessed(tmp_path: Path) -> None:
    frame = read(tmp_path, "clip_id,subject,emotion,n\n007,01,NA,1e3\n1,02,null,True\n").frame
    assert frame[["clip_id", "subject", "emotion", "n"]].to_numpy().tolist() == [
        ["007", "01", "NA", "1e3"],
        ["1", "02", "null", "True"],
    ]


def test_separator_inside_quotes_is_part_of_the_cell(tmp_path: Path) -> None:
    assert read(tmp_path, 'clip_id,subject,note\na,1,"x, y; ""z"""\n').frame.loc[0, "note"] == 'x, y; "z"'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no header line"),
        (b"\n\n", "no header line"),
        (b"\xff\xfeclip_id", "not a UTF-8 text file; save it as CSV UTF-8"),
        ("clip_id,subject\né,1\n".encode("latin-1"), "not a UTF-8 text file"),
        (b"clip_id,subject\n" + b"a,1\n" * 9000 + b"\xff,1\n", "not a UTF-8 text file"),
        (b"clip_id,subject\na,1\nb,2,3\n", "line 3 has 3 cells, the header has 2"),
        (b"clip_id,subject\na,1,lost\nb,2\n", "line 2 has 3 cells, the header has 2"),
        (b"clip_id,subject,emotion\na,1\nb,2,sad\n", "line 2 has 2 cells, the header has 3"),
        (b"clip_id,subject\n\na,1\nb\n", "line 4 has 1 cells, the header has 2"),
        (b"clip_id,subject,emotion,emotion\na,1,sad,happy\n", "column 'emotion' occurs twice"),
        (b"clip_id,subject,emotion, emotion\na,1,sad,happy\n", "column 'emotion' occurs twice"),
        (b'clip_id,subject\na,"1\nb,2\n', "not a regular table"),
    ],
)
def test_file_that_is_no_table_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=rf"mine\.csv: .*({words})"):
        read(tmp_path, content)


def test_absent_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv: cannot read it \(No such file"):
        read_text_table(tmp_path / "none.csv")


def test_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read it"):
        read_text_table(tmp_path)


def test_problems_of_a_file_carry_its_name_and_its_lines(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"(?s)mine\.csv: 1 problem.*line 3, column 'subject'"):
        read(tmp_path, "clip_id,subject\na,1\nb,\n")


@pytest.mark.parametrize("blank", ["\n", "\n\n\n", "\r\n"])
def test_line_numbers_count_blank_lines(tmp_path: Path, blank: str) -> None:
    line = 3 + blank.count("\n")
    with pytest.raises(ManifestError, match=f"line {line}, column 'subject'"):
        read(tmp_path, f"clip_id,subject\na,1\n{blank}b,\n")
    manifest = read(tmp_path, f"clip_id,subject,emotion\na,1,sad\n{blank}b,2,\n")
    with pytest.raises(ManifestError, match=f"line {line}, column 'emotion'"):
        manifest.labels("emotion")


def test_cell_with_a_line_break_is_refused_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"column 'note': 'x\\ny' holds a line break"):
        read(tmp_path, 'clip_id,subject,note\na,1,"x\ny"\n')


def test_line_numbers_outlive_hashing(tmp_path: Path) -> None:
    manifest = read(tmp_path, "clip_id,subject,emotion\n\na,1,\n").with_hashes(tmp_path)
    with pytest.raises(ManifestError, match="line 3, column 'emotion'"):
        manifest.labels("emotion")


def test_part_of_a_table_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(PLAIN)
    assert len(Manifest(read_text_table(tmp_path / "mine.csv").iloc[:1])) == 1


def test_blank_line_before_the_header_changes_nothing(tmp_path: Path) -> None:
    expected = read(tmp_path, "\n" + PLAIN).frame
    pd.testing.assert_frame_equal(read(tmp_path, "\n" + PLAIN.replace(",", ";")).frame, expected)


def test_ten_megabyte_field_is_refused_readably(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"mine\.csv: not a regular table: field larger") as caught:
        read(tmp_path, "clip_id,subject,note\na,1," + "x" * 10_000_000)
    assert len(str(caught.value)) < 400


def test_written_file_is_utf8_with_lf(tmp_path: Path) -> None:
    labelled("sad", "gelöst").write_csv(tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_bytes()
    assert b"\r" not in content
    assert "gelöst" in content.decode("utf-8")


SECONDS = st.floats(0, 1e6, allow_nan=False)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12)
NAMES = st.text("abcXYZ 09._éß-", min_size=1, max_size=8).map(lambda s: f"clips/{s.strip()}.mp4")


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    rows = []
    for i in range(draw(st.integers(1, 5))):
        start, length = draw(SECONDS), draw(st.floats(0.001, 1e3))
        cut = draw(st.booleans())
        subject, emotion = draw(st.text("ab,;\"'é09", min_size=1, max_size=4)), draw(CELLS)
        for view in draw(st.sampled_from([("",), ("left", "right")])):
            rows.append(
                {
                    "clip_id": f"c{i}",
                    "subject": subject,
                    "view": view,
                    "video": draw(NAMES | st.just("")),
                    "start": start if cut else None,
                    "end": start + length if cut else None,
                    "duration": draw(SECONDS | st.none()),
                    "emotion": emotion,
                    "note": draw(CELLS),
                }
            )
    return Manifest(pd.DataFrame(rows))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifest=manifests())
def test_csv_round_trip_gives_an_equal_table(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    manifest.write_csv(path)
    written = path.read_bytes()
    again = Manifest.read_csv(path)
    pd.testing.assert_frame_equal(again.frame, manifest.frame)
    again.write_csv(path)
    assert path.read_bytes() == written


# Hashes


def test_hashes_fill_a_copy_for_the_files_that_exist(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"picture")
    manifest = Manifest(table({"video": "a.mp4"}, {"video": "none.mp4"}, {}))
    hashed = manifest.with_hashes(tmp_path)
    assert list(hashed.frame["sha256"]) == [hashlib.sha256(b"picture").hexdigest(), "", ""]
    assert list(manifest.frame["sha256"]) == ["", "", ""]


# Datasets


@pytest.fixture
def dataset(tmp_path: Path) -> datasets.Dataset:
    manifest = Manifest(
        table(
            {"emotion": "sad", "video": "v/a.mp4", "text": "a.txt", "start": 0, "end": 2.5},
            {"emotion": "neutral", "audio": "b.wav"},
            {"emotion": "sad"},
        )
    )
    return manifest.to_dataset(tmp_path, "emotion", EMOTIONS)


def test_dataset_has_one_row_per_manifest_row(dataset: datasets.Dataset) -> None:
    assert len(dataset) == 3
    assert dataset["clip_id"][:] == ["c0", "c1", "c2"]


def test_label_is_a_class_label_in_the_given_order(dataset: datasets.Dataset) -> None:
    assert dataset.features["emotion"] == datasets.ClassLabel(names=list(EMOTIONS))
    assert dataset["emotion"][:] == [2, 0, 2]


def test_class_order_is_sorted_when_not_given(tmp_path: Path) -> None:
    made = labelled("sad", "happy", "neutral").to_dataset(tmp_path, "emotion")
    assert made.features["emotion"].names == ["happy", "neutral", "sad"]


def test_media_cells_are_typed_absolute_paths_without_bytes(
    dataset: datasets.Dataset, tmp_path: Path
) -> None:
    root = tmp_path.resolve()
    assert isinstance(dataset.features["audio"], datasets.Audio)
    assert isinstance(dataset.features["video"], datasets.Video)
    assert dataset[0]["video"] == {"path": str(root / "v" / "a.mp4"), "bytes": None}
    assert dataset[1]["audio"] == {"path": str(root / "b.wav"), "bytes": None}
    assert dataset[0]["text"] == str(root / "a.txt")


def test_empty_media_and_times_are_none(dataset: datasets.Dataset) -> None:
    empty = dataset[2]
    assert [empty[c] for c in (*MEDIA_COLUMNS, "start", "end", "duration")] == [None] * 6
    assert (dataset[0]["start"], dataset[0]["end"]) == (0.0, 2.5)


def test_dataset_of_unknown_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="unknown label"):
        labelled("sad", "hapy").to_dataset(tmp_path, "emotion", EMOTIONS)


def valued(*cells: str, view: Sequence[str] = (), ids: Sequence[str] = ()) -> Manifest:
    count = len(cells)
    frame = pd.DataFrame({"clip_id": list(ids) or [f"c{i}" for i in range(count)], "subject": "s"})
    return Manifest(frame.assign(view=list(view) or "", arousal=list(cells), valence="1"), source="m.csv")


def test_values_are_numbers_by_clip_in_the_order_asked_for() -> None:
    values = valued("0.5", " -1e2 ").values(["valence", "arousal"])
    assert list(values.columns) == ["valence", "arousal"]
    assert values.to_numpy().tolist() == [[1.0, 0.5], [1.0, -100.0]]
    assert values.index.tolist() == ["c0", "c1"]
    assert (values.dtypes == np.float64).all()


def test_two_reads_of_a_manifest_give_the_same_values(tmp_path: Path) -> None:
    """VAVL reversed arousal in place, so that its sign changed with every pass (SYSTEMS 5.2, T16)."""
    path = tmp_path / "m.csv"
    valued("0.1", "0.7", "1e-9").write_csv(path)
    manifest = Manifest.read_csv(path)
    first = manifest.values(["arousal", "valence"])
    kept = first.copy()
    first *= -1  # whatever is done to what was read
    pd.testing.assert_frame_equal(manifest.values(["arousal", "valence"]), kept)
    pd.testing.assert_frame_equal(Manifest.read_csv(path).values(["arousal", "valence"]), kept)


@pytest.mark.parametrize("cell", ["high", "inf", "-inf", "nan", "0,5", "1_000", "1e999", "0x1"])
@pytest.mark.parametrize("partial", [False, True])
def test_what_is_no_finite_number_is_refused(cell: str, partial: bool) -> None:
    with pytest.raises(ManifestError, match=rf"line 3, column 'arousal': '{cell}' is no finite number"):
        valued("0.5", cell).values(["arousal"], partial=partial)


def test_every_clip_needs_a_value_unless_some_may_lack_it() -> None:
    with pytest.raises(
        ManifestError, match="line 3, column 'arousal': '' is empty; every clip needs a value"
    ):
        valued("0.5", "").values(["arousal"])
    assert np.isnan(valued("0.5", "").values(["arousal"], partial=True).loc["c1", "arousal"])


def test_an_absent_column_of_values_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ManifestError, match=r"no column 'arousel' .*\(did you mean 'arousal'\?\)"):
        valued("0.5").values(["arousel"])


def test_views_of_a_take_have_one_value() -> None:
    same = valued("0.5", "0.50", view=["left", "right"], ids=["a", "a"])
    assert same.values(["arousal"])["arousal"].to_dict() == {"a": 0.5}
    empty = valued("", "", view=["left", "right"], ids=["a", "a"])
    assert len(empty.values(["arousal"], partial=True)) == 1
    for cells in (("0.5", "0.6"), ("0.5", "")):
        other = valued(*cells, view=["left", "right"], ids=["a", "a"])
        with pytest.raises(
            ManifestError, match=r"line 3, column 'arousal': .* differs from another view of clip a"
        ):
            other.values(["arousal"], partial=True)
