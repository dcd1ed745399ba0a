"""Record the lengths of all gradients on the student's neck, at every step of a training.

The recordings in ``tests/distillation/data`` are replayed by ``tests/distillation/test_recorded_shares.py`` through the
gradient balance with its own choice of steps. The training itself uses the balance, with all terms as shares.

    python benchmarks/record_gradients.py quickstart --out gradients_shapes.json --set training.seed=11 \\
        --set teacher_training.epochs=4
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits
from distune.distillation.gradient_balance import (
    GradientBalance,
    Measurement,
    RecordedGradients,
    neck_gradient,
    recorded_neck_gradient,
)
from distune.training.builder import TrialBuilder
from distune.training.teacher import prepare_teacher

TERMS = ("local_knowledge", "soft_labels", "global_knowledge")


class RecordingBalance(GradientBalance):
    """A gradient balance that also keeps the lengths of all steps."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.task: list[float] = []
        self.terms: list[dict[str, float]] = []

    def step(
        self, task: Tensor | RecordedGradients, terms: Mapping[str, Tensor], maps: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Measurement]]:
        """Record the lengths, and go on as usual."""
        of_task = (
            recorded_neck_gradient(task, maps) if isinstance(task, RecordedGradients) else neck_gradient(task, maps)
        )
        self.task.append(float(torch.linalg.vector_norm(of_task)))
        self.terms.append({n: float(torch.linalg.vector_norm(neck_gradient(loss, maps))) for n, loss in terms.items()})
        return super().step(task, terms, maps)


def log_of(length: float | None) -> float | None:
    """The natural logarithm to two digits; None for no gradient."""
    return round(math.log(length), 2) if length is not None and length > 0 and math.isfinite(length) else None


def record(values: str, overrides: dict[str, Any], share: float) -> dict[str, Any]:
    """Train with all terms as shares, and return the logarithms of the lengths."""
    shares = {f"distillation.{name}": {"weight": share, "unit": "gradient_share"} for name in TERMS}
    experiment = load_experiment(values, overrides={**shares, **overrides}, check_space=False).experiment
    device = torch.device("cpu")
    splits = build_splits(experiment.data)
    teacher = prepare_teacher(
        experiment,
        splits,
        home=Home.at(None),
        device=device,
        on_progress=lambda *each: print(each[0].epoch, flush=True),
    )
    builder = TrialBuilder(experiment, splits, device)
    detector = builder.teacher(str(teacher.weights))
    stream = builder.stream(experiment.training, seed=experiment.training.seed)
    cohort = builder.cohort(experiment.training, stream, detector, epochs_done=0)
    student = builder.student(
        "recorded",
        experiment.student,
        experiment.training,
        seed=experiment.training.seed,
        steps_per_epoch=len(stream),
        teacher=detector,
    )
    assert student.objective is not None
    balance = RecordingBalance(TERMS)
    student.objective.balance = balance
    cohort.join(student)
    for _ in range(experiment.training.epochs):
        result = cohort.run_epoch(evaluate=False)["recorded"]
        if result.error is not None:
            raise result.error
        shown = {n: round(v, 3) for n, v in result.metrics.items() if n.startswith(("share", "gradient", "loss/t"))}
        print(student.epochs_done, shown, flush=True)
    return {
        "steps_per_epoch": len(stream),
        "task": [log_of(length) for length in balance.task],
        "terms": {name: [log_of(each.get(name)) for each in balance.terms] for name in TERMS},
    }


def main() -> None:
    """Record one training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", help="name or file of an experiment")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--share", type=float, default=0.3, help="of every term")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="changes of the experiment")
    options = parser.parse_args()
    overrides = {path: yaml.safe_load(value) for path, _, value in (each.partition("=") for each in options.set)}
    found = record(options.experiment, overrides, options.share)
    options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
