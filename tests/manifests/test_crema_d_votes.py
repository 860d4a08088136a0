from pathlib import Path

import pytest
from label_makers import CREMA_HEADER, CREMA_ROWS, table

from manifests import ManifestError
from manifests.crema_d import clip_of
from manifests.crema_d_votes import EMOTIONS, Votes, read_votes, winner

TABULATED = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"'
# Rows of tabulatedVotes.csv as published, and what label_consensus_4.csv of VAVL says of two of these clips.
COUNTS = (
    '"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.909090909090909,"N"',
    '"307320",0,0,0,9,1,0,"1090_MTI_HAP_XX",10,0.9,"H"',
    '"307333",0,1,0,0,7,2,"1090_ITH_SAD_XX",10,0.7,"N"',
    '"307369",3,3,2,0,0,0,"1091_IEO_ANG_MD",8,0.375,"A:D"',
)
SMOOTHED = {
    "1090_MTI_HAP_XX": (0.01, 0.01, 0.01, 0.01, 0.104, 0.856),
    "1090_ITH_SAD_XX": (0.01, 0.198, 0.104, 0.01, 0.668, 0.01),
}


def read(labels: Path) -> Votes:
    return read_votes(labels, clip_of)


def refusal(tmp_path: Path, *rows: str, header: str = CREMA_HEADER) -> str:
    with pytest.raises(ManifestError) as caught:
        read(table(tmp_path / "label_consensus_1.csv", header, rows))
    return str(caught.value)


def test_shares_stay_as_the_file_writes_them(tmp_path: Path) -> None:
    votes = read(table(tmp_path / "label_consensus_1.csv", CREMA_HEADER, CREMA_ROWS))
    assert votes.shares["1066_MTI_ANG_XX"] == (
        "0.532222222", "0.01", "0.114444444", "0.114444444", "0.218888889", "0.01"
    )  # fmt: skip
    assert votes.sides.sides_of("1066_MTI_ANG_XX") == {"partition1": "test"}


def test_the_winner_has_most_votes_and_there_may_be_none() -> None:
    assert EMOTIONS == ("angry", "sad", "disgust", "fear", "neutral", "happy")
    assert winner(("0.1", "0.1", "0.1", "0.3", "0.2", "0.2")) == "fear"
    assert winner(("0.4", "0.1", "0.1", "0.4", "0", "0")) is None


def test_votes_that_are_not_shares_of_one_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, CREMA_ROWS[1], "1026_IEO_ANG_HI.wav,0.9,0.2,0,0,0,0,1026,Male,Train") == (
        "label_consensus_1.csv: line 3, column 'FileName': '1026_IEO_ANG_HI.wav' has votes whose sum is 1.1; "
        "expected shares whose sum is 1"
    )


def test_votes_with_two_decimal_places_are_shares_of_one(tmp_path: Path) -> None:
    row = "1026_IEO_ANG_HI.wav,0.33,0.33,0.33,0,0,0,1026,Male,Train"
    assert len(read(table(tmp_path / "mine.csv", CREMA_HEADER, [row])).shares) == 1


@pytest.mark.parametrize("cell", ["many", "", "-0.1", "1.1", "nan"])
def test_votes_that_are_no_numbers_are_refused(tmp_path: Path, cell: str) -> None:
    message = refusal(tmp_path, f"1026_IEO_ANG_HI.wav,0.95,{cell},0.01,0.01,0.01,0.01,1026,Male,Train")
    assert message == f"label_consensus_1.csv: line 2, column 'sad': {cell!r} is no number from 0 to 1"


def test_a_speaker_that_is_not_the_one_of_the_name_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, CREMA_ROWS[0].replace("1026,Male", "1027,Male")) == (
        "label_consensus_1.csv: line 2, column 'SpkrID': '1027' is not the speaker of 1026_IEO_ANG_HI.wav"
    )


@pytest.mark.parametrize("name", ["1026_IEO_XXX_HI.wav", "clip.wav", "1092_IEO_ANG_HI.wav"])
def test_a_name_outside_the_code_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, CREMA_ROWS[0].replace("1026_IEO_ANG_HI.wav", name))
    assert f"line 2, column 'FileName': '{name}' is no name of a CREMA-D clip" in message


def test_counts_of_those_who_heard_and_saw_are_read_and_no_others(tmp_path: Path) -> None:
    votes = read(table(tmp_path / "tabulatedVotes.csv", TABULATED, COUNTS))
    assert sorted(votes.shares) == ["1090_ITH_SAD_XX", "1090_MTI_HAP_XX", "1091_IEO_ANG_MD"]
    assert winner(votes.shares["1091_IEO_ANG_MD"]) is None
    assert votes.sides.sides_of("1090_ITH_SAD_XX") == {}


@pytest.mark.parametrize("clip", SMOOTHED)
def test_the_published_shares_are_these_counts_smoothed(tmp_path: Path, clip: str) -> None:
    votes = read(table(tmp_path / "tabulatedVotes.csv", TABULATED, COUNTS))
    assert [0.01 + 0.94 * float(s) for s in votes.shares[clip]] == pytest.approx(SMOOTHED[clip])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"307320",0,0,0,9,1,0,"1090_MTI_XXX_XX",10,0.9,"H"', "is no name of a CREMA-D clip"),
        ('"307321",0,0,0,9,1,0,"1090_MTI_HAP_XX",10,0.9,"H"', "is the clip of a line before"),
        ('"307322",0,0,0,0,0,0,"1090_MTI_SAD_XX",10,0.9,"H"', "has no votes"),
        ('"307322",0,0,-1,9,0,0,"1090_MTI_SAD_XX",10,0.9,"H"', "column 'F': '-1' is no number from 0"),
    ],
)
def test_counts_that_are_wrong_are_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(table(tmp_path / "tabulatedVotes.csv", TABULATED, [*COUNTS, row]))
    assert str(caught.value).startswith("tabulatedVotes.csv: line 6, column ")
    assert message in str(caught.value)
