"""The networks as functions: PySlowFast's own, and the same function however fast they are made to run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from network_makers import as_fed, difference, enliven, narrow, pictures, slow_of
from torch import nn

from extractors.networks.body import Body
from extractors.networks.config import NetworkConfig, parse_config
from extractors.networks.loading import build
from extractors.networks.mvit import MViTBody, _between
from extractors.networks.names import feature_names
from extractors.networks.paired import PairedFrames
from extractors.networks.resnets import ResNetBody, slow_frames
from extractors.networks.x3d import X3DBody, round_width
from extractors.networks.zoo import ZOO, zoo_config
from extractors.weights import Weights

SIDE = 64
CPU = torch.device("cpu")
KINDS = ["slowfast_8x8_r50", "slow_8x8_r50", "i3d_r50", "x3d_s", "mvit_v2_s"]


def lively(name: str, **data: int) -> tuple[Body, NetworkConfig]:
    config = narrow(name, TRAIN_CROP_SIZE=SIDE, **data)
    return enliven(build(config, Weights(), 0), config.DATA.NUM_FRAMES, SIDE), config


def features(body: Body, clip: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return body.pool(body(body.pathways(clip))).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_made_fast_it_is_the_same_function(name: str) -> None:
    body, config = lively(name)
    clip = as_fed(pictures(2, SIDE, config.DATA.NUM_FRAMES))
    expected = features(body, clip)
    assert expected.shape == (2, len(feature_names(config)))
    body.requires_grad_(False).quicken(CPU)
    body.to(memory_format=torch.channels_last_3d)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in body.modules())
    assert difference(features(body, clip), expected) < 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_the_batch_changes_no_clip(name: str) -> None:
    body, config = lively(name)
    clip = as_fed(pictures(3, SIDE, config.DATA.NUM_FRAMES))
    alone = np.concatenate([features(body, clip[i : i + 1]) for i in range(3)])
    assert difference(features(body, clip), alone) < 1e-4
    assert difference(alone[:1], alone[1:2]) > 1e-3


@pytest.mark.parametrize("name", ZOO)
def test_the_width_is_known_before_the_network_is_built(name: str) -> None:
    asked = {"slow": 2048, "i3d": 2048, "x3d": 2048, "mvit": 768, "slowfast": 2304}
    assert len(feature_names(zoo_config(name))) == asked[zoo_config(name).arch]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "keys"),
    [("slowfast_8x8_r50", "SLOWFAST_8x8_R50"), ("x3d_s", "X3D_S"), ("x3d_m", "X3D_M"), ("x3d_l", "X3D_L"),
     ("mvit_v2_s", "MVITv2_S_16x4"), ("mvit_v2_b", "MVITv2_B_32x3")],
)  # fmt: skip
def test_a_network_has_the_parameters_of_the_model_zoo(real_data: Path, name: str, keys: str) -> None:
    zoo = json.loads((real_data / f"zoo_keys/{keys}.json").read_text())
    ours = {k: list(v.shape) for k, v in build(zoo_config(name), Weights(), 0).model.state_dict().items()}
    assert ours == zoo


# ResNets


def test_the_head_of_a_resnet_pools_overlapping_parts_of_a_larger_picture() -> None:
    """Of a picture larger than the crop it was trained on, as PySlowFast's own head sees it."""
    body, seen = lively("slowfast_8x8_r50")[0], []
    body.model.head.projection.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    clip = as_fed(pictures(1, 96))
    with torch.no_grad():
        body.model([clip[:, :, slow_of(32)], clip])
        maps = body(body.pathways(clip))
    found = features(body, clip)
    assert difference(found, seen[0].mean(dim=(1, 2, 3)).numpy()) < 1e-4
    plain = torch.cat([m.mean(dim=(2, 3, 4)) for m in maps], dim=1).numpy()
    assert difference(found, plain) > 1e-3  # a plain mean is another function


def test_a_resnet_on_one_pathway_is_what_pyslowfast_gives_to_its_projection() -> None:
    for name in ("slow_8x8_r50", "i3d_r50"):
        body, seen = lively(name)[0], []
        body.model.head.projection.register_forward_pre_hook(lambda _, given, s=seen: s.append(given[0]))
        clip = as_fed(pictures(1, SIDE, 8))
        with torch.no_grad():
            body.model([clip])
        assert difference(features(body, clip), seen[0].mean(dim=(1, 2, 3)).numpy()) < 1e-4


def test_a_picture_smaller_than_what_the_head_pools_is_averaged_whole() -> None:
    body, _ = lively("slowfast_8x8_r50")
    clip = as_fed(pictures(1, 32))
    with torch.no_grad():
        maps = body(body.pathways(clip))
    expected = torch.cat([m.mean(dim=(2, 3, 4)) for m in maps], dim=1).numpy()
    assert difference(features(body, clip), expected) < 1e-6


def test_non_local_blocks_are_built_where_the_configuration_has_them() -> None:
    where = {"LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]], "GROUP": [[1]] * 4, "POOL": [[[1, 2, 2]]] * 4}
    config = parse_config(
        {"MODEL": {"ARCH": "i3d"}, "RESNET": {"WIDTH_PER_GROUP": 8}, "NONLOCAL": where}, "x"
    )
    names = [n for n, _ in ResNetBody(config).model.named_modules() if n.endswith("conv_theta")]
    assert names == [
        f"s{s}.pathway0_nonlocal{i}.conv_theta" for s, i in ((3, 1), (3, 3), (4, 1), (4, 3), (4, 5))
    ]


@pytest.mark.parametrize("frames", [4, 8])
def test_two_frames_at_once_are_the_same_function(frames: int) -> None:
    conv = nn.Conv3d(3, 8, (5, 7, 7), (1, 2, 2), (2, 3, 3)).requires_grad_(False)
    x = torch.randn(2, 3, frames, 20, 24).contiguous(memory_format=torch.channels_last_3d)
    expected, found = conv(x), PairedFrames(conv)(x)
    assert found.shape == expected.shape == (2, 8, frames, 10, 12)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_first_layer_of_the_fast_pathway_makes_two_frames_at_once_on_a_cpu() -> None:
    for device, names in ((CPU, ["model.s1.pathway1_stem.conv"]), (torch.device("cuda"), [])):
        body = lively("slowfast_8x8_r50")[0].requires_grad_(False)
        body.quicken(device)
        assert [n for n, m in body.named_modules() if isinstance(m, PairedFrames)] == names


def test_the_slow_pathway_sees_eight_frames_from_the_first_to_the_last() -> None:
    assert slow_frames(32, 4).tolist() == slow_of(32)


# X3D


@pytest.mark.parametrize(
    ("width", "factor", "expected"),
    [(12, 2.0, 24), (24, 1.0, 24), (54, 0.0625, 8), (432, 0.0625, 32), (13, 1.0, 16), (10, 1.0, 16)],
)
def test_widths_are_multiples_of_eight(width: int, factor: float, expected: int) -> None:
    assert round_width(width, factor) == expected


def test_a_checkpoint_with_widths_that_were_not_rounded_decides(tmp_path: Path) -> None:
    document = {
        "MODEL": {"ARCH": "x3d"},
        "RESNET": {"TRANS_FUNC": "x3d_transform"},
        "X3D": {"WIDTH_FACTOR": 0.5},
    }
    config = parse_config(document, "x")
    assert X3DBody(config, 6).model.s1["pathway0_stem"].conv.in_channels == 6
    assert X3DBody(config, 8).model.s1["pathway0_stem"].conv.in_channels == 8
    assert X3DBody(config).model.s1["pathway0_stem"].conv.in_channels == 8


def test_the_last_hidden_layer_may_be_normalised() -> None:
    config = narrow("x3d_s", TRAIN_CROP_SIZE=SIDE)
    config = config.model_copy(update={"X3D": config.X3D.model_copy(update={"BN_LIN5": True})})
    body = enliven(build(config, Weights(), 0), 13, SIDE)
    clip = as_fed(pictures(1, SIDE, 13))
    expected = features(body, clip)
    body.requires_grad_(False).quicken(CPU)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in body.modules())
    assert difference(features(body, clip), expected) < 1e-4


# MViT


def by_hand(queries: int, keys: int, table: torch.Tensor) -> torch.Tensor:
    """Return what the distance of every pair is worth, counted on the finer of both grids."""
    out = torch.zeros(queries, keys, table.shape[1])
    for q in range(queries):
        for k in range(keys):
            fine_q, fine_k = q * max(keys / queries, 1.0), k * max(queries / keys, 1.0)
            out[q, k] = table[int(fine_q - fine_k + (keys - 1) * max(queries / keys, 1.0))]
    return out


@pytest.mark.parametrize(("queries", "keys"), [(8, 8), (8, 2), (4, 1), (7, 7), (2, 8)])
def test_relative_positions_are_those_of_every_pair(queries: int, keys: int) -> None:
    table = torch.randn(2 * max(queries, keys) - 1, 3)
    torch.testing.assert_close(_between(table, queries, keys), by_hand(queries, keys, table))


def test_attention_is_the_sum_of_products_and_positions() -> None:
    """The one-hot places against a map of all pairs, as the papers write it."""
    body, _ = lively("mvit_v2_s")
    attention = body.model.blocks[0].attn
    grid = (8, 16, 16)
    x = torch.randn(1, 1 + 8 * 16 * 16, 8)
    with torch.no_grad():
        found, after = attention(x, grid)
        (q, grid_q), (k, grid_k), (v, _) = (
            attention._pooled(n, nn.functional.linear(x, w, b), grid)
            for n, w, b in zip("qkv", attention.qkv.weight.split(8), attention.qkv.bias.split(8), strict=True)
        )
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        r = q[:, :, 1:].unflatten(2, grid_q)
        tables = [
            by_hand(a, b, getattr(attention, f"rel_pos_{n}"))
            for n, a, b in zip("thw", grid_q, grid_k, strict=True)
        ]
        more = (
            torch.einsum("bnthwc,tkc->bnthwk", r, tables[0])[..., :, None, None]
            + torch.einsum("bnthwc,hkc->bnthwk", r, tables[1])[..., None, :, None]
            + torch.einsum("bnthwc,wkc->bnthwk", r, tables[2])[..., None, None, :]
        )
        scores[:, :, 1:, 1:] += more.flatten(5).flatten(2, 4)
        out = scores.softmax(dim=-1) @ v
        out[:, :, 1:] += q[:, :, 1:]
        expected = attention.proj(out.transpose(1, 2).flatten(2))
    assert after == grid_q == grid
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_positions_trained_on_another_size_are_interpolated() -> None:
    body, config = lively("mvit_v2_s")
    clip = as_fed(pictures(1, 96, config.DATA.NUM_FRAMES))
    assert np.isfinite(features(body, clip)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"USE_ABS_POS": True, "SEP_POS_EMBED": True, "REL_POS_SPATIAL": False, "REL_POS_TEMPORAL": False},
        {"USE_ABS_POS": True, "REL_POS_SPATIAL": False, "REL_POS_TEMPORAL": False, "DIM_MUL_IN_ATT": False},
        {"CLS_EMBED_ON": False}, {"USE_MEAN_POOLING": True}, {"RESIDUAL_POOLING": False}, {"QKV_BIAS": False},
        {"REL_POS_TEMPORAL": False}, {"POOL_KVQ_KERNEL": None}, {"POOL_Q_STRIDE": [[1, 1, 2, 2]]},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_the_older_and_odder_transformers_run(changes: dict[str, object]) -> None:
    document = {s: dict(v) for s, v in ZOO["mvit_v2_s"].items()}
    document["MVIT"] |= {"EMBED_DIM": 8, **changes}
    document["DATA"] |= {"TRAIN_CROP_SIZE": SIDE}
    config = parse_config(document, "x")
    body = enliven(build(config, Weights(), 0), 16, SIDE)
    assert isinstance(body, MViTBody)
    found = features(body, as_fed(pictures(2, SIDE, 16)))
    assert found.shape == (2, len(feature_names(config)))
    assert difference(found[:1], found[1:]) > 1e-3
