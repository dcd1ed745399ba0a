"""Teachers trained on another class list: their outputs are mapped to the classes of the data by name.

Shape legend: ``R`` prediction sites of the batch, ``C`` classes of the data, ``K`` classes of the teacher, both without
background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distune.detectors.taps import Detector, PredictionSites, StudentTaps, TeacherMaps, TeacherTaps, View
from distune.errors import WeightsError


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """The mapping from the classes of the data to those of a teacher.

    Attributes:
        data: the classes of the data; the label of ``data[i]`` is ``i + 1``.
        teacher: the classes of the teacher, numbered likewise.
        teacher_labels: the teacher's label of each class of the data, 0 if the teacher does not know the class.
    """

    data: tuple[str, ...]
    teacher: tuple[str, ...]
    teacher_labels: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """True when a label means the same class in both lists."""
        return self.teacher_labels == tuple(range(1, len(self.teacher) + 1))

    @property
    def known(self) -> tuple[str, ...]:
        """The classes of the data that the teacher knows."""
        return tuple(name for name, label in zip(self.data, self.teacher_labels, strict=True) if label > 0)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The classes of the data that the teacher does not know."""
        return tuple(name for name, label in zip(self.data, self.teacher_labels, strict=True) if label == 0)

    def labels_among(self, classes: Sequence[str]) -> Tensor:
        """Map each label of the teacher to a label of the data.

        Args:
            classes: class names of the data; the label of ``classes[i]`` is ``i + 1``.

        Returns:
            int64 (K + 1,), 0 for background and for classes that are not among ``classes``.
        """
        labels_K = torch.zeros(len(self.teacher) + 1, dtype=torch.int64)
        for name, label in zip(self.data, self.teacher_labels, strict=True):
            if label > 0 and name in classes:
                labels_K[label] = classes.index(name) + 1
        return labels_K


def match_classes(
    data: Sequence[str], teacher: Sequence[str], *, aliases: Mapping[str, str], source: str
) -> ClassTable:
    """Match the classes of the data with those of a teacher, by name.

    Args:
        data: the classes of the data.
        teacher: the classes of the teacher. A name that occurs more than once, such as torchvision's ``N/A``, matches
            nothing.
        aliases: class of the data to the teacher's name of it, where the two differ.
        source: of the teacher's weights, named in the error.

    Returns:
        The mapping between the two lists.

    Raises:
        WeightsError: an alias names an unknown class, or two classes of the data match one of the teacher's.
    """
    if tuple(data) == tuple(teacher) and not aliases:
        return ClassTable(tuple(data), tuple(teacher), tuple(range(1, len(teacher) + 1)))
    findable = {name for name in teacher if not _is_repeated(name, teacher)}
    names = [aliases.get(name, name) for name in data]
    problems = [f"{name} is no class of the data" for name in aliases if name not in data]
    problems += [f"{name} is no class of the weights" for name in aliases.values() if name not in findable]
    problems += [f"{name} stands for two classes of the data" for name in sorted(findable) if _is_repeated(name, names)]
    if problems:
        raise WeightsError(f"weights {source}: class_aliases: {'; '.join(problems)}{_both_lists(data, teacher)}")
    labels = tuple(teacher.index(name) + 1 if name in findable else 0 for name in names)
    return ClassTable(tuple(data), tuple(teacher), labels)


def refuse_unknown(table: ClassTable, *, needed_by: Sequence[str], source: str) -> None:
    """Raise ``WeightsError`` if something needs all classes of the data and the teacher lacks some."""
    if needed_by and table.unknown:
        raise WeightsError(
            f"weights {source}: trained on other classes than the data has: they lack {', '.join(table.unknown)}, "
            f"which {' and '.join(needed_by)} would need; if only the names differ, map them in class_aliases"
            f"{_both_lists(table.data, table.teacher)}"
        )


class RelabelledTeacher:
    """A teacher with its own class list whose outputs are mapped to the classes of the data; see ``Detector``.

    It cannot be trained. With softmax scores, classes that the data does not have count as background. If the teacher
    lacks a class of the data, its head cannot be compared with the student's.

    Args:
        detector: the teacher, with its own classes.
        table: the mapping from the classes of the data to its own.
    """

    def __init__(self, detector: Detector, table: ClassTable) -> None:
        self.model = detector.model
        self.family = detector.family
        self.score_kind = detector.score_kind
        self.base_size_px = detector.base_size_px
        self.table = table
        self._detector = detector
        self._teacher_labels_C = torch.tensor([0, *table.teacher_labels])

    def forward_train(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """Refuse: a relabelled teacher is never trained."""
        raise AssertionError("a teacher with its own class list is not trained")

    def forward_teacher(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.forward_teacher``."""
        return self.taps_of(self.teacher_maps(images))

    def teacher_maps(self, images: list[Tensor]) -> TeacherMaps:
        """See ``Detector.teacher_maps``."""
        return self._detector.teacher_maps(images)

    def taps_of(self, maps: TeacherMaps) -> TeacherTaps:
        """See ``Detector.taps_of``."""
        taps = self._detector.taps_of(maps)

        def logits_at(sites: PredictionSites) -> Tensor:
            logits_RK = taps.logits_at(self._relabel(sites))
            return in_classes_of_data(logits_RK, self._labels_on(logits_RK.device), score_kind=self.score_kind)

        def boxes_at(sites: PredictionSites) -> Tensor:
            return taps.boxes_at(self._relabel(sites))

        return dataclasses.replace(taps, logits_at=logits_at, boxes_at=boxes_at)

    def neck_only(self, images: list[Tensor]) -> View:
        """See ``Detector.neck_only``."""
        return self._detector.neck_only(images)

    def _relabel(self, sites: PredictionSites) -> PredictionSites:
        assert not self.table.unknown, "the head of a teacher that lacks classes cannot be compared"
        return dataclasses.replace(sites, labels_R=self._labels_on(sites.labels_R.device)[sites.labels_R])

    def _labels_on(self, device: torch.device) -> Tensor:
        if self._teacher_labels_C.device != device:
            self._teacher_labels_C = self._teacher_labels_C.to(device)
        return self._teacher_labels_C


def in_classes_of_data(logits_RK: Tensor, teacher_labels_C: Tensor, *, score_kind: str) -> Tensor:
    """Map a teacher's logits to the classes of the data.

    ``softmax``: classes that the data does not have are added to the background, ``z_0 = log sum_j exp(z_j)`` over
    background and these classes; the other probabilities are unchanged. ``sigmoid``: scores are unchanged.

    Args:
        logits_RK: (R, K + 1), background first.
        teacher_labels_C: (C + 1,), the teacher's label of background, 0, and of each class of the data.
        score_kind: ``softmax`` or ``sigmoid``.

    Returns:
        Logits (R, C + 1), background first, in the order of the classes of the data.
    """
    picked_RC = logits_RK[:, teacher_labels_C]
    if score_kind == "sigmoid":
        return picked_RC
    is_of_data_K = torch.zeros(logits_RK.shape[1], dtype=torch.bool, device=logits_RK.device)
    is_of_data_K = is_of_data_K.index_fill(0, teacher_labels_C[1:], value=True)
    background_R1 = logits_RK.masked_fill(is_of_data_K, float("-inf")).logsumexp(dim=1, keepdim=True)
    return torch.cat([background_R1, picked_RC[:, 1:]], dim=1)


def class_table(detector: Detector) -> ClassTable | None:
    """Return the mapping of a teacher with its own class list; None for a detector with the classes of the data."""
    return detector.table if isinstance(detector, RelabelledTeacher) else None


def _is_repeated(name: str, names: Sequence[str]) -> bool:
    return list(names).count(name) > 1


def _both_lists(data: Sequence[str], teacher: Sequence[str]) -> str:
    return f"\n  classes of the data: {', '.join(data)}\n  classes of the weights: {', '.join(teacher)}"
