"""The RKD term: the relations between instances in the student's space imitate those in the teacher's.

Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068. Only relations are compared, so models
with different channels need no adapter.

Shape legend: ``L`` levels, ``N`` instances, ``D`` student channels, ``E`` teacher channels, ``F`` channels of either.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from distune.collectives import gather_rows, gather_rows_with_own, own_part
from distune.config.distillation import DistillationSettings
from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.term import Step, TermContext


def distances(edges_LNNF: Tensor, weights_LNN: Tensor) -> Tensor:
    """Return the lengths of the edges between instances, divided by their weighted mean; (L, N, N).

    The result depends neither on the scale of a space nor on instances of weight 0.
    """
    # vector_norm sends no gradient, instead of NaN, where instances coincide.
    length_LNN: Tensor = torch.linalg.vector_norm(edges_LNNF, dim=-1)
    weighted_L = (weights_LNN * length_LNN).sum(dim=(1, 2))
    mean_L = weighted_L / _or_one(weights_LNN.sum(dim=(1, 2)))
    return length_LNN / _or_one(mean_L)[:, None, None]


def angles(edges_LNNF: Tensor) -> Tensor:
    """Return the cosine of the angle at instance j between i and k, as ``[l, j, i, k]``; (L, N, N, N).

    0 where two of the instances coincide.
    """
    units_LNNF = l2_normalize(edges_LNNF)
    return units_LNNF @ units_LNNF.mT


def relation_losses(student_LND: Tensor, teacher_LNE: Tensor, weights_LN: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Huber losses between the models' distances and angles, each the mean over levels.

    Distance: ``1/(N(N-1)) sum_{i!=j} w_i w_j h(d^s_ij - d^t_ij)`` with ``d_ij = |f_i - f_j| / mu`` and mu the mean
    of the lengths weighted by ``w_i w_j``. Angle: ``1/(N(N-1)(N-2)) sum w_i w_j w_k h(a^s_ijk - a^t_ijk)`` over ordered
    triples of different instances, with ``a_ijk = cos(f_i - f_j, f_k - f_j)``. ``h(x) = x^2/2`` where ``|x| < 1``, and
    ``|x| - 1/2`` elsewhere. The paper uses sums instead of means.

    Args:
        student_LND: features of N instances, with gradient.
        teacher_LNE: the teacher's; no gradient flows into them.
        weights_LN: of each instance, at least 0; no gradient flows into them.

    Returns:
        Two scalars: distance, angle. 0 where there are too few instances for a pair or a triple.
    """
    num = weights_LN.shape[1]
    different_NN = ~torch.eye(num, dtype=torch.bool, device=weights_LN.device)
    different_NNN = different_NN[:, :, None] & different_NN[:, None, :] & different_NN[None, :, :]
    weights_LN = weights_LN.detach()
    pairs_LNN = weights_LN[:, :, None] * weights_LN[:, None, :] * different_NN
    triples_LNNN = pairs_LNN[:, :, :, None] * weights_LN[:, None, None, :] * different_NNN
    student_LNND, teacher_LNNE = _edges(student_LND), _edges(teacher_LNE.detach())
    distance_LNN = functional.smooth_l1_loss(
        distances(student_LNND, pairs_LNN), distances(teacher_LNNE, pairs_LNN), reduction="none"
    )
    angle_LNNN = functional.smooth_l1_loss(angles(student_LNND), angles(teacher_LNNE), reduction="none")
    num_pairs = num * (num - 1)
    distance_L = (pairs_LNN * distance_LNN).sum(dim=(1, 2)) / max(1, num_pairs)
    angle_L = (triples_LNNN * angle_LNNN).sum(dim=(1, 2, 3)) / max(1, num_pairs * (num - 2))
    return distance_L.mean(), angle_L.mean()


def _edges(features_LNF: Tensor) -> Tensor:
    """Return the differences from each instance, on the second axis, to each other, on the third."""
    return features_LNF[:, None, :, :] - features_LNF[:, :, None, :]


def _or_one(values_L: Tensor) -> Tensor:
    return torch.where(values_L > 0, values_L, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rkd:
    """The term ``distance + angle_ratio angle`` between the first ``max_instances`` instances of the batch."""

    angle_ratio: float
    max_instances: int
    robust: bool = True
    needs_prototypes: bool = False

    def __call__(self, step: Step) -> Tensor:
        """Return the loss of a step."""
        features = step.features()
        distance, angle = relation_losses(
            gather_rows_with_own(features.student_LND, dim=1)[:, : self.max_instances],
            gather_rows(features.teacher_LNE, dim=1)[:, : self.max_instances],
            gather_rows(step.local_weights(robust=self.robust), dim=1)[:, : self.max_instances],
        )
        return own_part(distance + self.angle_ratio * angle)


def build_rkd(settings: DistillationSettings, context: TermContext) -> Rkd:
    """Build the term."""
    rkd = settings.rkd
    return Rkd(angle_ratio=rkd.angle_ratio, max_instances=rkd.max_instances, robust=rkd.robust)
