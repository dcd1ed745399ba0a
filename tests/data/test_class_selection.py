"""The classes of a data set: all, or those that are listed."""

from __future__ import annotations

import pytest

from distune.data.class_selection import select_classes
from distune.errors import DataError


@pytest.mark.parametrize(
    ("listed", "known", "counts", "classes"),
    [
        (None, None, {"b": 5, "a": 5, "": 1}, ("a", "b")),
        (None, ["b", "a", "c"], {"a": 5}, ("b", "a", "c")),
        (None, ["a", "b"], {"a": 500, "b": 500, "c": 1}, ("a", "b")),
        (["b", "a"], None, {"a": 5, "b": 5}, ("b", "a")),
        (["b"], None, {"a": 5, "b": 5}, ("b",)),
        (["c", "a"], ["a", "b", "c"], {"a": 5, "b": 5}, ("c", "a")),
        (["a", "b", "c"], None, {"a": 5, "b": 5}, ("a", "b", "c")),
        (["a", "b", "d"], None, {"a": 500, "b": 500, "": 1}, ("a", "b", "d")),
    ],
)
def test_classes_are_selected_and_ordered(
    listed: list[str] | None, known: list[str] | None, counts: dict[str, int], classes: tuple[str, ...]
) -> None:
    assert select_classes(listed, known, counts, source="here") == classes


@pytest.mark.parametrize(
    ("listed", "known", "counts", "message"),
    [
        (None, ["a", "b"], {"a": 50, "b": 50, "c": 2}, r"here: boxes of classes that the training .*: c \(2\)"),
        (["a", "d"], None, {"a": 5, "c": 1}, r"here: data.classes lists .*\n  d; "),
        (["a", "d"], ["a", "b"], {"a": 5}, r"  d; known are b\nThe data have a \(5 boxes\), b \(0 boxes\)"),
        (["a", "a"], None, {"a": 5}, "lists a twice"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    listed: list[str] | None, known: list[str] | None, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        select_classes(listed, known, counts, source="here")
