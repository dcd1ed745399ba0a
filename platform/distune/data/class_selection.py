"""Decides which classes a data set has: all of its annotations, or those that the settings list, in their order."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from distune.config.problems import suggest
from distune.data.check import is_too_many
from distune.data.raw_split import RawSplit
from distune.errors import DataError


def select_classes(
    listed: Sequence[str] | None, known: Sequence[str] | None, counts: Mapping[str, int], *, source: str
) -> tuple[str, ...]:
    """Return the classes in the order of their labels.

    A listed class that neither the list of the format nor a box has is taken for a misspelled name when boxes of other
    classes would be left out.

    Args:
        listed: ``data.classes``; None takes all classes.
        known: the list of classes of the format; None where it has none.
        counts: boxes of each class in the annotations; ``""`` counts those without a class.
        source: the data, for the message.

    Returns:
        The names. Where ``listed`` gives them, boxes of other classes must be left out.

    Raises:
        DataError: a listed class is not in the data, or a name is listed twice; or more than 1% of the boxes are of
            classes that the format's list, which is that of the training images, does not have.
    """
    annotated = sorted(name for name in counts if name)
    if listed is None and known is None:
        return tuple(annotated)
    if listed is None:
        assert known is not None
        _stop_if_unknown(known, counts, source)
        return tuple(known)
    repeated = [name for name, count in Counter(listed).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: data.classes lists {', '.join(repeated)} twice")
    left_out = [name for name in annotated if name not in listed]
    available = list(dict.fromkeys([*(known or ()), *annotated]))
    absent = [name for name in listed if name not in available]
    if absent and (left_out or known is not None):
        named = ", ".join(f"{name} ({counts.get(name, 0)} boxes)" for name in available)
        remaining = [name for name in available if name not in listed]
        lines = "\n".join(f"  {name}; {suggest(name, remaining)}".rstrip("; ") for name in absent)
        raise DataError(
            f"{source}: data.classes lists classes that the data do not have\n{lines}\nThe data have {named}"
        )
    return tuple(listed)


def _stop_if_unknown(known: Sequence[str], counts: Mapping[str, int], source: str) -> None:
    unknown = [name for name in sorted(counts) if name not in known]
    if is_too_many(sum(counts[name] for name in unknown), sum(counts.values())):
        named = ", ".join(f"{name or 'no known class'} ({counts[name]})" for name in unknown)
        raise DataError(
            f"{source}: boxes of classes that the training images do not list: {named}\n  listed: {', '.join(known)}\n"
            "Give all splits the same classes, or list those to use in data.classes."
        )


def leave_out_other_classes(splits: Mapping[str, RawSplit], classes: Sequence[str]) -> tuple[dict[str, RawSplit], str]:
    """Return splits without the boxes of other classes, and a note on them, empty where there are none.

    Boxes without a known class stay: they are faults.
    """
    counts = sum((split.count_classes() for split in splits.values()), Counter[str]())
    left_out = [f"{name} ({count})" for name, count in sorted(counts.items()) if name and name not in classes]
    if not left_out:
        return dict(splits), ""
    kept = {
        name: dataclasses.replace(
            split, boxes=[box for box in split.boxes if not box.class_name or box.class_name in classes]
        )
        for name, split in splits.items()
    }
    return kept, f"boxes of classes that data.classes does not list are left out: {', '.join(left_out)}"
