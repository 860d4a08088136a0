"""Fine-tuned encoders predict new clips as they predicted their test clips."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.append(str(Path(__file__).parents[1] / "finetuning"))
import speakers

from extractors import Clip, Features
from pipeline import Predictor, posteriors
from pipeline.extract import extract
from pipeline.finetune import Modality, finetune
from pipeline.predicting.recordings import PredictError
from pipeline.predicting.sources import HeadSource, TunedSource
from pipeline.train_heads import train_heads

pytestmark = pytest.mark.slow  # trains an experiment first

CLIP = "s1-low-0"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with a fine-tuned encoder, which is a source by itself and makes features."""
    folder = tmp_path_factory.mktemp("tuned") / "tones"
    speakers.write_corpus(folder)
    experiment = folder / "experiment.yaml"
    assert finetune(Modality("audio"), experiment=experiment) == 0
    assert extract(experiment=experiment, workers=1) == 0
    assert train_heads(experiment=experiment, workers=1) == 0
    return experiment


@pytest.mark.parametrize("source", ["speech", "emb-log"])
def test_a_fold_gives_the_posteriors_that_are_stored(tuned: Path, source: str) -> None:
    table = posteriors.read(tuned.parent / "posteriors" / f"{source}.parquet")
    (fold,) = [k for k in range(2) if CLIP in table.part("test", k)[0]]
    clips, stored = table.part("test", fold)
    with Predictor(tuned, workers=1) as predictor:
        clip = Clip("recording", None, tuned.parent / "media" / f"{CLIP}.wav")
        (found,) = predictor._reader.features([clip], predictor._wanted)
        (own,) = [s for s in predictor._sources.values() if s.name == source]
    if isinstance(own, HeadSource):
        made = own._of_fold(fold, [found])[0]
    else:
        assert isinstance(own, TunedSource)
        logits = found[source]
        assert isinstance(logits, Features) and logits.values.shape == (1, 4)
        of_fold = np.exp(logits.values[0, 2 * fold : 2 * fold + 2].astype(np.float64))
        made = of_fold / of_fold.sum()
    np.testing.assert_allclose(made, stored[clips.index(CLIP)], atol=1e-5)


def test_both_are_averaged_over_folds_and_fused(tuned: Path, tmp_path: Path) -> None:
    tone = 0.2 * np.sin(2 * np.pi * 900 * np.arange(8000) / speakers.RATE)
    soundfile.write(tmp_path / "new.wav", tone, speakers.RATE)
    soundfile.write(tmp_path / "short.wav", tone[:300], speakers.RATE)
    with Predictor(tuned, workers=1) as predictor:
        prediction = predictor.predict(tmp_path / "new.wav")
        with pytest.raises(PredictError, match=r"speech: .* samples; .* needs"):
            predictor.predict(tmp_path / "short.wav")
        (found,) = predictor._reader.features([Clip("c", None, tmp_path / "new.wav")], predictor._wanted)
    assert prediction.timeline[0].sources == ("emb-log", "speech")
    assert prediction.used == ("audio",)
    logits = found["speech"]
    assert isinstance(logits, Features)
    shares = np.exp(logits.values.astype(np.float64).reshape(2, 2))
    mean = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    (speech,) = [s for s in prediction.sources if s.name == "speech"]
    assert speech.posteriors == pytest.approx(
        dict(zip(speakers.CLASSES, mean.tolist(), strict=True)), rel=1e-5
    )


def test_an_encoder_that_lacks_its_head_is_left_out(tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned.parent, tmp_path / "copy")
    head = tmp_path / "copy/models/speech/fold1/head.safetensors"
    head.write_bytes(head.read_bytes()[:100])
    tone = 0.2 * np.sin(2 * np.pi * 900 * np.arange(8000) / speakers.RATE)
    soundfile.write(tmp_path / "new.wav", tone, speakers.RATE)
    with Predictor(tmp_path / "copy" / "experiment.yaml", workers=1) as predictor:
        prediction = predictor.predict(tmp_path / "new.wav")
    assert prediction.timeline[0].sources == ("emb-log",)
    (speech,) = [s for s in prediction.sources if s.name == "speech"]
    assert "not the head of a fine-tuned encoder" in speech.reason
