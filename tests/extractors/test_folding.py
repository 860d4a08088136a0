import pytest
import torch
from torch import nn

from extractors.folding import fold_batch_norms


@pytest.mark.parametrize("axes", [2, 3])
def test_a_folded_network_is_the_same_function(axes: int) -> None:
    torch.manual_seed(0)
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
    network = nn.Sequential(
        conv(3, 4, 3), norm(4), nn.ReLU(), nn.Sequential(conv(4, 5, 3, bias=False), norm(5))
    )
    x = torch.randn(6, 3, *[8] * axes)
    network(x)  # gives the normalisations something to do
    network.eval()
    with torch.no_grad():
        expected = network(x)
        fold_batch_norms(network)
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, norm) for m in network.modules())


def test_a_normalisation_without_a_convolution_before_it_stays() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.BatchNorm3d(2)
            self.conv = nn.Conv3d(2, 2, 1)
            self.act = nn.ReLU()
            self.last = nn.BatchNorm3d(2)

    odd = Odd()
    fold_batch_norms(odd.eval())
    assert isinstance(odd.first, nn.BatchNorm3d)
    assert isinstance(odd.last, nn.BatchNorm3d)


def test_a_normalisation_that_does_more_stays() -> None:
    class WithReLU(nn.BatchNorm2d):  # as timm's
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    network = nn.Sequential(nn.Conv2d(3, 4, 1), WithReLU(4)).eval()
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        expected = network(x)
        fold_batch_norms(network)
        torch.testing.assert_close(network(x), expected)
