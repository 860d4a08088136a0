"""Wav2vec2: the network's own states, the same in any batch, from weights that are all there."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
import torch
from clip_makers import tone, write_clip
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, Wav2Vec2Model

from affectstack import AffectstackError
from extractors.contract import Clip, TooShortError, Window, check_features
from extractors.wav2vec2 import Wav2Vec2
from extractors.weights import WeightsError

RATE = 16000
LAYERS = 3
KINDS = ("layer", "group")


def checkpoint(folder: Path, norm: str, normalises: bool = True) -> Path:
    """Write a tiny network for speech recognition with the usual convolutions, as the hub holds it."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, conv_bias=norm == "layer", feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        vocab_size=8,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a tiny network for each kind of normalisation."""
    root = tmp_path_factory.mktemp("wav2vec2")
    return {kind: checkpoint(root / kind, kind) for kind in KINDS}


@pytest.fixture
def damaged(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a network to spoil."""
    return Path(shutil.copytree(folders["layer"], tmp_path / "damaged"))


def voice(path: Path, seconds: float = 1.0) -> Clip:
    samples = np.random.default_rng(0).normal(0.1, 0.1, round(seconds * RATE)) + tone(seconds, RATE)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return Clip("a", audio=path)


def pieces(*lengths: int) -> list[Window]:
    dice = np.random.default_rng(0)
    return [Window(dice.normal(size=n).astype(np.float32), 0.0, n / RATE) for n in lengths]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference relative to the largest value."""
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.abs(other).max())


def reference(folder: Path, clip: Clip, layer: int | str) -> np.ndarray:
    """Return what transformers says about a whole clip."""
    samples, _ = soundfile.read(clip.need_sound(), dtype="float32")
    prepared = Wav2Vec2FeatureExtractor.from_pretrained(folder)(
        samples, sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        out = Wav2Vec2Model.from_pretrained(folder).eval()(prepared.input_values, output_hidden_states=True)
    # In transformers 5 the last of the hidden states lacks the encoder's closing normalisation.
    states = [*out.hidden_states[:-1], out.last_hidden_state]
    return np.asarray((out.extract_features if layer == "conv" else states[int(layer)])[0])


@pytest.mark.parametrize(
    ("samples", "frames"), [(400, 1), (719, 1), (720, 2), (16000, 49), (48000, 149), (59040, 184)]
)
def test_frames_follow_the_length_formula(folders: dict[str, Path], samples: int, frames: int) -> None:
    """SYSTEMS 2.2: floor((N - 400) / 320) + 1; three seconds are 149."""
    (rows,) = Wav2Vec2(str(folders["layer"]), pool="none").embed(pieces(samples))
    assert len(rows) == frames == (samples - 400) // 320 + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 1, -2, -LAYERS - 1, "conv"])
def test_a_layer_is_that_state_of_the_network(
    folders: dict[str, Path], tmp_path: Path, kind: str, layer: int | Literal["conv"]
) -> None:
    clip = voice(tmp_path / "a.wav")
    extractor = Wav2Vec2(str(folders[kind]), layer=layer, pool="none")
    found = extractor.extract(clip)
    check_features(found, 8 if layer == "conv" else 16)
    assert extractor.dim == found.values.shape[1]
    assert difference(found.values, reference(folders[kind], clip, layer)) < 1e-4


@pytest.mark.parametrize("kind", ["layer", "group"])
@pytest.mark.parametrize("layer", [-1, LAYERS])
def test_the_last_layer_is_the_last_hidden_state(
    folders: dict[str, Path], tmp_path: Path, kind: str, layer: int
) -> None:
    """SYSTEMS 2.2 pools it."""
    clip = voice(tmp_path / "a.wav")
    found = Wav2Vec2(str(folders[kind]), layer=layer, pool="none").extract(clip).values
    assert difference(found, reference(folders[kind], clip, layer)) < 1e-4


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_pool_is_that_of_the_frames(
    folders: dict[str, Path], tmp_path: Path, pool: Literal["mean", "max"]
) -> None:
    clip = voice(tmp_path / "a.wav", 1.7)
    frames = Wav2Vec2(str(folders["layer"]), pool="none").extract(clip).values
    found = Wav2Vec2(str(folders["layer"]), pool=pool).extract(clip)
    np.testing.assert_allclose(found.values[0], getattr(np, pool)(frames, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.intervals, [[0, 1.7]])


def test_frames_lie_twenty_milliseconds_apart_and_cover_what_they_see(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    found = Wav2Vec2(str(folders["layer"]), pool="none").extract(voice(tmp_path / "a.wav"))
    np.testing.assert_allclose(found.intervals[:, 0], np.arange(49) * 0.02)
    np.testing.assert_allclose(found.intervals[:, 1] - found.intervals[:, 0], 0.025)
    assert found.intervals[-1, 1] <= 1.0


@pytest.mark.parametrize("pool", ["none", "mean"])
@pytest.mark.parametrize("layer", [-1, 1, "conv"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_has_the_same_values_in_any_batch(
    folders: dict[str, Path], kind: str, layer: Any, pool: Literal["none", "mean"]
) -> None:
    extractor = Wav2Vec2(str(folders[kind]), layer=layer, pool=pool)
    windows = pieces(16000, 4000, 400, 23456, 9001)
    together = extractor.embed(windows)
    for window, rows in zip(windows, together, strict=True):
        (alone,) = extractor.embed([window])
        assert difference(rows, alone) <= (0 if kind == "group" else 1e-5)


def test_padding_would_change_a_network_with_group_normalisation(folders: dict[str, Path]) -> None:
    """Why such networks run one clip at a time."""
    extractor = Wav2Vec2(str(folders["group"]))
    windows = pieces(16000, 4000)
    alone = extractor.embed(windows)[1]
    assert difference(extractor._embed_batch([w.data for w in windows])[1], alone) > 1e-3


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_long_sound_is_cut_into_chunks_each_seen_for_itself(
    folders: dict[str, Path], tmp_path: Path, batch: int
) -> None:
    clip = voice(tmp_path / "a.wav", 2.5)
    extractor = Wav2Vec2(str(folders["layer"]), chunk=1.0)
    extractor.batch = batch
    found = extractor.extract(clip)
    np.testing.assert_allclose(found.intervals, [[0, 1], [1, 2], [2, 2.5]])
    for row, (start, end) in zip(found.values, found.intervals, strict=True):
        alone = extractor.extract(Clip("a", audio=clip.audio, start=start, end=end))
        assert difference(row, alone.values[0]) < 1e-5
        np.testing.assert_allclose(alone.intervals, [[start, end]])


def test_frames_of_chunks_keep_their_times(folders: dict[str, Path], tmp_path: Path) -> None:
    extractor = Wav2Vec2(str(folders["layer"]), chunk=1.0, pool="none")
    found = extractor.extract(voice(tmp_path / "a.wav", 2.5))
    assert len(found.values) == 49 + 49 + 24
    np.testing.assert_allclose(found.intervals[[0, 49, 98], 0], [0, 1, 2])
    assert (np.diff(found.intervals[:, 0]) > 0).all()


def test_a_last_chunk_shorter_than_one_frame_is_left_out(folders: dict[str, Path], tmp_path: Path) -> None:
    clip = voice(tmp_path / "a.wav", 1 + 399 / RATE)
    assert len(Wav2Vec2(str(folders["layer"]), chunk=1.0).extract(clip).values) == 1


def test_late_sound_has_late_rows(folders: dict[str, Path], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 25, sound=[(0.5, tone(1, RATE))], sound_codec="flac")
    found = Wav2Vec2(str(folders["layer"])).extract(Clip("a", video=path))
    np.testing.assert_allclose(found.intervals, [[0.5, 1.5]], atol=1e-3)


@pytest.mark.parametrize("samples", [1, 399])
def test_less_than_one_frame_is_too_short(folders: dict[str, Path], tmp_path: Path, samples: int) -> None:
    with pytest.raises(TooShortError, match=f"^{samples} samples; wav2vec2 needs 400$"):
        Wav2Vec2(str(folders["layer"])).extract(voice(tmp_path / "a.wav", samples / RATE))


def test_silence_gives_finite_values(folders: dict[str, Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    check_features(Wav2Vec2(str(folders["layer"])).extract(Clip("a", audio=tmp_path / "a.wav")), 16)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_loudness_is_normalised_away_as_the_network_was_trained(
    folders: dict[str, Path], tmp_path: Path, scale: float
) -> None:
    clip = voice(tmp_path / "a.wav")
    samples, _ = soundfile.read(clip.need_sound())
    soundfile.write(tmp_path / "b.wav", scale * samples, RATE, subtype="FLOAT")
    extractor = Wav2Vec2(str(folders["layer"]))
    found = extractor.extract(Clip("b", audio=tmp_path / "b.wav")).values
    np.testing.assert_allclose(found, extractor.extract(clip).values, atol=1e-3)


def test_a_network_trained_on_raw_sound_gets_raw_sound(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "raw", "layer", normalises=False)
    clip = voice(tmp_path / "a.wav")
    extractor = Wav2Vec2(str(folder), layer=1, pool="none")
    assert extractor.identity()["normalised"] is False
    assert difference(extractor.extract(clip).values, reference(folder, clip, 1)) < 1e-4


def test_identity_follows_the_weights(folders: dict[str, Path], damaged: Path) -> None:
    before = Wav2Vec2(str(damaged)).identity()
    assert before["weights_sha256"] == Wav2Vec2(str(folders["layer"])).identity()["weights_sha256"]
    assert before["weights_sha256"] != Wav2Vec2(str(folders["group"])).identity()["weights_sha256"]
    assert str(damaged.parent) not in json.dumps(before)


def test_local_weights_need_no_network(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    extractor = Wav2Vec2(str(folders["layer"]))
    extractor.identity()
    extractor.extract(voice(tmp_path / "a.wav"))


@pytest.mark.parametrize("layer", [LAYERS + 1, 99, -LAYERS - 2])
def test_a_layer_that_the_network_lacks_is_refused(folders: dict[str, Path], layer: int) -> None:
    with pytest.raises(AffectstackError, match=f"layer {layer}; this network has 0 to {LAYERS}"):
        _ = Wav2Vec2(str(folders["layer"]), layer=layer).feature_names


def test_a_layer_that_the_random_network_lacks_is_refused() -> None:
    with pytest.raises(AffectstackError, match="layer 99; this network has 0 to 24"):
        _ = Wav2Vec2("random", layer=99).feature_names


def test_chunks_under_a_second_are_refused() -> None:
    with pytest.raises(AffectstackError, match=r"^wav2vec2: chunk 0\.5; expected at least 1 second$"):
        Wav2Vec2("random", chunk=0.5)


def test_random_weights_have_the_shape_of_xlsr_53_and_admit_it() -> None:
    extractor = Wav2Vec2("random")
    assert extractor.untrained
    assert extractor.dim == 1024
    assert Wav2Vec2("random", layer="conv").dim == 512
    assert extractor.identity()["seed"] == 0


def test_random_weights_are_those_of_their_seed_and_leave_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    monkeypatch.setattr(
        "extractors.wav2vec2._XLSR_53", {**tiny, "conv_dim": (8,) * 7, "feat_extract_norm": "layer"}
    )
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    rows = [Wav2Vec2("random", seed=s).embed(pieces(4000))[0] for s in (0, 0, 1)]
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.abs(rows[2] - rows[0]).max() > 1e-3


@pytest.mark.parametrize("spec", ["facebook/wav2vec2-base", "me/mine"])
def test_a_hub_id_without_a_revision_is_refused(spec: str) -> None:
    with pytest.raises(WeightsError, match=rf"{spec} does not exist and is no pinned hub id \(org/name@"):
        Wav2Vec2(spec).prepare()


@pytest.mark.parametrize("spec", ["weights/of/none", "none.safetensors", "weights/none.pt"])
def test_a_path_that_is_not_there_says_where_to_get_the_weights(spec: str) -> None:
    with pytest.raises(WeightsError) as caught:
        Wav2Vec2(spec).prepare()
    for part in (
        f"{spec} does not exist", "https://huggingface.co/jonatasgrosman/", "Apache-2.0",
        "put it at weights/wav2vec2-large-xlsr-53-english", "weights: random",
    ):  # fmt: skip
        assert part in str(caught.value)


def test_the_place_that_the_card_names_says_where_to_get_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"does not exist.*https://huggingface.co/jonatasgrosman/"):
        Wav2Vec2("weights/wav2vec2-large-xlsr-53-english").prepare()


@pytest.mark.parametrize("spec", [None, "me/mine@0123abc"])
def test_weights_on_the_hub_say_how_to_get_them_when_offline(
    spec: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot load .* put it at weights/"):
        Wav2Vec2(spec).prepare()


def without_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("spoil", [without_model, without_config])
def test_an_incomplete_folder_is_refused(damaged: Path, spoil: Callable[[Path], None]) -> None:
    spoil(damaged)
    with pytest.raises(
        WeightsError, match=r"cannot load .*The folder must hold config\.json and model\.safetensors"
    ):
        Wav2Vec2(str(damaged)).prepare()


def test_a_folder_without_a_preprocessor_is_normalised_as_the_library_does(damaged: Path) -> None:
    (damaged / "preprocessor_config.json").unlink()
    assert Wav2Vec2(str(damaged)).identity()["normalised"] is True


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def test_weights_with_missing_keys_are_refused(damaged: Path) -> None:
    change(damaged, lambda state: [state.pop(k) for k in list(state) if "layers.1." in k] and None)
    with pytest.raises(WeightsError, match="missing"):
        Wav2Vec2(str(damaged)).prepare()


def test_weights_of_another_shape_are_refused(damaged: Path) -> None:
    name = "wav2vec2.encoder.layers.0.feed_forward.intermediate_dense.weight"
    change(damaged, lambda state: state.update({name: torch.zeros(3, 3)}))
    with pytest.raises(WeightsError):
        Wav2Vec2(str(damaged)).prepare()


@pytest.mark.parametrize("content", [b"", b"notes " * 99, None], ids=["empty", "text", "cut"])
def test_a_damaged_weights_file_is_refused(damaged: Path, content: bytes | None) -> None:
    path = damaged / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(WeightsError):
        Wav2Vec2(str(damaged)).prepare()


def test_a_damaged_preprocessor_is_refused(damaged: Path) -> None:
    (damaged / "preprocessor_config.json").write_text("{")
    with pytest.raises(WeightsError):
        Wav2Vec2(str(damaged)).identity()


class Payload:
    """Makes a folder when it is unpickled: the harmless form of an attack."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def test_code_in_a_pickled_checkpoint_never_runs(damaged: Path, tmp_path: Path) -> None:
    without_model(damaged)
    torch.save({"a": Payload(tmp_path / "canary")}, damaged / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights"):
        Wav2Vec2(str(damaged)).prepare()
    assert not (tmp_path / "canary").exists()


def test_code_in_a_pickled_checkpoint_is_refused_readably(damaged: Path, tmp_path: Path) -> None:
    without_model(damaged)
    torch.save({"a": Payload(tmp_path / "canary")}, damaged / "pytorch_model.bin")
    with pytest.raises(WeightsError):
        Wav2Vec2(str(damaged)).prepare()


def test_code_that_a_folder_brings_never_runs(damaged: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    config = json.loads((damaged / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (damaged / "config.json").write_text(json.dumps(config))
    (damaged / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    extractor = Wav2Vec2(str(damaged))
    extractor.identity()
    extractor.prepare()
    assert not canary.exists()


@pytest.mark.realdata
def test_a_real_voice_becomes_frames(folders: dict[str, Path], real_data: Path) -> None:
    path = real_data / "ravdess_speech_16k/Actor_01/03-01-01-01-01-01-01.flac"
    found = Wav2Vec2(str(folders["layer"]), pool="none").extract(Clip("a", audio=path))
    assert len(found.values) == (soundfile.info(path).frames - 400) // 320 + 1
