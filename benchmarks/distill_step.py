"""The cost of distillation: a training step with PGM and RDM beside the same step without their terms.

Prints one JSON line. What is compared takes turns within one run, so that other work on the machine meets both alike;
only ratios count. A ratio is the median over rounds, with a 95% bootstrap interval::

    OMP_NUM_THREADS=1 python benchmarks/distill_step.py
    OMP_NUM_THREADS=1 python benchmarks/distill_step.py --pair fasterrcnn --parts step
    python benchmarks/distill_step.py --device cuda --size 800 --max-size 1333 --batch 16 \\
        --teacher-backbone resnet101 --student-backbone resnet50 --classes 80

Parts. ``step``: a step with the terms of ``gkd_global`` and queue, over one with the teacher's neck alone, and over
one in which the teacher's class head runs as well, as soft labels need in any implementation. ``terms``: each known
term alone, forward and backward, on maps that are there already. ``loops``: the three terms against a version that goes
from box to box. ``queue``: an epoch with queue against one that pools the same features and keeps none.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import sys
from typing import Any, cast

import torch

from distill_bench import (
    SETTLED,
    HeadAlone,
    Repeated,
    Rounds,
    StepBench,
    Values,
    Watch,
    fixed_taps,
    make_batches,
    no_feature_pass,
    ratio,
    settle,
    take_turns,
    timed_losses,
    warm_up,
)
from distune.detectors.taps import Detector
from distune.distillation.gradient_balance import GradientBalance
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.objective import Objective
from distune.distillation.terms import TERMS
from per_box_loops import Weights, loop_losses

PARTS = ("step", "terms", "loops", "queue")
FIRST_STEP = 4
PROTOTYPES: Values = {"min_box_side_px": 1.0}
"""All boxes may become prototypes, also on small images."""
DEFAULT: Values = {"preset": "gkd_global", "prototypes": PROTOTYPES}
PLAIN: Values = {name: {"weight": 0.0} for name in TERMS}
# What the version box by box computes, whatever the presets become.
LITERAL: Values = {
    "pooling": "crop",
    "standardize": "none",
    "prototypes": PROTOTYPES,
    "filter": {"discrepancy": "mean_cosine", "weight": "gaussian", "global_threshold": 0.2, "local_threshold": 0.2},
    "global_knowledge": {
        "weight": 5.0,
        "unit": "raw",
        "form": "smooth_l1",
        "representation": "cosine",
        "classes": "all",
        "levels": "all",
        "space": "own",
    },
    "local_knowledge": {"weight": 1.0, "unit": "raw", "background_ratio": 4.0, "base_size_px": 56.0},
    "soft_labels": {
        "weight": 1.0,
        "unit": "raw",
        "temperature": 2.0,
        "reduction": "batchmean",
        "sites": "positive",
    },
    "decay": "constant",
}


def step_cost(bench: StepBench) -> Values:
    """The step with the terms over the two steps without, and where the time goes."""
    students = [
        bench.student("terms", lambda detector: bench.objective(detector, DEFAULT)),
        bench.student("neck", lambda _: None),
        bench.student("head", lambda _: cast(Objective, HeadAlone())),
    ]
    warm_up(students, bench)
    objective = students[0].objective
    assert objective is not None
    rounds = range(FIRST_STEP, FIRST_STEP + bench.options.rounds)
    pass_by_first_steps(objective, bench)
    if bench.device.type == "cuda":  # the watch waits for the device, which changes the step
        found = take_turns(students, bench, rounds)
        objective.begin_epoch(2, no_feature_pass)
        pass_by_first_steps(objective, bench)
        watch = Watch(objective, bench)
        watched = take_turns(students, bench, rounds)
    else:
        watch = Watch(objective, bench)
        found = watched = take_turns(students, bench, rounds)
    results: Values = {
        "over_teacher_neck": step_ratio(found, "neck", rounds, bench),
        "over_teacher_neck_and_head": step_ratio(found, "head", rounds, bench),
        "seconds": step_parts(watched, watch, rounds),
    }
    if bench.device.type == "cuda":
        results["peak_mib"] = {name: max(each["peak_mib"] for each in values) for name, values in found.items()}
        results["objective_waits_for_device"] = False  # it would have raised
    return results


def pass_by_first_steps(objective: Objective, bench: StepBench) -> None:
    """Go to a late epoch, in which few steps measure gradient fractions, and skip its first steps."""
    student, teacher, *_ = fixed_taps(bench)
    settle(objective)
    with torch.no_grad():
        for _ in range(FIRST_STEP):
            objective(student, teacher)


def step_ratio(found: Rounds, base: str, rounds: range, bench: StepBench) -> Values:
    """A step with the terms over another: steps that measure gradient fractions apart, and an epoch that has both."""

    def over(*, due: bool) -> Values:
        chosen = [position for position, index in enumerate(rounds) if GradientBalance.is_due(SETTLED + index) == due]
        return ratio(*([found[name][position]["step"] for position in chosen] for name in ("terms", base)))

    usual, measuring = over(due=False), over(due=True)
    num_steps = bench.options.epoch_steps
    share_due = sum(GradientBalance.is_due(SETTLED + index) for index in range(num_steps)) / num_steps
    of_epoch = (1 - share_due) * usual["median"] + share_due * measuring["median"]
    return {
        "usual_step": usual,
        "step_that_measures_gradients": measuring,
        "share_of_steps_that_measure": round(share_due, 4),
        "epoch": round(of_epoch, 4),
        "target_1.10_met": of_epoch <= 1.10,
    }


def step_parts(found: Rounds, watch: Watch, rounds: range) -> Values:
    """Seconds of the parts of a usual step, and the additional cost of the steps that measure gradient fractions."""

    def middle(values: list[float], *, due: bool = False) -> float:
        chosen = [
            value for value, index in zip(values, rounds, strict=True) if GradientBalance.is_due(SETTLED + index) == due
        ]
        return statistics.median(chosen)

    losses = [whole - head for whole, head in zip(watch.objective, watch.head, strict=True)]
    parts = {
        "student": middle([each["step"] - each["teacher"] for each in found["neck"]]),
        "teacher_neck": middle([each["teacher"] for each in found["terms"]]),
        "teacher_head": middle(watch.head),
        "terms_forward": middle(losses),
    }
    whole = middle([each["step"] for each in found["terms"]])
    parts["terms_backward_and_update_by_difference"] = whole - sum(parts.values())
    parts["whole"] = whole
    parts["measuring_gradients_where_due"] = middle(losses, due=True) - middle(losses)
    return {name: round(value, 4) for name, value in parts.items()}


def term_costs(bench: StepBench) -> Values:
    """Milliseconds of each known term alone, forward and backward, with what it needs of pooling and filter."""
    student, teacher, detector, leaves = fixed_taps(bench)
    milliseconds: Values = {}
    for name in TERMS:
        values = {**PLAIN, name: {"weight": 1.0}, "prototypes": PROTOTYPES}
        ours = Repeated(bench.objective(detector, values), student, teacher, bench)
        _, seconds = timed_losses(ours, leaves, bench, repeats=bench.options.rounds, before=ours.skip)
        milliseconds[name] = round(1e3 * statistics.median(seconds), 2)
    return {"milliseconds": milliseconds}


def against_loops(bench: StepBench) -> Values:
    """The three terms against the version that goes from box to box: values and time."""
    if bench.options.pair != "retinanet":
        return {"left_out": "the version box by box is written for sigmoid heads: use --pair retinanet"}
    student, teacher, detector, leaves = fixed_taps(bench)
    ours = Repeated(bench.objective(detector, LITERAL), student, teacher, bench)
    prototypes = ours.objective.prototypes
    local = cast(Any, ours.objective.learned["local_knowledge"])
    assert prototypes is not None
    weights = Weights(
        global_knowledge=5.0,
        local_knowledge=1.0,
        soft_labels=1.0,
        global_threshold=0.2,
        local_threshold=0.2,
        background_ratio=4.0,
        base_size_px=56.0,
        temperature=2.0,
    )

    def loops() -> dict[str, torch.Tensor]:
        return loop_losses(student, teacher, prototypes, local.adapters, prototypes.strides, weights)

    our_seconds: list[float] = []
    loop_seconds: list[float] = []
    for _ in range(max(3, bench.options.rounds // 3)):
        our_values, seconds = timed_losses(ours, leaves, bench, repeats=3, before=ours.skip)
        our_seconds.append(statistics.median(seconds))
        loop_values, seconds = timed_losses(loops, leaves, bench, repeats=1)
        loop_seconds.append(seconds[0])
    differences = {name: abs(our_values[name] / loop_values[name] - 1) for name in loop_values}
    faster = ratio(loop_seconds, our_seconds)
    return {
        "times_faster": faster,
        "target_10_met": faster["median"] >= 10,
        "largest_relative_difference": max(differences.values()),
        "same_values": max(differences.values()) < 1e-4,
        "milliseconds": round(1e3 * statistics.median(our_seconds), 2),
        "loop_milliseconds": round(1e3 * statistics.median(loop_seconds), 2),
        "values": {name: round(value, 6) for name, value in our_values.items()},
    }


def queue_cost(bench: StepBench) -> Values:
    """An epoch with queue against one whose prototypes stay, which pools the same features for the filter."""
    kept: Values = {**DEFAULT, "prototypes": {**PROTOTYPES, "refresh_epochs": 0}}
    students = [
        bench.student("queue", lambda detector: bench.objective(detector, DEFAULT)),
        bench.student("kept", lambda detector: bench.objective(detector, kept)),
    ]
    warm_up(students, bench)
    collecting, kept_alone = (student.objective for student in students)
    assert collecting is not None
    assert kept_alone is not None
    assert collecting.prototype_manager is not None
    assert collecting.prototype_manager.queue is not None
    assert kept_alone.prototype_manager is not None
    assert collecting.prototype_manager.is_collecting
    assert not kept_alone.prototype_manager.is_collecting
    found = take_turns(students, bench, range(bench.options.rounds))
    steps = {name: [each["step"] for each in values] for name, values in found.items()}
    detector = students[1].detector
    batch = bench.batches[0]
    taps = detector.forward_train(batch.images, batch.targets)
    instances = taps.instances
    levels, _, channels = collecting.prototype_manager.queue.student.shape
    generator = torch.Generator(bench.device).manual_seed(0)
    num_boxes = sum(instances.counts)
    counted_LN = torch.ones(levels, num_boxes, dtype=torch.bool, device=bench.device)
    adding: list[float] = []
    for _ in range(bench.options.epoch_steps):
        drawn_2LND = torch.randn(2, levels, num_boxes, channels, generator=generator, device=bench.device) + 1.0
        started = bench.clock()
        drawn = PooledFeatures(drawn_2LND[0], drawn_2LND[1])
        collecting.prototype_manager.add_batch(taps.view, taps.view, drawn, instances, counted_LN)
        adding.append(bench.clock() - started)
    started = bench.clock()
    metrics = collecting.end_epoch()
    making = bench.clock() - started
    epoch_s = bench.options.epoch_steps * statistics.median(steps["kept"])
    added_share = (sum(adding) + making) / epoch_s
    return {
        "step_over_step_without": ratio(steps["queue"], steps["kept"]),
        "adding_ms_per_step": round(1e3 * statistics.median(adding), 3),
        "prototypes_made_s": round(making, 3),
        "prototypes_made_of": metrics.get("prototypes/instances"),
        "steps_per_epoch": bench.options.epoch_steps,
        "epoch_s": round(epoch_s, 1),
        "added_to_epoch": {
            "adding": round(sum(adding) / epoch_s, 5),
            "prototypes": round(making / epoch_s, 5),
            "together": round(added_share, 5),
        },
        "target_0.02_met": added_share <= 0.02,
    }


def main() -> None:
    """Measures the parts and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pair", choices=["retinanet", "fasterrcnn"], default="retinanet")
    parser.add_argument("--teacher-backbone", default="resnet50")
    parser.add_argument("--student-backbone", default="resnet18")
    parser.add_argument("--channels", type=int, default=256, help="of both necks")
    parser.add_argument("--size", type=int, default=256, help="shorter side of the images, pixels")
    parser.add_argument("--max-size", type=int, help="longer side; the shorter one unless given")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--boxes", type=int, default=7, help="per image; COCO's mean is 7")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--epoch-steps", type=int, default=500, help="steps of the epoch that costs are spread over")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    empty = StepBench(options, device, cast(Detector, None), [])
    teacher = empty.detector(options.teacher_backbone)
    teacher.model.to(device).eval().requires_grad_(requires_grad=False)
    bench = dataclasses.replace(empty, teacher=teacher, batches=make_batches(options, device))
    measure = {"step": step_cost, "terms": term_costs, "loops": against_loops, "queue": queue_cost}
    line: Values = {"benchmark": "distill_step"}
    for part in options.parts:
        line[part] = measure[part](bench)
    line["setting"] = {
        **{name: value for name, value in vars(options).items() if name != "parts"},
        "clock": bench.clock_kind,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
