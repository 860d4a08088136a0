"""Features that exist already: rows found by a key, columns by name, and nothing guessed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from extractors.contract import BadFeaturesError, Clip, MissingMediaError, check_features
from extractors.table import FeatureTable, TableError

ROWS = pd.DataFrame(
    {
        "clip_id": ["c", "a", "b"],
        "AU01_r": [3.0, 1.0, 2.0],
        "AU01_c": [1, 0, 1],
        "emotion": ["sad", "calm", "sad"],
        "AU02_r": [0.3, 0.1, 0.2],
    }
)


def save(path: Path, frame: pd.DataFrame = ROWS, separator: str = ",") -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=separator)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "separator"),
    [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.txt", ";"), ("t.csv", "\t"), ("t.parquet", "")],
)
def test_every_kind_of_file_gives_the_rows_of_the_key(tmp_path: Path, name: str, separator: str) -> None:
    table = FeatureTable(save(tmp_path / name, separator=separator))
    assert table.feature_names == ("AU01_r", "AU01_c", "AU02_r")
    for clip, values in {"a": [1, 0, 0.1], "b": [2, 1, 0.2], "c": [3, 1, 0.3]}.items():
        found = table.extract(Clip(clip))
        check_features(found, 3)
        np.testing.assert_allclose(found.values, [values], rtol=1e-6)


@pytest.mark.parametrize(
    "content", ["\ufeffclip_id,x\na,1\n", "clip_id, x\r\na, 1\r\n", " clip_id ,x\n a ,1\n"]
)
def test_marks_line_ends_and_blanks_do_no_harm(tmp_path: Path, content: str) -> None:
    table = FeatureTable(text(tmp_path / "t.csv", content))
    assert table.feature_names == ("x",)
    assert table.extract(Clip("a")).values.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["AU02_r", "AU01_r"], ("AU02_r", "AU01_r")),
        (["AU*_r"], ("AU01_r", "AU02_r")),
        (["*_c", "AU0?_r"], ("AU01_c", "AU01_r", "AU02_r")),
    ],
)
def test_columns_are_taken_by_name_or_pattern_in_the_order_asked(
    tmp_path: Path, columns: list[str], expected: tuple[str, ...]
) -> None:
    table = FeatureTable(save(tmp_path / "t.csv"), columns=columns)
    assert table.feature_names == expected
    np.testing.assert_allclose(
        table.extract(Clip("a")).values[0], ROWS.loc[1, list(expected)].astype(float), rtol=1e-6
    )


def test_a_column_with_brackets_is_found_by_its_name(tmp_path: Path) -> None:
    """As openSMILE calls them."""
    path = text(tmp_path / "t.csv", "clip_id,mfcc_sma[1]_amean\na,1\n")
    assert FeatureTable(path, columns=["mfcc_sma[1]_amean"]).feature_names == ("mfcc_sma[1]_amean",)


def test_a_column_that_two_patterns_match_comes_once(tmp_path: Path) -> None:
    table = FeatureTable(save(tmp_path / "t.csv"), columns=["AU01_r", "AU*_r"])
    assert table.feature_names == ("AU01_r", "AU02_r")


@pytest.mark.parametrize(
    ("key", "pattern", "clip"),
    [
        ("01-02-03", "0[123]-(.+)", "02-03"),
        ("videos/01-x.mp4", r"videos/\d\d-(.+)\.mp4", "x"),
        ("  x  ", None, "x"),
    ],
)
def test_a_pattern_finds_the_clip_inside_the_key(
    tmp_path: Path, key: str, pattern: str | None, clip: str
) -> None:
    path = save(tmp_path / "t.csv", pd.DataFrame({"name": [key, "other"], "v": [1.0, 2.0]}))
    table = FeatureTable(path, key="name", key_pattern=pattern)
    assert table.extract(Clip(clip)).values.tolist() == [[1.0]]


def test_keys_that_do_not_match_are_other_peoples_rows(tmp_path: Path) -> None:
    table = FeatureTable(save(tmp_path / "t.csv"), key_pattern="([ab])")
    assert table.extract(Clip("b")).values[0, 0] == 2
    with pytest.raises(MissingMediaError):
        table.extract(Clip("c"))


def test_a_row_may_be_called_by_the_media_file(tmp_path: Path) -> None:
    found = FeatureTable(save(tmp_path / "t.csv")).extract(Clip("take 7", video=Path("x/b.mp4")))
    assert found.values[0, 0] == 2


def test_rows_of_one_key_are_a_sequence_in_the_order_of_the_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"clip_id": list("abaab"), "x": [5.0, 1.0, 4.0, 6.0, 2.0]})
    table = FeatureTable(save(tmp_path / "t.csv", frame))
    found = table.extract(Clip("a", start=1.0, end=2.5))
    assert found.values[:, 0].tolist() == [5, 4, 6]
    assert found.intervals.tolist() == [[1, 1.5], [1.5, 2], [2, 2.5]]
    check_features(found, 1)
    check_features(table.extract(Clip("b")), 1)


def test_times_and_validity_come_from_their_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"clip_id": ["a", "a"], "x": [1.0, 2.0], "from": [0.5, 1.5], "to": [1.5, 2.0], "ok": [1, 0]}
    )
    table = FeatureTable(save(tmp_path / "t.csv", frame), start="from", end="to", valid="ok")
    assert table.feature_names == ("x",)
    found = table.extract(Clip("a"))
    assert found.intervals.tolist() == [[0.5, 1.5], [1.5, 2.0]]
    assert found.valid.tolist() == [True, False]


def test_a_clip_without_a_row_is_named_by_table_and_column(tmp_path: Path) -> None:
    with pytest.raises(MissingMediaError, match=r"^t\.csv has no row for it in column 'clip_id'$"):
        FeatureTable(save(tmp_path / "t.csv")).extract(Clip("z"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "clipid"}, r"no column 'clipid' \(did you mean 'clip_id'\?\)"),
        ({"columns": ["AU01r"]}, r"no column 'AU01r' \(did you mean 'AU01_r'\?\)"),
        ({"columns": ["AU9*"]}, r"no column 'AU9\*'"),
        ({"columns": ["emotion"]}, "a feature is no number"),
        ({"start": "begin", "end": "AU01_r"}, r"no column 'begin' \(known: AU01_c"),
        ({"valid": "okay"}, "no column 'okay'"),
        ({"key_pattern": "("}, r"key_pattern '\('"),
        ({"key_pattern": "a"}, "has 0 groups; expected 1"),
        ({"key_pattern": "(a)(b)"}, "has 2 groups; expected 1"),
    ],
)
def test_options_that_do_not_fit_are_explained(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        FeatureTable(save(tmp_path / "t.csv"), **options).extract(Clip("a"))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00junk", b"PAR1"])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=name):
        FeatureTable(tmp_path / name).prepare()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for ask in ("prepare", "identity"):
        with pytest.raises(TableError, match=r"gone\.csv: no such file; set the feature's `path`"):
            getattr(FeatureTable(tmp_path / "gone.csv"), ask)()


def test_a_table_without_numbers_asks_for_columns(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no numeric column; name `columns`"):
        _ = FeatureTable(text(tmp_path / "t.csv", "clip_id,x\na,one\n")).feature_names


def test_an_empty_cell_is_refused_for_its_clip_alone(tmp_path: Path) -> None:
    table = FeatureTable(text(tmp_path / "t.csv", "clip_id,x,y\na,1,2\nb,3,\nb,,4\n"))
    check_features(table.extract(Clip("a")), 2)
    with pytest.raises(BadFeaturesError, match=r"^t\.csv: column 'y' is empty in row 0$"):
        table.extract(Clip("b"))


def test_infinity_does_not_pass_the_boundary(tmp_path: Path) -> None:
    table = FeatureTable(text(tmp_path / "t.csv", "clip_id,x\na,inf\n"))
    with pytest.raises(BadFeaturesError):
        check_features(table.extract(Clip("a")), 1)


@pytest.mark.parametrize("key", ["007", "1e5", "NA", "null", "1.50"])
def test_keys_are_taken_as_they_are_written(tmp_path: Path, key: str) -> None:
    table = FeatureTable(text(tmp_path / "t.csv", f"clip_id,x\n{key},1\n"))
    assert table.extract(Clip(key)).values.tolist() == [[1.0]]


def test_lines_that_end_in_a_separator_shift_nothing(tmp_path: Path) -> None:
    table = FeatureTable(text(tmp_path / "t.csv", "clip_id,x,y\na,1,2,\nb,3,4,\n"), columns=["x", "y"])
    assert table.extract(Clip("a")).values.tolist() == [[1, 2]]


@pytest.mark.parametrize("options", [{"valid": "word"}, {"start": "word", "end": "x"}])
def test_words_where_numbers_belong_are_explained(tmp_path: Path, options: dict[str, str]) -> None:
    path = text(tmp_path / "t.csv", "clip_id,x,word\na,1,yes\n")
    with pytest.raises(TableError, match="word"):
        FeatureTable(path, columns=["x"], **options).extract(Clip("a"))  # type: ignore[arg-type]


def test_a_start_column_without_an_end_column_is_used_or_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "clip_id,x,from\na,1,0.5\na,1,1.5\n")
    try:
        found = FeatureTable(path, start="from").extract(Clip("a"))
    except TableError:
        return
    assert found.intervals[:, 0].tolist() == [0.5, 1.5]


def test_identity_is_of_the_content_and_free_of_the_place(tmp_path: Path) -> None:
    for folder in "xyz":
        (tmp_path / folder).mkdir()
    one, same = (FeatureTable(save(tmp_path / f / "t.csv")).identity() for f in "xy")
    other = FeatureTable(save(tmp_path / "z/t.csv", ROWS.assign(AU01_r=9.0))).identity()
    assert one == same
    assert one != other


@pytest.mark.realdata
def test_the_published_table_of_mmer_has_all_its_clips(real_data: Path) -> None:
    table = FeatureTable(
        real_data / "mmer/df_average_AUs_total.csv",
        key="name",
        key_pattern="0[123]-(.+)",
        columns=["AU*_r", "AU*_c"],
    )
    assert (table.dim, table.feature_names[0], table.feature_names[16]) == (35, "AU01_r", "AU45_r")
    assert len(table._rows) == 1440
    voices = sorted((real_data / "ravdess_speech_16k").rglob("03-*.flac"))
    for path in voices[::100]:
        found = table.extract(Clip(path.stem.partition("-")[2], audio=path))
        check_features(found, 35)
        assert len(found.values) == 1
