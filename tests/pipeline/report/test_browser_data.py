from pathlib import Path

import pandas as pd
from lab import CLASSES, Lab

from manifests import Manifest
from pipeline.evaluation import evaluate
from pipeline.experiment import load
from pipeline.report.browser import clips, media_links


def test_the_worst_confusions_come_first(fused: Lab) -> None:
    run = evaluate(load(fused.folder / "experiment.yaml"))
    found = clips(run, {"s0-angry-0": "a.wav"})
    assert found["classes"] == list(CLASSES)
    assert found["systems"] == ["fused (logpool)", "one-log", "two-log"]
    margins = [
        max(posteriors[0]) - posteriors[0][truth] for _, truth, _, _, _, _, posteriors in found["clips"]
    ]
    assert margins == sorted(margins, reverse=True)
    rows = {row[0]: row for row in found["clips"]}
    assert len(rows) == 72
    assert [rows["s0-angry-0"][5], rows["s0-angry-1"][5]] == ["a.wav", None]
    for clip, truth, decided, subject, fold, _, posteriors in found["clips"]:
        assert clip.startswith(f"{subject}-{CLASSES[truth]}-")
        assert subject in run.test_subjects[fold]
        assert all(998 <= sum(p) <= 1002 for p in posteriors)
        assert (decided == truth) == run.fusion.right[clip]
        assert posteriors[0][decided] == max(posteriors[0])


def test_a_source_that_lacks_a_clip_has_no_posterior(lab: Lab) -> None:
    values = pd.read_csv(lab.folder / "one.csv").iloc[1:]
    values.to_csv(lab.folder / "one.csv", index=False)
    assert lab.run("extract") == 2
    assert lab.run("train_heads") == 0
    run = evaluate(load(lab.folder / "experiment.yaml", ["fusion.missing=marginalise"]))
    (row,) = [row for row in clips(run, {})["clips"] if row[0] == "s0-angry-0"]
    fused, one, two = row[6]
    assert one is None
    assert fused is not None
    assert two is not None


def test_media_are_linked_where_they_are(tmp_path: Path) -> None:
    root, page = tmp_path / "corpus", tmp_path / "work/reports/run"
    (root / "a b").mkdir(parents=True)
    page.mkdir(parents=True)
    for name in ("a b/1#.mp4", "2.wav"):
        (root / name).touch()
    frame = pd.DataFrame(
        [
            {"clip_id": "x", "subject": "s", "video": "a b/1#.mp4", "audio": "2.wav"},
            {"clip_id": "y", "subject": "s", "audio": "2.wav", "start": 1.5, "end": 3},
            {"clip_id": "z", "subject": "s", "video": "gone.mp4"},
            {"clip_id": "w", "subject": "s", "audio": "2.wav", "end": 3},
        ]
    )
    assert media_links(Manifest(frame), root, page) == {
        "x": "../../../corpus/a%20b/1%23.mp4",
        "y": "../../../corpus/2.wav#t=1.500,3.000",
        "w": "../../../corpus/2.wav#t=,3.000",
    }
