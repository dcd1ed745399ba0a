"""Inference costs of a detector: parameters, floating-point operations, milliseconds per image."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distune.config.search import Cost, cost_metric
from distune.detectors.modes import eval_mode

_WARM_UPS = 3
_REPEATS = 20
_MIN_REPEATS = 5
_TIME_LIMIT_S = 10.0
"""After this time ``_MIN_REPEATS`` repeats are enough."""


def measure_costs(
    model: nn.Module, costs: Sequence[Cost], *, image_size_px: int, device: torch.device
) -> dict[str, float]:
    """Measure a detector on one square gray image, in evaluation mode and float32.

    With initial weights a detector finds almost nothing on this image, so the cost of many detections (their
    suppression, the masks of a Mask R-CNN) is not included. Operations are those that torch counts, mainly matrix
    products and convolutions; a multiply-add is two. The latency is the median over repeats and includes other load
    on the device.

    Args:
        model: a torchvision detector on ``device``; the mode of its modules does not change.
        costs: which costs to measure.
        image_size_px: side of the image.
        device: of the model.

    Returns:
        Metric name to value, such as ``student/latency_ms``.
    """
    measured: dict[Cost, float] = {}
    if "parameters" in costs:
        measured["parameters"] = float(sum(parameter.numel() for parameter in model.parameters()))
    if "flops" in costs or "latency_ms" in costs:
        images = [torch.full((3, image_size_px, image_size_px), 0.5, device=device)]
        with eval_mode(model), torch.no_grad():
            if "flops" in costs:
                measured["flops"] = _flops(model, images)
            if "latency_ms" in costs:
                measured["latency_ms"] = _latencies_ms([model], images, device)[0]
    return {cost_metric(cost): measured[cost] for cost in costs}


def measure_side_by_side(
    models: Mapping[str, nn.Module], *, image_size_px: int, device: torch.device
) -> dict[str, dict[Cost, float]]:
    """Measure detectors for a comparison: as ``measure_costs``, with the latencies taken in turns.

    Each repeat runs every detector once, so that a change of the load on the device concerns all of them alike.

    Args:
        models: name to torchvision detector; they are moved to ``device``.
        image_size_px: side of the image.
        device: of the measurement.

    Returns:
        Name to parameters, floating-point operations, and milliseconds per image.
    """
    images = [torch.full((3, image_size_px, image_size_px), 0.5, device=device)]
    for model in models.values():
        model.to(device)
    with contextlib.ExitStack() as modes, torch.no_grad():
        for model in models.values():
            modes.enter_context(eval_mode(model))
        latencies = _latencies_ms(list(models.values()), images, device)
        return {
            name: {
                "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
                "flops": _flops(model, images),
                "latency_ms": latency_ms,
            }
            for (name, model), latency_ms in zip(models.items(), latencies, strict=True)
        }


def _flops(model: nn.Module, images: list[torch.Tensor]) -> float:
    with FlopCounterMode(display=False) as counter:
        model(images)
    return float(counter.get_total_flops())


def _latencies_ms(models: Sequence[nn.Module], images: list[torch.Tensor], device: torch.device) -> list[float]:
    """Return the median latency of each model; every repeat runs all of them."""
    for model in models:
        for _ in range(_WARM_UPS):
            model(images)
    times: list[list[float]] = []
    while len(times) < _MIN_REPEATS or (len(times) < _REPEATS and sum(map(sum, times)) < _TIME_LIMIT_S):
        times.append([_seconds(model, images, device) for model in models])
    return [1000 * statistics.median(each) for each in zip(*times, strict=True)]


def _seconds(model: nn.Module, images: list[torch.Tensor], device: torch.device) -> float:
    _synchronize(device)
    started = time.perf_counter()
    model(images)
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
