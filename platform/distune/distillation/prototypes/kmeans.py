"""Selection by k-means: the instances nearest to the cluster centers in the joint feature space.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates, ``M``
centers.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from distune.distillation.prototypes.pursuit import check_selection


@torch.no_grad()
def nearest_to_centers(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, seed: int
) -> Tensor:
    """Cluster the candidates by their joint features ``[s; t]`` and select the one nearest to each center.

    scikit-learn's k-means with k-means++ initialization. From the largest cluster to the smallest, the nearest
    candidate that is not selected yet is selected; of equal distances the one with the lowest index.

    Args:
        student_ND: unit-norm student features of N instances, D channels, float32 or float64.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        seed: of the initialization, 0 to 2^32 - 1.

    Returns:
        Indices of the selected instances, (min(num_prototypes, K),), all different.

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, or ``num_prototypes`` is
            below 1.
    """
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    candidates_K = torch.unique(candidates_K)
    joint_KF = torch.cat([student_ND[candidates_K], teacher_NE[candidates_K]], dim=1).double()
    centers_MF = _centers(joint_KF, num_centers=min(num_prototypes, candidates_K.numel()), seed=seed)
    distance_MK = torch.cdist(centers_MF, joint_KF, compute_mode="donot_use_mm_for_euclid_dist")
    selected: list[Tensor] = []
    for distance_K in distance_MK:
        best = distance_K.argmin().unsqueeze(0)
        distance_MK.index_fill_(1, best, torch.inf)
        selected.append(best)
    return candidates_K[torch.cat(selected)]


def _centers(joint_KF: Tensor, *, num_centers: int, seed: int) -> Tensor:
    # Imported here: loading scikit-learn takes longer than most calls.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clusters = KMeans(n_clusters=num_centers, n_init=4, random_state=seed)
    with warnings.catch_warnings():
        # Equal candidates give fewer clusters than requested; the remaining centers repeat others.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters.fit(joint_KF.cpu().numpy())
    sizes_M = torch.bincount(torch.from_numpy(clusters.labels_).long(), minlength=num_centers)
    order_M = sizes_M.argsort(descending=True, stable=True)
    return torch.from_numpy(clusters.cluster_centers_)[order_M].to(joint_KF)
