"""The losses of two parts of a batch make the loss of the whole batch, in the families that sample nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distune.detectors import batch_parts
from support import families


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "ssdlite"])
def test_parts_of_different_sizes_and_numbers_of_boxes(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = families.build(family)
    detector.model.train()
    families.freeze_statistics(detector)
    images, targets = families.batch()
    whole = detector.forward_train(images, targets)
    divisors: list[int] = []

    def part_factor(number: Tensor | int, _: Tensor) -> float:
        divisors.append(max(1, int(number)))
        return 1.0

    monkeypatch.setattr(batch_parts, "num_processes", lambda: 2)
    monkeypatch.setattr(batch_parts, "largest", lambda _: whole.instances.frame.padded_size)
    monkeypatch.setattr(batch_parts, "part_factor", part_factor)
    parts = [detector.forward_train([images[index]], [targets[index]]) for index in range(2)]
    assert all(part.instances.frame.padded_size == whole.instances.frame.padded_size for part in parts)
    of_parts = divisors[: len(whole.losses)], divisors[len(whole.losses) :]
    for position, (name, loss) in enumerate(whole.losses.items()):
        first, second = of_parts[0][position], of_parts[1][position]
        mean = (first * parts[0].losses[name] + second * parts[1].losses[name]) / (first + second)
        torch.testing.assert_close(mean, loss, rtol=1e-4, atol=1e-6)
