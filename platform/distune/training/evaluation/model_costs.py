"""What a detector costs to use: parameters, floating-point operations, milliseconds for an image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distune.config.search import Cost, cost_metric

_WARM_UPS = 3
_REPEATS = 20
_FEWEST_REPEATS = 5
_ENOUGH_S = 10.0
"""After so many seconds, the fewest repeats are enough."""


def measure_costs(
    model: nn.Module, costs: Sequence[Cost], *, image_size_px: int, device: torch.device
) -> dict[str, float]:
    """Measure a detector on one square image, in evaluation mode and float32. Its modules have their modes back then.

    The image is grey and the same for everyone. With a detector's initial weights hardly anything is detected on it, so
    what many detections would cost (their suppression, the masks of a Mask R-CNN) is not in the figures. Operations
    are those that torch knows how to count, matrix products and convolutions above all; a multiplication and an
    addition are two. The latency is the median over repeats; what else runs on the device is in it.

    Args:
        model: a torchvision detector on ``device``.
        costs: what to measure.
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
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            with torch.no_grad():
                if "flops" in costs:
                    measured["flops"] = _flops(model, images)
                if "latency_ms" in costs:
                    measured["latency_ms"] = _latency_ms(model, images, device)
        finally:
            for module, mode in modes:
                module.training = mode
    return {cost_metric(cost): measured[cost] for cost in costs}


def _flops(model: nn.Module, images: list[torch.Tensor]) -> float:
    with FlopCounterMode(display=False) as counter:
        model(images)
    return float(counter.get_total_flops())


def _latency_ms(model: nn.Module, images: list[torch.Tensor], device: torch.device) -> float:
    for _ in range(_WARM_UPS):
        model(images)
    times: list[float] = []
    while len(times) < _FEWEST_REPEATS or (len(times) < _REPEATS and sum(times) < _ENOUGH_S):
        _wait_for(device)
        started = time.perf_counter()
        model(images)
        _wait_for(device)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
