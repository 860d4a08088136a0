"""A corpus of tones: the pitch is the class, the loudness the speaker; and a small encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
import yaml
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

CLASSES = ("high", "low")
SUBJECTS = tuple(f"s{i}" for i in range(6))
RATE = 16000


def write_encoder(folder: Path, **changes: Any) -> Path:
    """Write an untrained encoder an eightieth as wide as the real one."""
    config = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": (16,) * 7, "conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**{**config, **changes})).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_corpus(folder: Path, takes: int = 3) -> None:
    """Write the clips, their manifest, an encoder and an experiment."""
    rng = np.random.default_rng(0)
    rows = []
    (folder / "media").mkdir(parents=True)
    for number, subject in enumerate(SUBJECTS):
        for label in CLASSES:
            for take in range(takes):
                times = np.arange(int(RATE * rng.uniform(0.3, 0.6))) / RATE
                tone = np.sin(2 * np.pi * (900 if label == "high" else 200) * times * rng.uniform(0.95, 1.05))
                sound = 0.1 * (number + 1) * tone + 0.02 * rng.normal(size=len(times))
                name = f"{subject}-{label}-{take}"
                soundfile.write(folder / "media" / f"{name}.wav", sound.astype(np.float32), RATE)
                rows.append({"clip_id": name, "subject": subject, "audio": f"{name}.wav", "pitch": label})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    write_encoder(folder / "small")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment()), encoding="utf-8")


def experiment(**tuning: Any) -> dict[str, Any]:
    """Return an experiment that fine-tunes for a few steps."""
    speech = {
        "modality": "audio",
        "weights": "small",
        "epochs": 2,
        "lr": 0.003,
        "eval_every": 2,
        "save_every": 2,
    }
    return {
        "manifest": "manifest.csv",
        "root": "media",
        "label": "pitch",
        "classes": list(CLASSES),
        "folds": {"by": "subject", "k": 2, "seed": 0},
        "inner_folds": 2,
        "finetune": {"speech": {**speech, **tuning}},
        "features": {
            "emb": {"modality": "audio", "extractor": "wav2vec2", "finetuned": "speech", "pool": "mean"}
        },
        "heads": {"emb-log": {"features": "emb", "head": "logistic"}},
        "fusion": {"method": "logpool", "stacking": "cross-fitted"},
    }
