"""Soft labels on all sites of a one-stage head at the size of COCO: peak memory and CPU time of the loss.

``parts`` is the term, and ``whole`` the term with all sites at once. ``autograd`` is the same equation in torch's
operations, whose gradient torch derives. One image of 800 x 1344 pixels has 201,600 sites. Each runs in a process of
its own, one thread, in turns. Linux only. Prints one JSON line::

    python benchmarks/soft_label_memory.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distune.distillation.class_scores import disagreement
from distune.distillation.terms import soft_labels
from distune.distillation.terms.soft_labels import bernoulli_divergence, dense_soft_label_loss


def parts(student_RK: Tensor, teacher_RK: Tensor, weights_R: Tensor, positive_R: Tensor) -> Tensor:
    """The term."""
    return dense_soft_label_loss(
        student_RK,
        teacher_RK,
        weights_R,
        positive_R,
        score_kind="sigmoid",
        temperature=1.0,
        focus=1.0,
        reduction="batchmean",
    )


def autograd(student_RK: Tensor, teacher_RK: Tensor, weights_R: Tensor, positive_R: Tensor) -> Tensor:
    """The same in torch's operations."""
    weights_RC = weights_R[:, None] * disagreement(student_RK, teacher_RK, score_kind="sigmoid")
    total = (weights_RC * bernoulli_divergence(student_RK[:, 1:], teacher_RK[:, 1:])).sum()
    return total / positive_R.sum().clamp(min=1)


def whole(student_RK: Tensor, teacher_RK: Tensor, weights_R: Tensor, positive_R: Tensor) -> Tensor:
    """The term, with all sites at once."""
    soft_labels._SCORES_AT_A_TIME = student_RK.numel()
    return parts(student_RK, teacher_RK, weights_R, positive_R)


FORMS = {"parts": parts, "whole": whole, "autograd": autograd}


def reset_peak_mb() -> float:
    """Let Linux measure the peak of this process's memory from here, and return its memory now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_rss_mb()


def peak_rss_mb() -> float:
    """The peak of this process's memory, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(form: str, num_sites: int, num_classes: int) -> dict[str, float]:
    """The loss and its gradient, twice: the first for memory, the second for time."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(num_sites, 1 + num_classes, generator=generator) - 4 for _ in range(2))
    student.requires_grad_()
    weights, positive = torch.ones(num_sites), torch.arange(num_sites) < num_sites // 1000
    before_mb = reset_peak_mb()
    torch.autograd.backward(FORMS[form](student, teacher, weights, positive))
    peak_mb = peak_rss_mb() - before_mb
    student.grad = None
    started = time.process_time()
    loss = FORMS[form](student, teacher, weights, positive)
    torch.autograd.backward(loss)
    return {"peak_mb": peak_mb, "cpu_s": time.process_time() - started, "loss": float(loss.detach())}


def main() -> None:
    """Measure all forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=201_600, help="of all images (201600: one image)")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=sorted(FORMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.sites, options.classes)))
        return
    passed = ["--sites", str(options.sites), "--classes", str(options.classes)]
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(options.rounds):
        for form, results in found.items():
            command = [sys.executable, __file__, *passed, "--one", form]
            results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    medians = {
        form: {name: round(statistics.median(each[name] for each in results), 2) for name in results[0]}
        for form, results in found.items()
    }
    print(json.dumps({"benchmark": "soft_label_memory", "sites": options.sites, **medians}))


if __name__ == "__main__":
    main()
