"""One minus the concordance of predictions with the truth (SYSTEMS 5.3 and 5.4; Lin 1989)."""

from torch import Tensor


def concordance_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum over attributes of 1 - CCC, population variances.

    Args:
        found: `[N, A]` predictions, N of 2 or more.
        wanted: `[N, A]` truth.
    """
    means, truths = found.mean(dim=0), wanted.mean(dim=0)
    a, b = found - means, wanted - truths
    shared = 2 * (a * b).mean(dim=0)
    apart = (a * a).mean(dim=0) + (b * b).mean(dim=0) + (means - truths) ** 2
    return (1 - shared / apart.clamp(min=1e-8)).sum()
