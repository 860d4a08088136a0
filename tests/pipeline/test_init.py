import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from lab import Lab

from manifests import Manifest
from manifests.folder import Folder
from manifests.msp_improv import MspImprov
from pipeline.beginning import described
from pipeline.experiment import load


@pytest.fixture
def clips(lab: Lab) -> Lab:
    """A folder of real sound files of 5 subjects, with a table."""
    rng = np.random.default_rng(0)
    rows = ["file,who,mood"]
    for who in range(5):
        for mood in ("gut", "schlecht"):
            path = lab.folder / "media" / f"p{who}" / f"{mood}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 8000 * (1 + who)), 8000)
            rows.append(f"p{who}/{mood}.wav,p{who},{mood}")
    (lab.folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return lab


TABLE = ["--corpus", "table", "--table", "clips.csv", "--root", "media", "--out", "work"]
COLUMNS = ["--path-column", "file", "--subject-column", "who", "--label-column", "mood"]


def test_a_table_of_ones_own_becomes_manifest_and_experiment(clips: Lab) -> None:
    assert clips.run("init", *TABLE, *COLUMNS) == 0, clips.err
    manifest = Manifest.read_csv(clips.folder / "work/manifest.csv")
    assert len(manifest) == 10
    assert manifest.frame["duration"].tolist()[:4] == [1.0, 1.0, 2.0, 2.0]
    assert manifest.frame["sha256"].str.len().eq(64).all()
    assert manifest.frame["clip_id"].tolist()[:2] == ["p0-gut", "p0-schlecht"]
    workspace = load(clips.folder / "work/experiment.yaml")
    assert workspace.root == clips.folder / "media"
    assert workspace.classes(manifest) == ["gut", "schlecht"]
    assert len(workspace.folds(manifest)) == 5
    assert "next: cd work && python -m pipeline.extract all" in clips.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (TABLE, "missing column 'subject'"),
        ([*TABLE, *COLUMNS[:-1], "moood"], "(did you mean 'mood'?); name another with --label-column"),
        (["--corpus", "ravdes", "--root", "media"], "unknown corpus 'ravdes' (did you mean 'ravdess'?)"),
        (["--corpus", "ravdess", "--root", "media"], "no RAVDESS speech files"),
        (["--corpus", "ravdess", "--root", "nowhere"], "--root nowhere: no such folder"),
        (["--corpus", "ravdess", "--root", "nowhere.zip"], "--root nowhere.zip: no such folder"),
        (["--corpus", "ravdess", "--root", "clips.csv"], "--root clips.csv: no such folder"),
        (["--corpus", "table", "--root", "media"], "table needs 'table'"),
        (["--corpus", "ravdess", "--root", "media", "--subject-column", "x"], "has no option 'subject'"),
        ([*TABLE, *COLUMNS, "--recipe", "voise"], "unknown recipe 'voise' (did you mean 'voice'?)"),
        ([*TABLE, *COLUMNS, "--set", "folds.k=9"], "9 folds need at least 9 subjects, the manifest has 5"),
        ([*TABLE, *COLUMNS, "--set", "heads.x=1"], "heads.x"),
        ([*TABLE, *COLUMNS, "--recipe", "ravdess-light"], "table needs 'path'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_readable_message_and_nothing_is_written(
    clips: Lab, args: list[str], message: str
) -> None:
    assert clips.run("init", *args) == 1
    assert message in clips.err
    assert not (clips.folder / "work").exists()


def test_files_that_differ_are_not_overwritten_unasked(clips: Lab) -> None:
    assert clips.run("init", *TABLE, *COLUMNS) == 0
    assert clips.run("init", *TABLE, *COLUMNS) == 0  # the same again is no harm
    assert clips.run("init", *TABLE, *COLUMNS, "--set", "seed=3") == 1
    assert "exists and differs; give another --out, or --force" in clips.err
    assert clips.run("init", *TABLE, *COLUMNS, "--set", "seed=3", "--force") == 0
    assert yaml.safe_load((clips.folder / "work/experiment.yaml").read_text())["seed"] == 3


def test_a_broken_file_is_kept_for_extract_to_name(clips: Lab) -> None:
    (clips.folder / "media/p1/gut.wav").write_bytes(b"no sound")
    assert clips.run("init", *TABLE, *COLUMNS) == 0
    manifest = Manifest.read_csv(clips.folder / "work/manifest.csv")
    assert manifest.frame["duration"].isna().sum() == 1


def test_paths_given_from_here_hold_there(clips: Lab) -> None:
    (clips.folder / "aus.csv").write_text("clip_id,AU01_r\np0-gut,1\n")
    args = ["--set", "features={au: {modality: au, extractor: table, path: aus.csv}}", "--set", "heads={}"]
    assert clips.run("init", *TABLE, *COLUMNS, *args, "--set", "fusion={}") == 0, clips.err
    workspace = load(clips.folder / "work/experiment.yaml")
    assert vars(workspace.extractor("au"))["path"] == clips.folder / "aus.csv"


def test_the_whole_road_on_ones_own_sound(clips: Lab) -> None:
    assert clips.run("init", *TABLE, *COLUMNS, "--set", "inner_folds=2") == 0
    clips.folder = Path(clips.folder / "work")
    clips.all_stages()
    assert (clips.folder / "reports/latest/report.html").is_file()


@pytest.fixture
def actors(lab: Lab) -> Lab:
    """RAVDESS-like clips of 24 actors in one folder, not yet packed."""
    rng = np.random.default_rng(0)
    for actor in range(1, 25):
        for emotion in range(1, 9):
            path = lab.folder / f"voices/Actor_{actor:02d}/03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 800), 8000)
    return lab


RAVDESS = ["--corpus", "ravdess", "--out", "work", "--root"]


@pytest.mark.parametrize(("kind", "suffix"), [("zip", ".zip"), ("gztar", ".tar.gz"), ("tar", ".tar")])
def test_a_corpus_may_be_an_archive(actors: Lab, kind: str, suffix: str) -> None:
    shutil.make_archive(str(actors.folder / "packed/Speech_01-24"), kind, actors.folder / "voices")
    archive = f"packed/Speech_01-24{suffix}"
    assert actors.run("init", *RAVDESS, archive) == 0, actors.err
    assert "unpacked 192 files, 315.6 kB, into packed/Speech_01-24\n" in actors.out
    workspace = load(actors.folder / "work/experiment.yaml")
    assert workspace.root == actors.folder / "packed/Speech_01-24"
    manifest = Manifest.read_csv(actors.folder / "work/manifest.csv", workspace.root)
    assert len(manifest) == 192
    assert all((workspace.root / audio).is_file() for audio in manifest.frame["audio"])
    assert actors.run("init", *RAVDESS, archive) == 0, actors.err  # the same again is no harm
    assert "unpacked 192 files, 315.6 kB, into packed/Speech_01-24 before\n" in actors.out
    assert actors.run("init", "--corpus", "ravdess", "--out", "two", "--root", "voices") == 0, actors.err
    assert (actors.folder / "two/manifest.csv").read_text() == (
        actors.folder / "work/manifest.csv"
    ).read_text()


def test_an_unsafe_archive_is_one_readable_message_and_nothing_is_written(clips: Lab) -> None:
    with zipfile.ZipFile(clips.folder / "corpus.zip", "w") as file:
        file.writestr("../03-01-05-01-01-01-16.wav", b"1")
    assert clips.run("init", *RAVDESS, "corpus.zip") == 1
    assert "error: corpus.zip: member '../03-01-05-01-01-01-16.wav' has a path that leaves" in clips.err
    assert not (clips.folder / "work").exists()
    assert not (clips.folder / "corpus").exists()


# Corpora with published labels

CREMA = """FileName,angry,sad,disgust,fear,neutral,happy,SpkrID,Gender,Split_Set
1011_TAI_DIS_XX.wav,0.01,0.104,0.762,0.01,0.104,0.01,1011,Male,Test
1007_IOM_HAP_XX.wav,0.01,0.01,0.01,0.01,0.01,0.95,1007,Female,Development
1026_IEO_ANG_HI.wav,0.856,0.01,0.01,0.104,0.01,0.01,1026,Male,Train
"""
MSP = """FileName,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-IMPROV-S15N-F02-P-MF02.wav,4,5,4,2,Female,Train
MSP-IMPROV-S15N-F04-T-FM01.wav,2.53125,3.5,2.6875,4,Female,Development
MSP-IMPROV-S15N-M05-S-FM01.wav,1.5,3.166667,2.666667,5,Male,Test
"""


@pytest.fixture
def published(lab: Lab) -> Lab:
    """Two corpora of three sounds each, with their label files."""
    for root, file, text in (
        ("crema", "label_consensus_1.csv", CREMA),
        ("msp", "labels_consensus_1.csv", MSP),
    ):
        (lab.folder / root / "labels").mkdir(parents=True)
        (lab.folder / root / "labels" / file).write_text(text)
        for line in text.splitlines()[1:]:
            soundfile.write(lab.folder / root / line.split(",")[0], np.zeros(800), 8000)
    return lab


def test_published_votes_and_sides_become_an_experiment(published: Lab) -> None:
    args = ["--corpus", "crema_d", "--root", "crema", "--labels", "crema/labels", "--out", "work"]
    assert published.run("init", *args) == 0, published.err
    assert "3 clips, 3 subjects, 6 classes, 1 fold (column 'partition1')" in published.out
    workspace = load(published.folder / "work/experiment.yaml")
    assert workspace.experiment.classes == ("angry", "sad", "disgust", "fear", "neutral", "happy")
    (fold,) = workspace.folds(workspace.manifest())
    assert (fold.test, fold.inner) == ({"1011"}, (frozenset({"1007"}),))
    assert published.run("init", *args, "--force", "--set", "folds=crema-d-1") == 0, published.err
    assert "1 fold (crema-d-1)" in published.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ravdess", "--labels", "crema/labels"], "--corpus ravdess: ravdess has no option 'labels'"),
        (["msp_improv"], "--corpus msp_improv: msp_improv needs 'labels'; give --labels\n"),
        (["table"], "--corpus table: table needs 'table'; give --table\n"),
        (["crema_d", "--labels", "msp/labels"], "labels_consensus_1.csv: missing column 'angry'"),
        (["crema_d", "--labels", "nowhere.csv"], "nowhere.csv: cannot read it"),
        (["crema_d", "--labels", "msp"], "msp: no label files in this folder"),
        (["crema_d"], "5 folds need at least 5 subjects, the manifest has 3"),
    ],
)
def test_labels_that_do_not_fit_are_one_readable_message(
    published: Lab, args: list[str], message: str
) -> None:
    assert published.run("init", "--corpus", *args, "--root", "crema", "--out", "work") == 1
    assert message in published.err
    assert not (published.folder / "work").exists()


def test_continuous_labels_stand_in_place_of_classes(published: Lab) -> None:
    reading = MspImprov(published.folder / "msp/labels").read(published.folder / "msp")
    assert described(reading, published.folder / "msp") == {
        "manifest": "manifest.csv",
        "root": str(published.folder / "msp"),
        "attributes": ["arousal", "valence", "dominance"],
        "folds": "partition1",
    }


def test_a_corpus_without_labels_is_described_without_them(clips: Lab) -> None:
    document = described(Folder().read(clips.folder / "media"), clips.folder / "media")
    assert list(document) == ["manifest", "root"]


VALUES = ["--path-column", "file", "--subject-column", "who", "--attribute-columns", "arousal, valence"]


def test_attributes_begin_an_experiment_on_values(clips: Lab) -> None:
    rows = (clips.folder / "clips.csv").read_text().splitlines()
    told = [rows[0] + ",arousal,valence", *(f"{row},{i / 10},{-i}" for i, row in enumerate(rows[1:]))]
    (clips.folder / "clips.csv").write_text("\n".join(told) + "\n")
    assert clips.run("init", *TABLE, *VALUES) == 0, clips.err
    assert "10 clips, 5 subjects, arousal, valence, 5 folds" in clips.out
    workspace = load(clips.folder / "work/experiment.yaml")
    assert workspace.experiment.attributes == ("arousal", "valence")
    assert workspace.classes(workspace.manifest()) == []
    assert list(workspace.experiment.heads) == ["egemaps-ridge", "egemaps-svr"]
    written = yaml.safe_load((clips.folder / "work/experiment.yaml").read_text())
    assert not {"label", "classes"} & set(written)


def test_a_recipe_for_classes_is_refused_for_attributes_by_the_heads_that_fit(clips: Lab) -> None:
    (clips.folder / "clips.csv").write_text("file,who,arousal,valence\np0/gut.wav,a,1,2\np1/gut.wav,b,2,1\n")
    assert clips.run("init", *TABLE, *VALUES, "--recipe", "voice") == 1
    assert "heads.egemaps-svc: svc does not predict values" in clips.err
    assert not (clips.folder / "work/experiment.yaml").exists()


@pytest.mark.parametrize("columns", ["", ",mood"])
def test_attributes_need_names(clips: Lab, columns: str) -> None:
    assert clips.run("init", *TABLE, *VALUES[:4], "--attribute-columns", columns) == 1
    assert "missing column ''" in clips.err
