"""Teachers with class lists of their own: what they say, in the classes of the data, matched by name.

Shape legend: ``R`` places of the batch, ``C`` classes of the data, ``K`` classes of the teacher, both without
background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distune.detectors.taps import Detector, PredictionSites, StudentTaps, TeacherTaps, View
from distune.errors import WeightsError


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Which class of a teacher each class of the data is.

    Attributes:
        data: the classes of the data; the label of ``data[i]`` is ``i + 1``.
        own: the classes of the teacher, alike.
        own_labels: the teacher's label of each class of the data, 0 where it does not know the class.
    """

    data: tuple[str, ...]
    own: tuple[str, ...]
    own_labels: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """Whether labels mean the same to both."""
        return self.own_labels == tuple(range(1, len(self.own) + 1))

    @property
    def known(self) -> tuple[str, ...]:
        """The classes of the data that the teacher knows."""
        return tuple(name for name, label in zip(self.data, self.own_labels, strict=True) if label > 0)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Those that it does not know."""
        return tuple(name for name, label in zip(self.data, self.own_labels, strict=True) if label == 0)

    def labels_among(self, classes: Sequence[str]) -> Tensor:
        """For each label of the teacher, background included, that of the same class among ``classes`` of the data.

        Returns:
            int64 (K + 1,), 0 for background and where there is no such class.
        """
        labels_K = torch.zeros(len(self.own) + 1, dtype=torch.int64)
        for name, own_label in zip(self.data, self.own_labels, strict=True):
            if own_label > 0 and name in classes:
                labels_K[own_label] = classes.index(name) + 1
        return labels_K


def match_classes(data: Sequence[str], own: Sequence[str], *, aliases: Mapping[str, str], source: str) -> ClassTable:
    """Finds the classes of the data among those of a teacher, by name.

    Args:
        data: the classes of the data.
        own: the classes of the teacher; a name that occurs more than once there, such as torchvision's ``N/A``, is not
            found.
        aliases: what the teacher calls a class of the data, where the names differ.
        source: of the teacher's weights, named in the error.

    Raises:
        WeightsError: an alias is about a class that is not there, or two classes of the data are one of the teacher's.
    """
    if tuple(data) == tuple(own) and not aliases:
        return ClassTable(tuple(data), tuple(own), tuple(range(1, len(own) + 1)))
    findable = {name for name in own if not _is_twice(name, own)}
    names = [aliases.get(name, name) for name in data]
    problems = [f"{name} is no class of the data" for name in aliases if name not in data]
    problems += [f"{name} is no class of the weights" for name in aliases.values() if name not in findable]
    problems += [f"{name} stands for two classes of the data" for name in sorted(findable) if _is_twice(name, names)]
    if problems:
        raise WeightsError(f"weights {source}: class_aliases: {'; '.join(problems)}{_both_lists(data, own)}")
    labels = tuple(own.index(name) + 1 if name in findable else 0 for name in names)
    return ClassTable(tuple(data), tuple(own), labels)


def refuse_unknown(table: ClassTable, *, needed_by: Sequence[str], source: str) -> None:
    """Raise ``WeightsError`` when somebody needs all classes of the data and the teacher does not know some."""
    if needed_by and table.unknown:
        raise WeightsError(
            f"weights {source}: trained on other classes than the data has: they lack {', '.join(table.unknown)}, "
            f"which {' and '.join(needed_by)} would need; if they only call them otherwise, say so in class_aliases"
            f"{_both_lists(table.data, table.own)}"
        )


class TeacherOfOtherClasses:
    """A teacher whose answers are given in the classes of the data; see ``Detector``. It is not trained.

    Where scores are a softmax, classes that the data does not have count as background. For a class that the teacher
    does not know nothing can be asked.

    Args:
        own: the detector, with its own classes.
        table: which of them are those of the data.
    """

    def __init__(self, own: Detector, table: ClassTable) -> None:
        self.model = own.model
        self.family = own.family
        self.score_kind = own.score_kind
        self.base_size_px = own.base_size_px
        self.table = table
        self._own = own
        self._own_labels_C = torch.tensor([0, *table.own_labels])

    def forward_train(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> StudentTaps:
        """Nobody trains such a teacher."""
        raise AssertionError("a teacher with classes of its own is not trained")

    def forward_teacher(self, images: list[Tensor]) -> TeacherTaps:
        """See ``Detector.forward_teacher``."""
        taps = self._own.forward_teacher(images)

        def logits_at(places: PredictionSites) -> Tensor:
            logits_RK = taps.logits_at(self._in_own_labels(places))
            return in_classes_of_data(logits_RK, self._labels_on(logits_RK.device), score_kind=self.score_kind)

        def boxes_at(places: PredictionSites) -> Tensor:
            return taps.boxes_at(self._in_own_labels(places))

        return dataclasses.replace(taps, logits_at=logits_at, boxes_at=boxes_at)

    def neck_only(self, images: list[Tensor]) -> View:
        """See ``Detector.neck_only``."""
        return self._own.neck_only(images)

    def _in_own_labels(self, places: PredictionSites) -> PredictionSites:
        assert not self.table.unknown, "the head of a teacher that lacks classes is not asked"
        return dataclasses.replace(places, labels_R=self._labels_on(places.labels_R.device)[places.labels_R])

    def _labels_on(self, device: torch.device) -> Tensor:
        if self._own_labels_C.device != device:
            self._own_labels_C = self._own_labels_C.to(device)
        return self._own_labels_C


def in_classes_of_data(logits_RK: Tensor, own_labels_C: Tensor, *, score_kind: str) -> Tensor:
    """A teacher's logits in the classes of the data, in their order, (R, C + 1).

    ``softmax``: the probability of the classes that the data does not have is added to the background's, so
    ``z_0 = log sum_j exp(z_j)`` over background and these, and the other probabilities stay what they were.
    ``sigmoid``: the scores of the classes stay what they were.

    Args:
        logits_RK: (R, K + 1), background first.
        own_labels_C: (C + 1,), the teacher's label of background, 0, and of each class of the data.
        score_kind: ``softmax`` or ``sigmoid``.
    """
    picked_RC = logits_RK[:, own_labels_C]
    if score_kind == "sigmoid":
        return picked_RC
    is_of_data_K = torch.zeros(logits_RK.shape[1], dtype=torch.bool, device=logits_RK.device)
    is_of_data_K = is_of_data_K.index_fill(0, own_labels_C[1:], value=True)
    background_R1 = logits_RK.masked_fill(is_of_data_K, float("-inf")).logsumexp(dim=1, keepdim=True)
    return torch.cat([background_R1, picked_RC[:, 1:]], dim=1)


def class_table(detector: Detector) -> ClassTable | None:
    """The table of a teacher with classes of its own; None for a detector with the classes of the data."""
    return detector.table if isinstance(detector, TeacherOfOtherClasses) else None


def _is_twice(name: str, names: Sequence[str]) -> bool:
    return list(names).count(name) > 1


def _both_lists(data: Sequence[str], own: Sequence[str]) -> str:
    return f"\n  classes of the data: {', '.join(data)}\n  classes of the weights: {', '.join(own)}"
