"""Soft labels on positive sites and on all sites: their gradients on the scores beside the task's, epoch by epoch.

Trains the student of an experiment with a sigmoid head in three arms, side by side: without distillation, with soft
labels on positive sites, and with soft labels on all sites. After each epoch it prints a JSON line per arm, from one
batch: the scores, the sum of the gradient on them over positive and over other sites, its length on the neck relative
to the task's, and the cosine of both. The last lines have the AP::

    python benchmarks/soft_label_sites.py --experiment quickstart --seed 1
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distune.config.distillation import DistillationSettings
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits
from distune.data.stream import Batch
from distune.detectors.taps import Detector
from distune.distillation.terms.soft_labels import dense_soft_label_loss, soft_label_loss
from distune.training.builder import TrialBuilder
from distune.training.evaluation.predict_and_score import evaluate
from distune.training.teacher import prepare_teacher

Values = dict[str, Any]
OFF: Values = {f"distillation.{name}.weight": 0.0 for name in DistillationSettings().terms}
SITES = ("positive", "all")


def arm(sites: str | None, weight: float) -> Values:
    """The settings of an arm: soft labels alone on these sites, or no term."""
    soft = {"distillation.soft_labels.weight": weight, "distillation.soft_labels.unit": "raw"}
    more = {} if sites is None else {**soft, "distillation.soft_labels.sites": sites}
    return {**OFF, "distillation.filter.weight": "uniform", **more}


def gradients(student: Detector, teacher: Detector, batch: Batch, temperature: float) -> Values:
    """Scores of a batch, and the sums of gradients on them; changes nothing in the student."""
    student = copy.deepcopy(student)
    student.model.train()
    taps, seen = student.forward_train(batch.images, batch.targets), teacher.forward_teacher(batch.images)
    sites = taps.prediction_sites
    scores: Tensor = sites.logits_RC if sites.logits_RC._base is None else sites.logits_RC._base
    theirs_RC, positive_R = seen.logits_at(sites), sites.positive_R
    ones_R = torch.ones(len(theirs_RC))
    common: Values = {"score_kind": "sigmoid", "temperature": temperature, "reduction": "batchmean"}
    losses = {
        "task": taps.losses["classification"],
        "positive": soft_label_loss(sites.logits_RC, theirs_RC, ones_R, positive_R, **common),
        "all": dense_soft_label_loss(sites.logits_RC, theirs_RC, ones_R, positive_R, focus=1.0, **common),
        "all, focus 0": dense_soft_label_loss(sites.logits_RC, theirs_RC, ones_R, positive_R, focus=0.0, **common),
    }
    neck = list(taps.neck.values())
    of_task = _flat(torch.autograd.grad(torch.stack(list(taps.losses.values())).sum(), neck, retain_graph=True))
    found: Values = {}
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, scores, retain_graph=True)
        gradient_RC = gradient.reshape(sites.logits_RC.shape)[:, 1:]
        sums = [float(gradient_RC[rows].sum()) for rows in (positive_R, ~positive_R)]
        on_neck = _flat(torch.autograd.grad(loss, neck, retain_graph=True))
        found[name] = {
            "positive": sums[0],
            "other": sums[1],
            "neck": float(on_neck.norm() / of_task.norm()),
            "cosine": float(torch.cosine_similarity(on_neck, of_task, dim=0)),
        }
    for name, logits_RC in (("student", sites.logits_RC.detach()), ("teacher", theirs_RC)):
        own_R = logits_RC.sigmoid().gather(1, sites.labels_R[:, None])[:, 0]
        background_R = logits_RC[:, 1:].sigmoid().amax(dim=1)[~positive_R]
        found[f"scores of the {name}"] = {
            "own class at positive sites": float(own_R[positive_R].mean()),
            "99% quantile at other sites": float(background_R.quantile(0.99)),
        }
    return found


def _flat(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in values])


def main() -> None:
    """Trains the arms and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weight", type=float, default=1.0, help="of soft labels, raw")
    parser.add_argument("--set", nargs="*", default=[], help="path=value, applied over the experiment; YAML values")
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = {path: json.loads(value) for path, _, value in (each.partition("=") for each in options.set)}
    device = torch.device("cpu")
    arms = {"control": arm(None, 0.0), **{sites: arm(sites, options.weight) for sites in SITES}}
    loaded = {
        name: load_experiment(options.experiment, overrides={**given, **values}, check_space=False).experiment
        for name, values in arms.items()
    }
    experiment = loaded["control"]
    splits = build_splits(experiment.data)
    ready = prepare_teacher(
        experiment, splits, home=Home.from_environment(), device=device, on_progress=lambda _report, _epochs: None
    )
    builders = {name: TrialBuilder(each, splits, device) for name, each in loaded.items()}
    training = experiment.training
    teacher = builders["control"].teacher(str(ready.weights))
    stream = builders["control"].stream(training, seed=options.seed)
    cohort = builders["control"].cohort(training, stream, teacher, epochs_done=0)
    students = {
        name: builder.student(
            name,
            builder.experiment.student,
            training,
            seed=options.seed,
            steps_per_epoch=len(stream),
            teacher=teacher if builder.experiment.distillation.is_active else None,
        )
        for name, builder in builders.items()
    }
    for student in students.values():
        cohort.join(student)
    batch = next(iter(stream.epoch(0)))
    temperature = experiment.distillation.soft_labels.temperature
    for epoch in range(training.epochs + 1):
        for name, student in students.items():
            figures = gradients(student.detector, teacher, batch, temperature)
            print(json.dumps({"arm": name, "epoch": epoch, **figures}), flush=True)
        if epoch < training.epochs:
            cohort.run_epoch(evaluate=False)
    assert splits.test is not None
    for name, student in students.items():
        found = evaluate(student.detector.model, splits.test, device=device, batch_size=16)
        print(json.dumps({"benchmark": "soft_label_sites", "arm": name, "seed": options.seed, "AP": found["AP"]}))


if __name__ == "__main__":
    main()
