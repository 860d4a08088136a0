from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.faces.efficientface_trunk import Trunk


@pytest.mark.realdata
def test_golden_vectors_of_the_original_network(real_data: Path) -> None:
    folder = real_data / "golden" / "efficientface"
    trunk = Trunk().eval()
    trunk.load_state_dict(torch.load(folder / "trunk.pt", weights_only=True), strict=True)
    expected = np.load(folder / "expected.npz")
    frames = torch.from_numpy(expected["frames_uint8_NHWC_as_fed"]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = trunk(frames).numpy()
    # The quarters in another order would be 1e-5 off.
    largest = np.abs(expected["features"]).max()
    assert np.abs(found - expected["features"]).max() < 1e-6 * largest


def test_the_feature_has_one_row_per_picture() -> None:
    trunk = Trunk().eval()
    with torch.no_grad():
        assert trunk(torch.rand(3, 3, 224, 224)).shape == (3, 1024)


def test_channels_of_both_branches_alternate() -> None:
    unit = Trunk().stage2[1].eval()
    maps = torch.rand(1, 116, 8, 8)
    with torch.no_grad():
        np.testing.assert_array_equal(unit(maps)[:, ::2], maps[:, :58])


def test_every_quarter_has_convolutions_of_its_own() -> None:
    local = Trunk().local.eval()
    maps = torch.rand(1, 29, 56, 56)
    with torch.no_grad():
        before = local(maps)
        local.conv2_1.weight.zero_()
        changed = (local(maps) - before).abs().sum(dim=(0, 1)) > 0
    assert changed[14:, :14].any()  # the second one is at the bottom left
    assert not changed[:14].any()
    assert not changed[:, 14:].any()
