"""Batches of an epoch: a function of seed and epoch, of constant number, and fair to all images."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.data.epoch_batches import EpochBatches, epoch_order


def batches(num_images: int = 100, batch_size: int = 8, *, seed: int = 0, **given: Any) -> EpochBatches:
    return EpochBatches(num_images=num_images, batch_size=batch_size, seed=seed, **given)


def images(found: EpochBatches, epoch: int) -> list[int]:
    return [index for batch in found.of_epoch(epoch) for index, _ in batch]


def groups(num_images: int, fractions: list[float]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(5).choice(len(fractions), size=num_images, p=fractions)


def test_by_default_the_order_is_cut_into_batches() -> None:
    order = epoch_order(100, seed=3, epoch=2)
    expected = [[(index, 0) for index in order[start : start + 8]] for start in range(0, 96, 8)]
    assert batches(seed=3).of_epoch(2) == expected
    assert len(batches()) == 12


def test_groups_share_only_the_batches_of_remainders() -> None:
    groups_N = groups(1000, [0.2, 0.5, 0.3])
    found = batches(1000, 8, groups_N=groups_N)
    kinds = [{int(groups_N[index]) for index, _ in batch} for batch in found.of_epoch(0)]
    assert len(kinds) == 125
    assert sum(len(kind) > 1 for kind in kinds) <= 2


@given(
    num_images=st.integers(1, 60), batch_size=st.integers(1, 9), num_groups=st.integers(1, 6), epoch=st.integers(0, 3)
)
def test_groups_change_the_division_and_not_the_images(
    num_images: int, batch_size: int, num_groups: int, epoch: int
) -> None:
    groups_N = groups(num_images, [1 / num_groups] * num_groups)
    plain, found = batches(num_images, batch_size), batches(num_images, batch_size, groups_N=groups_N)
    assert sorted(images(plain, epoch)) == sorted(images(found, epoch))
    assert len(plain) == len(found) == len(found.of_epoch(epoch))
    assert {len(batch) for batch in found.of_epoch(epoch)} == {min(num_images, batch_size)}


def test_no_image_is_preferred_over_many_epochs() -> None:
    groups_N = groups(30, [0.1, 0.9])
    found = batches(30, 8, groups_N=groups_N)
    counts = Counter(index for epoch in range(600) for index in images(found, epoch))
    assert min(counts.values()) > 0.72 * 600  # 24 of 30 images are shown in each epoch
    assert max(counts.values()) < 0.88 * 600


@pytest.mark.parametrize("kind", ["groups_N", "repeats_N"])
def test_batches_are_a_function_of_seed_and_epoch(kind: str) -> None:
    given: dict[str, Any] = {kind: groups(100, [0.5, 0.5]) if kind == "groups_N" else np.linspace(1.0, 2.5, 100)}
    one, other = batches(**given), batches(**given)
    later = one.of_epoch(4)
    for epoch in range(4):
        other.of_epoch(epoch)
    assert other.of_epoch(4) == later
    assert one.of_epoch(3) != later
    assert batches(seed=1, **given).of_epoch(4) != later


def test_repeats_are_the_factor_on_average_and_an_epoch_has_a_constant_length() -> None:
    repeats_N = np.array([1.0] * 40 + [1.25] * 20 + [2.5] * 8 + [3.0] * 2)
    found = batches(70, 1, repeats_N=repeats_N)
    assert found.num_presentations == 40 + 25 + 20 + 6 == len(found)
    counts = np.zeros((400, 70))
    for epoch in range(400):
        shown = images(found, epoch)
        assert len(shown) == 91
        counts[epoch] += np.bincount(shown, minlength=70)
    assert (counts >= np.floor(repeats_N)).all()
    assert (counts <= np.ceil(repeats_N)).all()
    assert np.abs(counts.mean(axis=0) - repeats_N).max() < 0.12
    assert counts[:, 68:].min() == counts[:, 68:].max() == 3


def test_presentations_of_an_image_have_numbers_of_their_own() -> None:
    found = [each for batch in batches(20, 5, repeats_N=np.full(20, 2.0)).of_epoch(0) for each in batch]
    assert len(found) == 40
    assert set(found) == {(index, number) for index in range(20) for number in (0, 1)}


@given(seed=st.integers(0, 1000), batch_size=st.integers(1, 12))
def test_repeats_and_groups_together_keep_the_number_of_batches(seed: int, batch_size: int) -> None:
    generator = np.random.default_rng(seed)
    found = batches(
        23,
        batch_size,
        repeats_N=1 + generator.exponential(size=23).round(2),
        groups_N=generator.integers(0, 3, size=23),
    )
    sizes = {tuple(len(batch) for batch in found.of_epoch(epoch)) for epoch in range(4)}
    assert sizes == {(batch_size,) * len(found)}
