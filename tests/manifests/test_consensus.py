from pathlib import Path

import pytest
from label_makers import MSP_HEADER, MSP_ROWS, table

from manifests import ManifestError
from manifests.consensus import Row, label_files, read_consensus, rows_of

SCORES = ("EmoAct", "EmoVal", "EmoDom")
FIRST = "MSP-IMPROV-S15H-M06-S-MF03"


def read(labels: Path):  # type: ignore[no-untyped-def]
    return read_consensus(labels, SCORES, lambda row: row.stem)


def refusal(labels: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read(labels)
    return str(caught.value)


def published(folder: Path, number: int, *rows: str) -> Path:
    return table(folder / f"labels_consensus_{number}.csv", MSP_HEADER, rows or MSP_ROWS)


def test_the_files_of_a_folder_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("labels_consensus_2.csv", "label_consensus_1.csv", "notes.csv", "labels_consensus_x.csv"):
        (tmp_path / name).touch()
    assert [p.name for p in label_files(tmp_path)] == ["label_consensus_1.csv", "labels_consensus_2.csv"]
    assert label_files(tmp_path / "notes.csv") == [tmp_path / "notes.csv"]


def test_a_folder_without_label_files_is_refused_with_an_example(tmp_path: Path) -> None:
    (tmp_path / "other.csv").touch()
    assert "no label files in this folder (names like label_consensus_1.csv)" in refusal(tmp_path)


def test_every_file_gives_the_sides_of_its_partition(tmp_path: Path) -> None:
    published(tmp_path, 1)
    published(tmp_path, 2, *(row.replace("Train", "Test") for row in MSP_ROWS[:2]))
    found = read(tmp_path)
    assert list(found.sides) == ["partition1", "partition2"]
    assert found.sides_of(FIRST) == {"partition1": "train", "partition2": "test"}
    last = "MSP-IMPROV-S15N-F04-T-FM01"
    assert found.sides_of(last) == {"partition1": "development", "partition2": ""}
    assert found.notes(found.clips) == ["partition2 is empty where its file lacks the clip: 3"]
    assert found.notes([FIRST]) == []
    assert found.clips[last].cells["EmoVal"] == "3.5"


def test_a_file_of_another_name_is_a_partition_without_a_number(tmp_path: Path) -> None:
    assert list(read(table(tmp_path / "mine.csv", MSP_HEADER, MSP_ROWS)).sides) == ["partition"]


def test_two_files_of_one_number_are_refused(tmp_path: Path) -> None:
    published(tmp_path, 1)
    table(tmp_path / "label_consensus_1.csv", MSP_HEADER, MSP_ROWS)
    assert "another file of this folder is of the same number" in refusal(tmp_path)


def test_files_whose_labels_of_a_clip_differ_are_refused_with_both_lines(tmp_path: Path) -> None:
    published(tmp_path, 1)
    published(tmp_path, 2, MSP_ROWS[2], MSP_ROWS[1].replace(",5,4,2", ",5,3,2"))
    assert refusal(tmp_path) == (
        "labels_consensus_2.csv: line 3, column 'EmoDom': '3' differs from '4' of that clip in line 3 of "
        "labels_consensus_1.csv; correct the files, or give one of them with --labels"
    )


def test_files_that_write_one_number_in_two_ways_agree(tmp_path: Path) -> None:
    published(tmp_path, 1)
    published(tmp_path, 2, MSP_ROWS[1].replace(",4,5,4,", ",4.0,5.00,4,"))
    assert len(read(tmp_path).clips) == len(MSP_ROWS)


def test_a_clip_twice_in_one_file_is_refused(tmp_path: Path) -> None:
    assert refusal(published(tmp_path, 1, *MSP_ROWS, MSP_ROWS[0])) == (
        f"labels_consensus_1.csv: line 7, column 'FileName': '{FIRST}.wav' is the clip of line 2 again"
    )


def test_a_side_that_is_none_is_refused(tmp_path: Path) -> None:
    assert refusal(published(tmp_path, 1, MSP_ROWS[0].replace("Train", "Extra"))) == (
        "labels_consensus_1.csv: line 2, column 'Split_Set': 'Extra' is none of Train, Development and Test"
    )


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "mine.csv", "FileName,EmoAct,EmoVal,EmoDomm,SpkrID,Gender,Split_Set", MSP_ROWS)
    assert refusal(file) == "mine.csv: missing column 'EmoDom' (did you mean 'EmoDomm'?)"


def test_a_file_without_rows_or_absent_is_refused(tmp_path: Path) -> None:
    assert "mine.csv: no rows" in refusal(table(tmp_path / "mine.csv", MSP_HEADER, []))
    assert "cannot read it" in refusal(tmp_path / "none.csv")


@pytest.mark.parametrize("cell", ["", "x", "nan", "inf", "0.99", "5.01", "-3"])
def test_a_cell_without_a_number_of_the_range_is_refused(cell: str) -> None:
    with pytest.raises(ManifestError, match=r"^m\.csv: line 7, column 'a': '.*' is no number from 1 to 5$"):
        Row("m.csv", 7, {"a": cell}).number("a", 1, 5)


@pytest.mark.parametrize("cell", ["1", "5", "2.5", "1e0"])
def test_numbers_of_the_range_are_read(cell: str) -> None:
    assert Row("m.csv", 7, {"a": cell}).number("a", 1, 5) == float(cell)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("a,b\n\n1, 2 \n\n3,4\n")
    assert [(r.line, r.cells) for r in rows_of(file, ["b"])] == [(3, {"b": "2"}), (5, {"b": "4"})]
