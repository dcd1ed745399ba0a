"""Training on one GPU: where the time goes, memory, cohorts, hidden waits, precision, resuming. Prints one JSON line.

Needs neither Ray nor MLflow, and makes its own images: squares with as many pixels as --size. At most 8 minutes
on one GPU; each part stops when its share of the time is over, and says what it has measured until then::

    python benchmarks/on_gpu.py
    python benchmarks/on_gpu.py --device cpu --precision float32 --size 96 128 --batches 2 --pairs tiny --minutes 2

Parts. ``steps``: seconds of loading, teacher, student and evaluation per step, and peak memory, for each pair and batch
size. ``cohorts``: 1, 2, 4, 8 students in one process, and as many processes as fit. ``waits``: places where the host
waits for the device within a step, by ``torch.cuda.set_sync_debug_mode``. ``precision``: losses of the first steps in
bfloat16 and float16 against float32. ``resume``: are two epochs equal to one epoch, a checkpoint, and the second one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import math
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from distune.config.experiment import Experiment
from distune.config.paths import merge
from distune.data.build import build_splits
from distune.data.dataset import Subset
from distune.training.builder import TrialBuilder
from distune.training.cohort import Cohort
from distune.training.student import Student

Values = dict[str, Any]

RETINANET = {"teacher": {"family": "retinanet", "backbone": "resnet101"}}
FASTER = {"teacher": {"family": "fasterrcnn", "backbone": "resnet101"}}
PAIRS: dict[str, Values] = {
    "fasterrcnn": {**FASTER, "student": {"family": "fasterrcnn", "backbone": "resnet50"}},
    "retinanet": {**RETINANET, "student": {"family": "retinanet", "backbone": "resnet18"}},
    "tiny": {
        "teacher": {"family": "retinanet", "backbone": "resnet18", "fpn_channels": 32},
        "student": {"family": "retinanet", "backbone": "resnet10", "fpn_channels": 16},
    },
}
PARTS = ("steps", "cohorts", "waits", "precision", "resume")
NUM_STEPS, NUM_SEARCH = 6, 4
COHORTS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A pair at a batch size and precision."""

    builder: TrialBuilder
    experiment: Experiment

    @classmethod
    def of(cls, pair: str, batch: int, precision: str, options: argparse.Namespace) -> Setup:
        side = round(math.sqrt(options.size[0] * options.size[1]))
        values: Values = {
            "name": "on-gpu",
            "data": {
                "kind": "shapes",
                "num_train": NUM_STEPS * batch,
                "num_search": NUM_SEARCH,
                "num_test": 0,
                "num_classes": min(options.classes, 3),
                "max_objects": 8,
                "image_size_px": side,
                "min_size_px": side,
                "max_size_px": side,
            },
            "teacher_training": {"epochs": 1},
            "training": {"epochs": 12, "batch_size": batch, "precision": precision},
        }
        experiment = Experiment.model_validate(merge(values, PAIRS[pair]))
        splits = build_splits(experiment.data)
        search = Subset(splits.search, range(NUM_SEARCH))
        builder = TrialBuilder(experiment, dataclasses.replace(splits, search=search), torch.device(options.device))
        return cls(builder, experiment)

    def cohort(self, size: int) -> tuple[Cohort, list[Student]]:
        """A cohort of students with random weights."""
        training = self.experiment.training
        teacher = self.builder.teacher_or_random(None)
        stream = self.builder.stream(training, seed=0)
        cohort = self.builder.cohort(training, stream, teacher, epochs_done=0)
        students = [
            self.builder.student(
                str(number), self.experiment.student, training, seed=0, steps_per_epoch=len(stream), teacher=teacher
            )
            for number in range(size)
        ]
        for student in students:
            cohort.join(student)
        return cohort, students


def run_epoch(cohort: Cohort, *, evaluate: bool = True) -> dict[str, float]:
    """Train an epoch; return the metrics of the first student, or raise its error."""
    results = list(cohort.run_epoch(evaluate=evaluate).values())
    for result in results:
        if result.error is not None:
            raise result.error
    return results[0].metrics


def steps(options: argparse.Namespace, is_over: Any) -> list[Values]:
    """Seconds per step of each part, and memory."""
    found: list[Values] = []
    for pair in options.pairs:
        for batch in options.batches:
            if is_over():
                return found
            with memory_errors(found, pair=pair, batch=batch):
                cohort, _ = Setup.of(pair, batch, options.precision, options).cohort(1)
                run_epoch(cohort)
                metrics = run_epoch(cohort)
                per_step = {name: metrics[f"time/{name}_s"] / NUM_STEPS for name in ("load", "teacher", "student")}
                found.append(
                    {
                        "pair": pair,
                        "batch": batch,
                        "seconds_per_step": rounded(per_step),
                        "evaluate_s_per_image": round(metrics["time/evaluate_s"] / NUM_SEARCH, 4),
                        "images_per_s": round(metrics["speed/images_per_s"], 2),
                        "peak_mb": round(metrics["memory/peak_mb"]),
                    }
                )
    return found


def cohorts(options: argparse.Namespace, is_over: Any) -> list[Values]:
    """Images per second and memory of cohorts, and of as many processes."""
    found: list[Values] = []
    pair, batch = options.pairs[-1], options.batches[0]
    for size in COHORTS:
        if is_over():
            return found
        with memory_errors(found, pair=pair, students=size):
            cohort, _ = Setup.of(pair, batch, options.precision, options).cohort(size)
            run_epoch(cohort, evaluate=False)
            metrics = run_epoch(cohort, evaluate=False)
            line = {"pair": pair, "batch": batch, "students": size, "peak_mb": round(metrics["memory/peak_mb"])}
            found.append({**line, "student_images_per_s": round(size * metrics["speed/images_per_s"], 2)})
            del cohort
        release()
        if size > 1 and not is_over():
            found[-1]["separate_student_images_per_s"] = processes(size, options)
    return found


def processes(number: int, options: argparse.Namespace) -> float | None:
    """The images per second of all of a number of processes with a student each; None if one fails."""
    command = [sys.executable, __file__, "--one", "--device", options.device, "--precision", options.precision]
    command += ["--pairs", options.pairs[-1], "--batches", str(options.batches[0])]
    command += ["--size", *map(str, options.size), "--classes", str(options.classes)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(number)]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode != 0 for process in running):
        return None
    return round(sum(float(json.loads(answer)["images_per_s"]) for answer in answers), 2)


def waits(options: argparse.Namespace, is_over: Any) -> Values:
    """Places where the host waits for the device within the steps of an epoch."""
    if options.device != "cuda" or is_over():
        return {}
    cohort, _ = Setup.of(options.pairs[-1], options.batches[0], options.precision, options).cohort(1)
    run_epoch(cohort, evaluate=False)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run_epoch(cohort, evaluate=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = Counter(f"{each.filename.rpartition('/')[2]}:{each.lineno}" for each in caught)
    return {"per_epoch": sum(places.values()), "steps": NUM_STEPS, "places": dict(places.most_common(12))}


def precision(options: argparse.Namespace, is_over: Any) -> Values:
    """Losses of the first epoch in each precision."""
    found: Values = {}
    for name in ("float32", "bfloat16", "float16"):
        if is_over():
            return found
        cohort, _ = Setup.of(options.pairs[-1], options.batches[0], name, options).cohort(1)
        metrics = run_epoch(cohort, evaluate=False)
        found[name] = rounded({key: value for key, value in metrics.items() if key.startswith("loss/")})
        release()
    return found


def resume(options: argparse.Namespace, is_over: Any) -> Values:
    """Compare two epochs with one, a checkpoint, and the second."""
    if is_over():
        return {}
    setup = Setup.of(options.pairs[-1], options.batches[0], options.precision, options)
    whole, (student,) = setup.cohort(1)
    run_epoch(whole, evaluate=False)
    buffer = io.BytesIO()
    torch.save(student.state_dict(), buffer)
    run_epoch(whole, evaluate=False)
    again, (resumed,) = setup.cohort(1)
    buffer.seek(0)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    again.epochs_done = 1
    run_epoch(again, evaluate=False)
    pairs = [
        (value.float(), resumed.detector.model.state_dict()[name].float())
        for name, value in student.detector.model.state_dict().items()
    ]
    largest = max(float((one - other).abs().max()) for one, other in pairs if one.numel())
    return {"is_equal": largest == 0.0, "largest_difference": largest}


@contextlib.contextmanager
def memory_errors(found: list[Values], **line: Any) -> Iterator[None]:
    """Note that the device ran out of memory, and continue."""
    try:
        yield
    except torch.OutOfMemoryError:
        found.append({**line, "error": "out of memory"})
    release()


def release() -> None:
    """Free what is not used."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", nargs="+", choices=sorted(PAIRS), default=["fasterrcnn", "retinanet"])
    parser.add_argument("--batches", nargs="+", type=int, default=[2, 8, 16])
    parser.add_argument("--size", nargs=2, type=int, default=[800, 1333], metavar=("SHORT", "LONG"))
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        cohort, _ = Setup.of(options.pairs[-1], options.batches[0], options.precision, options).cohort(1)
        run_epoch(cohort, evaluate=False)
        print(json.dumps({"images_per_s": run_epoch(cohort, evaluate=False)["speed/images_per_s"]}))
        return
    started, found = time.monotonic(), {}
    functions = {"steps": steps, "cohorts": cohorts, "waits": waits, "precision": precision, "resume": resume}
    for index, name in enumerate(options.parts, start=1):
        end = started + 60 * options.minutes * index / len(options.parts)
        found[name] = functions[name](options, lambda end=end: time.monotonic() > end)
        release()
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    line = {"device": device, "torch": torch.__version__, "size": options.size, "dtype": options.precision, **found}
    print(json.dumps({**line, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
