"""Prototypes by k-means: the instances nearest to the centres of clusters in both spaces together.

Shape legend: ``D`` student channels, ``E`` teacher channels, ``F`` = D + E, ``N`` instances, ``K`` candidates, ``M``
centres.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from distune.distillation.prototypes.pursuit import check_selection


@torch.no_grad()
def nearest_to_centres(
    student_ND: Tensor, teacher_NE: Tensor, candidates_K: Tensor, *, num_prototypes: int, seed: int
) -> Tensor:
    """Cluster the candidates by their joint features ``[s; t]`` and take the one nearest to each centre.

    scikit-learn's k-means with k-means++ starts. Clusters come in the order of their size, the largest first, and each
    takes the nearest candidate that is not taken yet; of equals the one with the lowest index.

    Args:
        student_ND: unit-norm student features of N instances, D channels, float32 or float64.
        teacher_NE: unit-norm teacher features of the same instances, E channels.
        candidates_K: indices into the N instances that may be selected.
        num_prototypes: how many to select, at least 1.
        seed: of the starts, 0 to 2^32 - 1.

    Returns:
        Indices of the selected instances, (min(num_prototypes, K),), all different.

    Raises:
        ValueError: the two spaces hold different numbers of instances, there is no candidate, or ``num_prototypes`` is
            below 1.
    """
    check_selection(student_ND, teacher_NE, candidates_K, num_prototypes)
    candidates_K = torch.unique(candidates_K)
    joint_KF = torch.cat([student_ND[candidates_K], teacher_NE[candidates_K]], dim=1).double()
    centres_MF = _centres(joint_KF, num_centres=min(num_prototypes, candidates_K.numel()), seed=seed)
    distance_MK = torch.cdist(centres_MF, joint_KF, compute_mode="donot_use_mm_for_euclid_dist")
    selected: list[Tensor] = []
    for distance_K in distance_MK:
        best = distance_K.argmin().unsqueeze(0)
        distance_MK.index_fill_(1, best, torch.inf)
        selected.append(best)
    return candidates_K[torch.cat(selected)]


def _centres(joint_KF: Tensor, *, num_centres: int, seed: int) -> Tensor:
    # Loaded only by those who ask for it: it takes longer to load than most calls take.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    clusters = KMeans(n_clusters=num_centres, n_init=4, random_state=seed)
    with warnings.catch_warnings():
        # Equal candidates make fewer clusters than were asked for; the centres left over repeat others.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters.fit(joint_KF.cpu().numpy())
    sizes_M = torch.bincount(torch.from_numpy(clusters.labels_).long(), minlength=num_centres)
    order_M = sizes_M.argsort(descending=True, stable=True)
    return torch.from_numpy(clusters.cluster_centers_)[order_M].to(joint_KF)
