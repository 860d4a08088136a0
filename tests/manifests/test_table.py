import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from manifests import CORPORA, ManifestError
from manifests.corpus import MEDIA_SUFFIXES, Reading
from manifests.table import Table


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Write a table and read it as a corpus whose root is its folder."""

    def run(text: str, **options: Any) -> Reading:
        (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
        return Table(tmp_path / "mine.csv", **options).read(tmp_path)

    return run


def column(reading: Reading, name: str) -> list[Any]:
    return reading.manifest.frame[name].tolist()


PLAIN = "path,subject,label\na.wav,ann,sad\nb.wav,bob,glad\n"


def test_table_is_registered() -> None:
    assert CORPORA["table"] is Table


def test_path_subject_and_label_make_a_corpus(read: Any) -> None:
    reading = read(PLAIN)
    assert column(reading, "clip_id") == ["a", "b"]
    assert column(reading, "audio") == ["a.wav", "b.wav"]
    assert reading.manifest.labels("label").to_dict() == {"a": "sad", "b": "glad"}
    assert (reading.label, reading.classes) == ("label", ("glad", "sad"))
    assert reading.folds == {"by": "subject", "k": 5, "seed": 0}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separator_is_found_out(read: Any, separator: str) -> None:
    assert column(read(PLAIN.replace(",", separator)), "audio") == ["a.wav", "b.wav"]


def test_columns_may_have_other_names(read: Any) -> None:
    text = "file,speaker,mood,take\nx/1.mp4,ann,sad,T1\n"
    reading = read(text, path="file", subject="speaker", label="mood", clip_id="take")
    row = reading.manifest.frame.iloc[0]
    assert (row["clip_id"], row["subject"], row["video"], row["mood"]) == ("T1", "ann", "x/1.mp4", "sad")
    assert reading.label == "mood"


@pytest.mark.parametrize(
    ("options", "column", "option"),
    [
        ({"subject": "speaker"}, "speaker", "--subject-column"),
        ({"label": "emotion"}, "emotion", "--label-column"),
        ({"path": "file"}, "file", "--path-column"),
        ({"clip_id": "take"}, "take", "--clip-id-column"),
    ],
)
def test_missing_column_is_refused_with_the_option_that_names_another(
    read: Any, options: dict[str, str], column: str, option: str
) -> None:
    with pytest.raises(
        ManifestError, match=rf"mine\.csv: missing column '{column}'.*; name another with {option}"
    ):
        read(PLAIN, **options)


def test_missing_column_comes_with_a_suggestion(read: Any) -> None:
    with pytest.raises(ManifestError, match=r"missing column 'labels' \(did you mean 'label'\?\)"):
        read(PLAIN, label="labels")


@pytest.mark.parametrize(("suffix", "kind"), [*MEDIA_SUFFIXES.items(), (".MP4", "video"), (".Wav", "audio")])
def test_suffix_says_the_kind_of_medium(read: Any, suffix: str, kind: str) -> None:
    assert column(read(f"path,subject,label\na{suffix},ann,sad\n"), kind) == [f"a{suffix}"]


@pytest.mark.parametrize("path", ["b.docx", "b", "b.wav.bak"])
def test_unknown_suffix_is_refused_with_line_column_and_the_known_ones(read: Any, path: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(f"file,subject,label\na.wav,ann,sad\n{path},bob,sad\n", path="file")
    assert f"mine.csv: line 3, column 'file': '{path}' is of no known kind" in str(caught.value)
    assert ".mp4" in str(caught.value)


def test_media_columns_do_without_a_path(read: Any) -> None:
    reading = read("video,text,subject,label\na.mp4,a.txt,ann,sad\n,b.txt,bob,sad\n")
    assert column(reading, "clip_id") == ["a", "b"]
    assert column(reading, "video") == ["a.mp4", ""]
    assert column(reading, "text") == ["a.txt", "b.txt"]


def test_media_columns_add_to_the_path(read: Any) -> None:
    row = read("path,text,subject,label\na.wav,t/a.txt,ann,sad\n").manifest.frame.iloc[0]
    assert (row["audio"], row["text"]) == ("a.wav", "t/a.txt")


def test_path_that_contradicts_a_media_column_is_refused(read: Any) -> None:
    with pytest.raises(
        ManifestError,
        match=r"line 2: column 'path' has 'a\.mp4', column 'video' has 'b\.mp4'; expected one video",
    ):
        read("path,video,subject,label\na.mp4,b.mp4,1,x\n")


def test_path_may_be_said_twice(read: Any) -> None:
    assert column(read("path,video,subject,label\na.mp4,a.mp4,1,x\n"), "video") == ["a.mp4"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,subject,label\n,1,a\n", 2),
        ("path,subject,label\na.wav,1,a\n  ,1,a\n", 3),
        ("video,text,subject,label\n\na.mp4,,1,a\n\n,,1,a\n", 5),
    ],
)
def test_row_without_media_is_refused_with_its_line_and_the_remedy(read: Any, text: str, line: int) -> None:
    with pytest.raises(
        ManifestError, match=rf"mine\.csv: line {line}: no media path; give one, or --clip-id-column"
    ):
        read(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("path, video, subject, label\na.mp4, a.mp4, 1, x\n", "path", id="the same path"),
        pytest.param("path, video, subject, label\na.mp4, , 1, x\n", "path", id="empty cell"),
        pytest.param("video, subject, label\n a.mp4, 1, x\n", "video", id="column against itself"),
    ],
)
def test_blanks_around_a_media_cell_change_nothing(read: Any, text: str, path: str) -> None:
    assert column(read(text, path=path), "video") == ["a.mp4"]


def test_row_whose_media_cells_are_blank_has_no_media(read: Any) -> None:
    with pytest.raises(ManifestError, match="line 2: no media path"):
        read("video,subject,label\n ,1,x\n")


def test_ids_alone_will_do_for_features_made_elsewhere(read: Any) -> None:
    reading = read("id,subject,label\nx,ann,sad\n", clip_id="id")
    row = reading.manifest.frame.iloc[0]
    assert (row["clip_id"], row["video"], row["audio"], row["text"]) == ("x", "", "", "")


def test_every_other_column_is_kept(read: Any) -> None:
    reading = read("path,subject,label,age,fold\na.wav,ann,sad,30,0\nb.wav,bob,sad,40,1\n")
    assert column(reading, "age") == ["30", "40"]
    assert column(reading, "fold") == ["0", "1"]


def test_view_start_and_end_are_kept(read: Any) -> None:
    text = (
        "id,path,view,start,end,subject,label\nx,L/a.mp4,left,0,1.5,ann,sad\nx,R/a.mp4,right,0,1.5,ann,sad\n"
    )
    reading = read(text, clip_id="id")
    assert column(reading, "view") == ["left", "right"]
    assert (column(reading, "start"), column(reading, "end")) == ([0.0, 0.0], [1.5, 1.5])


# Ids made from paths


def mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def marked(slug: str, name: str) -> str:
    return f"{slug}-{mark(name)}"


@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (["x/a.wav", "y/b.wav"], ["a", "b"]),
        (["x/a.wav", "y/a.wav"], ["x-a", "y-a"]),
        (["x/a.wav", "y/a.wav", "y/b.wav"], ["x-a", "y-a", "y-b"]),
        (["take 1.wav", "take_2.wav"], ["take-1", "take_2"]),
        (["take 1 (new).wav", "b.wav"], [marked("take-1-new", "take 1 (new)"), "b"]),
        (["Bär.wav", "Bor.wav"], [marked("B-r", "Bär"), "Bor"]),
        (["高兴.wav", "愤怒.wav"], [mark("高兴"), mark("愤怒")]),
        (["高/a.wav", "愤/a.wav"], [marked("a", "高/a"), marked("a", "愤/a")]),
    ],
)
def test_id_is_the_stem_or_where_stems_repeat_the_whole_path(
    read: Any, paths: list[str], ids: list[str]
) -> None:
    assert column(read("path,subject,label\n" + "".join(f"{p},ann,sad\n" for p in paths)), "clip_id") == ids


def test_id_of_a_long_path_keeps_its_end(read: Any) -> None:
    (clip,) = column(read(f"path,subject,label\n{'x' * 200}end.wav,ann,sad\n"), "clip_id")
    assert re.fullmatch("x{97}end-[0-9a-f]{8}", clip)


def test_id_of_a_long_name_that_loses_letters_keeps_its_end_and_its_mark(read: Any) -> None:
    name = "ä" + "x" * 200 + "end"
    (clip,) = column(read(f"path,subject,label\n{name}.wav,ann,sad\n"), "clip_id")
    assert clip == marked("x" * 97 + "end", name)


LONG = "n" * 120


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(["a b.wav", "a-b.wav"], id="blank and dash"),
        pytest.param(["x/a.wav", "y/a.wav", "x-a.wav"], id="folder and dash"),
        pytest.param([f"x/{LONG}.wav", f"y/{LONG}.wav"], id="long name in two folders"),
    ],
)
def test_different_files_get_different_ids(read: Any, paths: list[str]) -> None:
    ids = column(read("path,subject,label\n" + "".join(f"{p},ann,sad\n" for p in paths)), "clip_id")
    assert len(set(ids)) == len(paths)


def test_name_without_letters_gets_an_id(read: Any) -> None:
    assert len(read("path,subject,label\nx/-.wav,ann,sad\n").manifest) == 1


def test_segments_of_one_file_are_told_apart_by_their_start(read: Any) -> None:
    text = "path,subject,label,start,end\na.wav,ann,sad,0,1.5\na.wav,ann,glad,1.5,3\nb.wav,bob,sad,0,1\n"
    assert column(read(text), "clip_id") == ["a_0", "a_1.5", "b"]


# The rules of every manifest


def test_table_with_a_header_alone_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match=r"mine\.csv: no rows; expected one row per clip"):
        read("path,subject,label\n")


def test_column_that_occurs_twice_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match="'label' occurs twice"):
        read("path,subject,label, label\na.wav,1,sad,happy\n")


@pytest.mark.parametrize("row", ["b,2,x", "../b.wav,2,x", "b.wav,,x", "b.wav,2,", "b.wav,2", "a.wav,1,x"])
def test_line_numbers_are_those_of_the_file(read: Any, row: str) -> None:
    with pytest.raises(ManifestError, match=r"\bline 5\b"):
        read(f"path,subject,label\n\na.wav,1,x\n\n{row}\n")


def test_same_file_twice_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match="line 3, column 'clip_id': 'a' is a duplicate of line 2"):
        read("path,subject,label\na.wav,ann,sad\na.wav,ann,sad\n")


def test_path_that_leaves_the_root_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match=r"line 2, column 'audio': '\.\./a\.wav' leaves the corpus root"):
        read("path,subject,label\n../a.wav,ann,sad\n")


def test_link_out_of_the_root_is_refused(read: Any, tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path.parent / "secret.wav")
    with pytest.raises(ManifestError, match="through a link"):
        read("path,subject,label\na.wav,ann,sad\n")


def test_empty_subject_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match=r"line 3, .* is empty; folds are made by subject"):
        read("path,subject,label\na.wav,ann,sad\nb.wav,,sad\n")


def test_empty_label_is_refused(read: Any) -> None:
    with pytest.raises(ManifestError, match="line 3, column 'label': '' is empty"):
        read("path,subject,label\na.wav,ann,sad\nb.wav,bob,\n")


def test_views_that_disagree_on_the_label_are_refused(read: Any) -> None:
    with pytest.raises(
        ManifestError, match="line 3, column 'label': 'glad' differs from another view of clip x"
    ):
        read("id,path,view,subject,label\nx,l.mp4,l,ann,sad\nx,r.mp4,r,ann,glad\n", clip_id="id")


VALUED = "path,subject,arousal,valence,label\na.wav,ann,0.5,1,sad\nb.wav,bob,-1,2e0,glad\n"


def test_a_table_may_hold_values_in_place_of_a_label(read: Any) -> None:
    reading = read(VALUED, attributes=["valence", "arousal"])
    assert (reading.attributes, reading.label, reading.classes) == (("valence", "arousal"), "", ())
    assert reading.manifest.values(reading.attributes).to_numpy().tolist() == [[1.0, 0.5], [2.0, -1.0]]
    assert column(reading, "label") == ["sad", "glad"]
    assert read(VALUED).attributes == ()


def test_an_absent_attribute_is_named_with_its_option(read: Any) -> None:
    with pytest.raises(ManifestError, match=r"'arousel'.*did you mean 'arousal'.*--attribute-columns"):
        read(VALUED, attributes=["arousel"])


def test_values_that_are_words_are_named_by_their_line(read: Any) -> None:
    with pytest.raises(ManifestError, match="line 2, column 'label': 'sad' is no finite number"):
        read(VALUED, attributes=["label"])


def test_a_label_and_attributes_exclude_each_other(read: Any) -> None:
    with pytest.raises(ManifestError, match="exclude each other"):
        read(VALUED, label="label", attributes=["arousal"])
