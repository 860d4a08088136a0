import pytest
import torch
from frame_makers import noise

from classifiers.frames import FrameBatch, batched
from fusion.sequences.modality_dropout import DROPOUTS, softhard
from fusion.sequences.modality_dropout import noise as with_noise

LENGTHS = [(4, 1), (2, 3), (5, 2)]


@pytest.fixture
def clean() -> list[FrameBatch]:
    sounds = [noise(a, 3, seed=i) for i, (a, _) in enumerate(LENGTHS)]
    pictures = [noise(v, 2, seed=10 + i) for i, (_, v) in enumerate(LENGTHS)]
    return [batched(list(sounds), 3, 1), batched(list(pictures), 2, 1)]


def test_softhard_makes_four_of_each_clip_with_its_label(clean: list[FrameBatch]) -> None:
    torch.manual_seed(0)
    parts, y = softhard(clean, torch.tensor([0, 1, 2]))
    assert sorted(y.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    originals = [clean[p].rows.split([pair[p] for pair in LENGTHS]) for p in (0, 1)]
    kinds: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for i, label in enumerate(y.tolist()):
        sound, picture = (part.of(torch.tensor([i])).rows for part in parts)
        whole_sound, whole_picture = originals[0][label], originals[1][label]
        assert sound.shape == whole_sound.shape  # the label is that of the clip
        alpha, beta = (float((x / w).mean()) for x, w in ((sound, whole_sound), (picture, whole_picture)))
        torch.testing.assert_close(sound, alpha * whole_sound)
        torch.testing.assert_close(picture, beta * whole_picture)
        if (round(alpha, 4), round(beta, 4)) in {(1, 1), (0, 1), (1, 0)}:
            kinds[label].add(f"{alpha:.0f}{beta:.0f}")
        else:
            assert alpha + beta == pytest.approx(1)
            assert round(100 * alpha, 3) in range(100)
            kinds[label].add("weak")
    assert all({"11", "01", "10"} <= found for found in kinds.values())


def test_noise_makes_three_of_each_clip(clean: list[FrameBatch]) -> None:
    torch.manual_seed(0)
    parts, y = with_noise(clean, torch.tensor([0, 1, 2]))
    assert sorted(y.tolist()) == [0] * 3 + [1] * 3 + [2] * 3
    sounds = clean[0].rows.split([a for a, _ in LENGTHS])
    pictures = clean[1].rows.split([v for _, v in LENGTHS])
    kept = []
    for i, label in enumerate(y.tolist()):
        sound, picture = (part.of(torch.tensor([i])).rows for part in parts)
        kept.append((label, torch.equal(sound, sounds[label]), torch.equal(picture, pictures[label])))
    assert sorted(kept) == sorted(
        (c, *k) for c in range(3) for k in ((True, True), (False, True), (True, False))
    )


def test_a_copy_that_has_nothing_left_teaches_nothing(clean: list[FrameBatch]) -> None:
    sound, picture = clean
    blind = [sound, picture._replace(rows=picture.rows * (picture.owners != 1)[:, None])]
    _, y = softhard(blind, torch.tensor([0, 1, 2]))
    assert y.tolist().count(1) == 3  # without its sound, clip 1 is nothing
    assert len(y) == 11


def test_noise_in_place_of_all_that_a_clip_has_teaches_nothing(clean: list[FrameBatch]) -> None:
    sound, picture = clean
    blind = [sound, picture._replace(rows=picture.rows * (picture.owners != 1)[:, None])]
    _, y = with_noise(blind, torch.tensor([0, 1, 2]))
    assert sorted(y.tolist()) == [0] * 3 + [1] * 2 + [2] * 3


def test_rows_that_are_not_valid_stay_zeros(clean: list[FrameBatch]) -> None:
    torch.manual_seed(0)
    sound, picture = clean
    valid = sound.valid.clone()
    valid[1] = False
    parts, _ = with_noise(
        [sound._replace(rows=sound.rows * valid[:, None], valid=valid), picture], torch.arange(3)
    )
    assert not parts[0].rows[~parts[0].valid].any()


def test_without_dropout_nothing_is_done() -> None:
    assert DROPOUTS["nodropout"] is None
