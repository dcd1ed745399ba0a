"""Channels last or contiguous: CPU time of a training step of several detectors, in both memory formats.

One thread, no distillation, random weights and images of noise with one box each. The formats take turns, step by
step, so other work on the machine meets both alike. Prints one JSON line per detector: CPU milliseconds of a step, the
ratio of both, and the format that distune chooses (``distune.training.memory_format``)::

    python benchmarks/memory_format.py
    python benchmarks/memory_format.py --detectors "RetinaNet, ResNet-18" --steps 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch
from pydantic import TypeAdapter

from distune.config.detector import DetectorSettings
from distune.detectors.zoo import build_detector
from distune.training.memory_format import fast_format

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DETECTORS: dict[str, tuple[dict[str, Any], int, int]] = {
    "RetinaNet, ResNet-10": (
        {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 48, "norm": "group"},
        64,
        4,
    ),
    "RetinaNet, ResNet-18, 64 channels": (
        {"family": "retinanet", "backbone": "resnet18", "fpn_channels": 64, "norm": "group"},
        64,
        4,
    ),
    "RetinaNet, ResNet-18": ({"family": "retinanet", "backbone": "resnet18"}, 320, 2),
    "RetinaNet, ResNet-50": ({"family": "retinanet", "backbone": "resnet50"}, 320, 2),
    "Faster R-CNN, ResNet-18": ({"family": "fasterrcnn", "backbone": "resnet18"}, 320, 2),
    "Faster R-CNN, ResNeXt-50": ({"family": "fasterrcnn", "backbone": "resnext50_32x4d"}, 320, 2),
    "FCOS, ResNet-18": ({"family": "fcos", "backbone": "resnet18"}, 320, 2),
    "SSDlite, MobileNetV3": ({"family": "ssdlite", "backbone": "mobilenet_v3_large"}, 320, 4),
    "RetinaNet, MobileNetV2": ({"family": "retinanet", "backbone": "mobilenet_v2", "fpn_channels": 64}, 192, 4),
    "RetinaNet, EfficientNet-Lite0": (
        {"family": "retinanet", "backbone": "timm/tf_efficientnet_lite0", "fpn_channels": 64, "norm": "frozen"},
        192,
        4,
    ),
}
"""Settings, side of the images in pixels, batch size."""


def measure(name: str, steps: int) -> dict[str, Any]:
    """Take steps with both formats in turn; the first of each is not measured."""
    values, size_px, batch_size = DETECTORS[name]
    settings: Any = TypeAdapter(DetectorSettings).validate_python(values)
    cpu, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    classes = [f"class {index}" for index in range(3)]
    detectors = {
        key: build_detector(settings, classes=classes, min_size_px=size_px, max_size_px=size_px, seed=0)
        for key in FORMATS
    }
    for key, memory_format in FORMATS.items():
        detectors[key].model.to(memory_format=memory_format).train()
    images = [torch.rand(3, size_px, size_px, generator=generator) for _ in range(batch_size)]
    box = torch.tensor([[0.2, 0.2, 0.7, 0.6]]) * size_px
    targets = [{"boxes": box, "labels": torch.tensor([1])} for _ in images]
    seconds: dict[str, list[float]] = {key: [] for key in FORMATS}
    for _ in range(1 + steps):
        for key, detector in detectors.items():
            detector.model.zero_grad()
            started = time.process_time()
            losses = detector.forward_train(images, targets).losses
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            seconds[key].append(time.process_time() - started)
    medians = {key: 1000 * statistics.median(each[1:]) for key, each in seconds.items()}
    chosen = fast_format(detectors["contiguous"].model, cpu)
    return {
        "benchmark": "memory_format",
        "detector": name,
        "image_px": size_px,
        "batch_size": batch_size,
        "ms_per_step": {key: round(value, 1) for key, value in medians.items()},
        "contiguous_over_channels_last": round(medians["contiguous"] / medians["channels_last"], 2),
        "chosen": next(key for key, each in FORMATS.items() if each == chosen),
    }


def main() -> None:
    """Measure the detectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", choices=list(DETECTORS), default=list(DETECTORS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each format (5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.detectors:
        print(json.dumps(measure(name, options.steps)), flush=True)


if __name__ == "__main__":
    main()
