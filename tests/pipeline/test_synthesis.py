from pathlib import Path

import av
import numpy as np
import pytest

from extractors.openface import AU_COLUMNS
from manifests import CORPORA
from manifests.ravdess import EMOTIONS
from pipeline import synthesis


def test_action_units_stay_in_range_and_presences_follow_intensities() -> None:
    units = synthesis.action_units("surprised", np.random.default_rng(0))
    assert units.shape == (55, 35)
    assert units[:, :17].min() >= 0
    assert units[:, :17].max() <= 5
    present = units[:, AU_COLUMNS.index("AU26_c")]
    np.testing.assert_array_equal(present, units[:, AU_COLUMNS.index("AU26_r")] > 1)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    first = synthesis.voice("happy", 150, np.random.default_rng(3))
    np.testing.assert_array_equal(first, synthesis.voice("happy", 150, np.random.default_rng(3)))
    assert not np.array_equal(first, synthesis.voice("happy", 150, np.random.default_rng(4)))


def test_an_angry_voice_is_louder_than_a_calm_one() -> None:
    def level(emotion: str) -> float:
        takes = [synthesis.voice(emotion, 150, np.random.default_rng(i)) for i in range(10)]
        return float(np.mean([np.sqrt(np.mean(t**2)) for t in takes]))

    assert level("angry") > 2 * level("calm")


@pytest.mark.slow
def test_a_corpus_is_real_media_in_ravdess_layout(tmp_path: Path) -> None:
    assert synthesis.write_corpus(tmp_path, actors=2, workers=2) == 2 * 2 * len(EMOTIONS)
    reading = CORPORA["ravdess"]().read(tmp_path)
    assert len(reading.manifest) == 32
    assert reading.notes == []
    assert "synthetic" in (tmp_path / "SYNTHETIC.md").read_text()
    first = tmp_path / reading.manifest.frame["video"].iloc[0]
    with av.open(str(first)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert sum(1 for _ in container.decode(video=0)) == 55
    assert len(list((tmp_path / "openface").glob("*.csv"))) == 32
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")}
    synthesis.write_corpus(tmp_path, actors=2, workers=1)
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")}
