"""Running means over batches, updated after Chan, Golub and LeVeque.

"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
"""

from __future__ import annotations

import torch
from torch import Tensor

STUDENT_UPDATE_FRACTION = 0.1
"""The smallest weight of a batch in a mean that follows the student's training: about the last ten steps count."""


def newest_fraction(count: Tensor, new_count: Tensor | int, *, minimum: float) -> Tensor:
    """Return the weight of the newest batch in a mean over all batches; the earlier mean has the rest.

    ``n / (N + n)`` makes it the mean over everything so far. A minimum makes it follow values that change.

    Args:
        count: N, the number of values so far.
        new_count: n, of the newest batch; a batch without values has weight 0.
        minimum: the smallest weight of a batch, 0 to 1.

    Returns:
        Of the shape of ``count``, 0 to 1.
    """
    if isinstance(new_count, int):
        return (new_count / (count + new_count)).clamp(min=minimum)
    fraction = (new_count / (count + new_count).clamp(min=1)).clamp(min=minimum)
    return torch.where(new_count > 0, fraction, 0.0)
