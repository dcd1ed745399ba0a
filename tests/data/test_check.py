"""Limits of bad data, and the check that decodes images."""

from __future__ import annotations

import pytest

from distune.data.check import Findings, check_images, is_too_many, listing, stop_if_corrupt, stop_if_damaged
from distune.errors import DataError
from support.datasets import MemoryDataset, annotate


@pytest.mark.parametrize(
    ("bad", "total", "stops"),
    [(0, 10, False), (1, 1, False), (1, 50, False), (2, 50, True), (2, 200, False), (3, 200, True), (10, 1000, False)],
)
def test_more_than_one_percent_and_more_than_one_stops(bad: int, total: int, stops: bool) -> None:
    assert is_too_many(bad, total) is stops


def findings(**counts: int) -> Findings:
    faults = tuple(f"file_{number}.xml: is broken" for number in range(12))
    return Findings(**{"num_images": 100, "num_boxes": 1000, "bad_images": 0, "bad_boxes": 0, **counts}, faults=faults)


def test_the_message_counts_and_names_examples() -> None:
    with pytest.raises(DataError, match=r"train: 20 of 1000 boxes are bad \(2\.0%\)") as error:
        stop_if_damaged("train", findings(bad_boxes=20))
    assert "file_0.xml: is broken" in str(error.value)
    assert "and 2 more" in str(error.value)


def test_images_and_boxes_are_counted_separately() -> None:
    stop_if_damaged("train", findings(bad_boxes=10, bad_images=1))
    with pytest.raises(DataError, match="2 of 100 images are bad"):
        stop_if_damaged("train", findings(bad_images=2))


def test_listing_shows_ten() -> None:
    assert listing(["a"]) == "  a"
    assert len(listing([str(number) for number in range(10)]).splitlines()) == 10
    assert listing([str(number) for number in range(15)]).splitlines()[-1] == "  ... and 5 more"


def test_check_images_names_exactly_the_corrupt_ones() -> None:
    dataset = MemoryDataset([annotate([], [], index=index, size=(4, 4)) for index in range(30)], corrupt=[3, 29])
    assert list(check_images(dataset)) == ["3.png", "29.png"]
    with pytest.raises(DataError, match="2 of 30 images are corrupt"):
        stop_if_corrupt("train", check_images(dataset), len(dataset))


def test_check_images_decodes_evenly_spaced_images() -> None:
    images = [annotate([], [], index=index, size=(4, 4)) for index in range(100)]
    everything = MemoryDataset(images, corrupt=range(100))
    assert list(check_images(everything, limit=4, workers=1)) == ["0.png", "25.png", "50.png", "75.png"]
    assert check_images(MemoryDataset([])) == {}
