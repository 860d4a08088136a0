"""Wav2vec2: the network's own states, the same in any batch, from weights that are all there."""

import json
import os
import pickle
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
from hypothesis import given
from hypothesis import strategies as st
from network_makers import LAYERS, RATE, difference, least_cosine, pieces, tiny_wav2vec2
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from affectstack import AffectstackError
from extractors import wav2vec2 as module
from extractors.contract import Clip, TooShortError, check_features
from extractors.wav2vec2 import Wav2Vec2, bucketed
from extractors.weights import Card, WeightsError, card

KINDS = ("layer", "group")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a tiny network for each kind of normalisation."""
    root = tmp_path_factory.mktemp("wav2vec2")
    return {kind: tiny_wav2vec2(root / kind, kind) for kind in KINDS}


@pytest.fixture
def damaged(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a network to spoil."""
    return Path(shutil.copytree(folders["layer"], tmp_path / "damaged"))


def voice(path: Path, seconds: float = 1.0) -> Clip:
    samples = np.random.default_rng(0).normal(0.1, 0.1, round(seconds * RATE)) + tone(seconds, RATE)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return Clip("a", audio=path)


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
        assert difference(rows, alone) <= (0 if kind == "group" else 3e-5)  # 1.2e-5 without AVX-512


def test_padding_would_change_a_network_with_group_normalisation(folders: dict[str, Path]) -> None:
    """Why such networks run one clip at a time."""
    extractor = Wav2Vec2(str(folders["group"]))
    windows = pieces(16000, 4000)
    alone = extractor.embed(windows)[1]
    assert difference(extractor._embed_batch([w.data for w in windows])[1], alone) > 1e-3


def test_a_long_sound_is_cut_into_chunks_each_seen_for_itself(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    clip = voice(tmp_path / "a.wav", 2.5)
    extractor = Wav2Vec2(str(folders["layer"]), chunk=1.0)
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
    folder = tiny_wav2vec2(tmp_path / "raw", "layer", normalises=False)
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


@pytest.mark.parametrize("spec", [None, "me/mine@" + "0123456789abcdef" * 2 + "0123abcd"])
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


@pytest.mark.parametrize("length", [1.0, 2.9, 3.0, 3.1, 7.0])
def test_the_number_of_chunks_is_foreseen(folders: dict[str, Path], tmp_path: Path, length: float) -> None:
    extractor = Wav2Vec2(str(folders["layer"]), chunk=1.5)
    assert extractor.windows_in(length) == len(list(extractor.windows(voice(tmp_path / "a.wav", length))))
    assert extractor.windows_in(None) == 1


# Batches of nearly equal length

LENGTHS = st.lists(st.integers(1, 480_000), max_size=80)


@given(lengths=LENGTHS, most=st.integers(1, 40), waste=st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5, 1.0]))
def test_every_sample_is_in_one_batch_that_keeps_its_limits(
    lengths: list[int], most: int, waste: float
) -> None:
    batches = list(bucketed(lengths, most, waste))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert 1 <= len(batch) <= most
        assert padded - sum(lengths[i] for i in batch) <= waste * padded + 1e-6
    assert list(bucketed(lengths, most, waste)) == batches


@given(lengths=LENGTHS, most=st.integers(1, 40))
def test_samples_of_one_length_fill_their_batches(lengths: list[int], most: int) -> None:
    batches = list(bucketed([7] * len(lengths), most, 0.0))
    assert [len(b) for b in batches] == [
        min(most, len(lengths) - first) for first in range(0, len(lengths), most)
    ]


def test_little_of_a_mixed_store_is_padding() -> None:
    """200 clips of half a second to half a minute, looked at 32 at a time."""
    lengths = (np.random.default_rng(0).uniform(0.5, 30, 200) * RATE).astype(int)
    real = padded = count = 0
    for first in range(0, 200, Wav2Vec2.look_ahead):
        group = lengths[first : first + Wav2Vec2.look_ahead].tolist()
        for batch in bucketed(group, 32, module._WASTE):
            count += 1
            real += sum(group[i] for i in batch)
            padded += len(batch) * max(group[i] for i in batch)
    in_order = sum(32 * int(lengths[first : first + 32].max()) for first in range(0, 192, 32)) + 8 * int(
        lengths[192:].max()
    )
    print(
        f"padding {1 - real / padded:.1%} in {count} batches; {1 - real / in_order:.0%} in the clips' order"
    )
    assert 1 - real / padded < 0.05 < 0.3 < 1 - real / in_order
    assert count < 120


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_bounds_its_batches_by_their_padding(folders: dict[str, Path], kind: str) -> None:
    windows = pieces(16000, 4000, 15900, 8000, 15500, 7900)
    batches = list(Wav2Vec2(str(folders[kind])).batches(windows))
    assert batches == [[0, 2, 4], [3, 5], [1]]


# What its card says

CARD = card("wav2vec2")
QUICK = 10  # a network this small averages over fewer terms, so its errors are larger


def errors(spec: str, length: int, lengths: tuple[int, ...]) -> dict[str, float]:
    """Return what a batch, padding and bfloat16 change in the frames of a network."""
    full, half = Wav2Vec2(spec, pool="none"), Wav2Vec2(spec, pool="none")
    half.precision = "bf16"
    equal, mixed = pieces(*[length] * 3), pieces(*lengths)
    alone = [np.concatenate([full.embed([w])[0] for w in windows]) for windows in (equal, mixed)]
    found = {
        "batch": difference(np.concatenate(full.embed(equal)), alone[0]),
        "padding": difference(np.concatenate(full.embed(mixed)), alone[1]),
    }
    full._model = None  # the large one takes more than a gigabyte
    rounded = [half.embed([equal[0]])[0], half.embed([mixed[-1]])[0]]
    exact = [alone[0][: len(rounded[0])], alone[1][-len(rounded[1]) :]]
    assert all(r.dtype == np.float32 and np.isfinite(r).all() for r in rounded)
    found["bf16"] = 1 - min(least_cosine(r, e) for r, e in zip(rounded, exact, strict=True))
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of the large one's kind, an eighth as wide."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **{**module._XLSR_53, "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
           "intermediate_size": 512, "conv_dim": (64,) * 7}
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("small")
    Wav2Vec2Model(config).save_pretrained(folder)
    return str(folder)


def test_the_card_bounds_what_a_batch_padding_and_bfloat16_change(small: str) -> None:
    found = errors(small, 16000, (16000, 12345, 9001, 400))
    print(found)
    assert found["batch"] <= QUICK * CARD.batch_tolerance
    assert found["padding"] <= QUICK * CARD.padding_tolerance
    assert found["bf16"] <= QUICK * (1 - CARD.bf16_cosine)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_card_is_what_is_measured_at_full_size() -> None:
    found = errors("random", 2 * RATE, (2 * RATE, 27000, 17000, 8000))
    stored = {"batch": CARD.batch_tolerance, "padding": CARD.padding_tolerance, "bf16": 1 - CARD.bf16_cosine}
    print({k: f"{found[k]:.2g} of {stored[k]:.2g}" for k in stored})
    for name, value in found.items():
        assert value <= stored[name], name
        assert value == 0 or stored[name] <= 10 * value, name


def test_the_precision_is_part_of_the_identity(folders: dict[str, Path]) -> None:
    extractor = Wav2Vec2(str(folders["layer"]))
    before = extractor.identity()
    extractor.precision = "bf16"
    assert {k for k, v in extractor.identity().items() if before[k] != v} == {"precision"}


@pytest.mark.parametrize(("cosine", "allowed"), [(0.0, False), (0.99, True)])
def test_bfloat16_is_allowed_where_the_card_holds_a_measurement(
    monkeypatch: pytest.MonkeyPatch, cosine: float, allowed: bool
) -> None:
    found = Card("net", "Net", "https://example.org", "weights/net", "MIT", bf16_cosine=cosine)
    monkeypatch.setattr(module, "card", lambda name: found)
    assert Wav2Vec2("random").allows_bf16 is allowed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [-1, 1, "conv"])
@pytest.mark.parametrize("pool", ["none", "mean", "max"])
def test_features_in_bfloat16_are_finite_float32(
    folders: dict[str, Path], kind: str, layer: Any, pool: Literal["none", "mean", "max"]
) -> None:
    extractor = Wav2Vec2(str(folders[kind]), layer=layer, pool=pool)
    extractor.precision = "bf16"
    for rows in extractor.embed(pieces(16000, 4000)):
        assert (rows.dtype, rows.ndim, np.isfinite(rows).all()) == (np.float32, 2, True)


@pytest.mark.parametrize(("kind", "sizes"), [("layer", [3]), ("group", [1, 1, 1])])
def test_networks_with_group_normalisation_run_one_clip_at_a_time(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str, sizes: list[int]
) -> None:
    extractor, seen = Wav2Vec2(str(folders[kind])), []
    plain = extractor._embed_batch
    monkeypatch.setattr(extractor, "_embed_batch", lambda pieces: seen.append(len(pieces)) or plain(pieces))
    assert len(extractor.embed(pieces(4000, 4000, 3000))) == 3
    assert seen == sizes


def test_a_copy_in_another_process_cuts_windows_without_the_network(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor, clip = Wav2Vec2(str(folders["layer"])), voice(tmp_path / "a.wav")
    extractor.prepare()
    sent = pickle.dumps(extractor)
    monkeypatch.setattr(
        Wav2Vec2, "_from_pretrained", lambda *args, **options: pytest.fail("asks for weights")
    )
    copy = pickle.loads(sent)
    assert copy._model is None
    (found,), (expected,) = copy.windows(clip), extractor.windows(clip)
    np.testing.assert_array_equal(found.data, expected.data)


@pytest.mark.realdata
def test_a_real_voice_becomes_frames(folders: dict[str, Path], real_data: Path) -> None:
    path = real_data / "ravdess_speech_16k/Actor_01/03-01-01-01-01-01-01.flac"
    found = Wav2Vec2(str(folders["layer"]), pool="none").extract(Clip("a", audio=path))
    assert len(found.values) == (soundfile.info(path).frames - 400) // 320 + 1
