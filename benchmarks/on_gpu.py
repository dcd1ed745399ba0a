"""Training on one GPU: where the time goes, memory, cohorts, hidden waits, precision, resuming. Prints JSON lines.

Needs neither Ray nor MLflow, and makes its own images: squares with as many pixels as --size, at most 1024 x 1024. They
are kept in memory, so that loading is only augmentation and copying. At most 8 minutes on one GPU; each part stops when
its share of the time is over, and says what it has measured until then. Each part prints a line, and the last line has
them all. A part that fails has the error instead::

    python benchmarks/on_gpu.py
    python benchmarks/on_gpu.py --device cpu --precision float32 --size 96 128 --batches 2 --pairs tiny --minutes 2

Parts. ``steps``: seconds of loading, teacher, student and evaluation per step, and peak memory, for each pair and batch
size, the largest batches first. ``cohorts``: 1, 2, 4, 8 students in one process, and as many processes, which start
their measured epochs together. ``waits``: places where the host waits for the device within a step, by
``torch.cuda.set_sync_debug_mode``. ``precision``: losses of the first epoch in bfloat16 and float16 against float32,
beside a second run in float32. ``resume``: largest difference of a weight after two epochs from one epoch, a
checkpoint, and the second one; beside that of another run without a checkpoint, since some operations of a GPU add in
any order.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import gc
import io
import json
import math
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distune.config.data import DataSettings
from distune.config.experiment import Experiment
from distune.config.paths import merge
from distune.data.build import build_splits
from distune.data.dataset import Subset
from distune.data.splits import Splits
from distune.detectors.taps import Detector
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
LARGEST_SIDE_PX = 1024
MEASURED_EPOCHS = 3
PROCESSES_TIMEOUT_S = 120.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """A pair at a batch size and precision."""

    builder: TrialBuilder
    experiment: Experiment

    @classmethod
    def of(cls, pair: str, batch: int, precision: str, options: argparse.Namespace) -> Setup:
        side = min(LARGEST_SIDE_PX, round(math.sqrt(options.size[0] * options.size[1])))
        values: Values = {
            "name": "on-gpu",
            "data": {
                "kind": "shapes",
                "num_train": NUM_STEPS * max(options.batches),
                "num_search": NUM_SEARCH,
                "num_test": 0,
                "num_classes": options.classes,
                "max_objects": 8,
                "image_size_px": side,
                "min_size_px": side,
                "max_size_px": side,
            },
            "teacher_training": {"epochs": 1},
            "training": {"epochs": 12, "batch_size": batch, "precision": precision},
        }
        experiment = Experiment.model_validate(merge(values, PAIRS[pair]))
        splits = painted(experiment.data)
        splits = dataclasses.replace(splits, train=Subset(splits.train, range(NUM_STEPS * batch)))
        return cls(TrialBuilder(experiment, splits, torch.device(options.device)), experiment)

    def cohort(self, size: int) -> tuple[Cohort, list[Student]]:
        """A cohort of students with random weights."""
        training = self.experiment.training
        teacher = self.builder.teacher_or_random(None)
        calibrate(teacher)
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


@functools.cache
def painted(data: DataSettings) -> Splits:
    """The images of all parts, painted once."""
    splits = build_splits(data)
    return dataclasses.replace(splits, search=Subset(splits.search, range(NUM_SEARCH)))


def calibrate(teacher: Detector) -> None:
    """Give batch normalization the statistics of some images: a deep network of random weights overflows float16."""
    model, norms = teacher.model, [each for each in teacher.model.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model.get_submodule("backbone")(torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
    model.eval()


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
        for batch in sorted(options.batches, reverse=True):
            if is_over():
                return found
            with memory_errors(found, pair=pair, batch=batch):
                found.append(
                    {"pair": pair, "batch": batch, **step_of(Setup.of(pair, batch, options.precision, options))}
                )
    return found


def step_of(setup: Setup) -> Values:
    """The seconds of a step and the memory of one student, after an epoch that is not measured."""
    cohort, _ = setup.cohort(1)
    run_epoch(cohort)
    metrics = run_epoch(cohort)
    per_step = {name: metrics[f"time/{name}_s"] / NUM_STEPS for name in ("load", "teacher", "student")}
    return {
        "seconds_per_step": rounded(per_step),
        "evaluate_s_per_image": round(metrics["time/evaluate_s"] / NUM_SEARCH, 4),
        "images_per_s": round(metrics["speed/images_per_s"], 2),
        "peak_mb": round(metrics["memory/peak_mb"]),
    }


def cohorts(options: argparse.Namespace, is_over: Any) -> list[Values]:
    """Images per second and memory of cohorts, and of as many processes."""
    found: list[Values] = []
    pair, batch = options.pairs[-1], options.batches[0]
    for size in COHORTS:
        if is_over():
            return found
        with memory_errors(found, pair=pair, students=size):
            images_per_s, peak_mb = cohort_of(Setup.of(pair, batch, options.precision, options), size)
            line = {"pair": pair, "batch": batch, "students": size, "peak_mb": round(peak_mb)}
            found.append({**line, "student_images_per_s": round(size * images_per_s, 2)})
        if size > 1 and not is_over():
            found[-1]["separate_student_images_per_s"] = processes(size, options)
    return found


def cohort_of(setup: Setup, size: int) -> tuple[float, float]:
    """The images per second of each of some students, and their peak of memory in megabytes."""
    cohort, _ = setup.cohort(size)
    run_epoch(cohort, evaluate=False)
    seconds, metrics = measured(cohort, setup.builder.device)
    return MEASURED_EPOCHS * NUM_STEPS * setup.experiment.training.batch_size / seconds, metrics["memory/peak_mb"]


def measured(cohort: Cohort, device: torch.device) -> tuple[float, dict[str, float]]:
    """The seconds of some epochs, until the device has done them, and the metrics of the last one."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(MEASURED_EPOCHS):
        metrics = run_epoch(cohort, evaluate=False)
    wait_for(device)
    return time.perf_counter() - started, metrics


def wait_for(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train_alone(options: argparse.Namespace) -> None:
    """One of several processes with a student each: say when it is ready, wait for a line, and print the seconds."""
    setup = Setup.of(options.pairs[-1], options.batches[0], options.precision, options)
    cohort, _ = setup.cohort(1)
    run_epoch(cohort, evaluate=False)
    print("ready", flush=True)
    sys.stdin.readline()
    print(measured(cohort, setup.builder.device)[0], flush=True)


def processes(number: int, options: argparse.Namespace) -> float | str:
    """The images per second of all of a number of processes with a student each, or why there is no figure."""
    command = [sys.executable, __file__, "--one", "--device", options.device, "--precision", options.precision]
    command += ["--pairs", options.pairs[-1], "--batches", str(options.batches[0])]
    command += ["--size", *map(str, options.size), "--classes", str(options.classes)]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(number)]
    timer = threading.Timer(PROCESSES_TIMEOUT_S, kill, [running])
    timer.start()
    try:
        ready = [process.stdout.readline() for process in running if process.stdout is not None]
        answers = [process.communicate("go\n" if all(ready) else None) for process in running]
    finally:
        timer.cancel()
    failed = next((error for (_, error), each in zip(answers, running, strict=True) if each.returncode != 0), None)
    if failed is not None:
        lines: list[str] = failed.strip().splitlines() or [f"no answer after {PROCESSES_TIMEOUT_S:.0f} s"]
        return lines[-1]
    slowest = max(float(answer) for answer, _ in answers)
    num_images: int = number * MEASURED_EPOCHS * NUM_STEPS * options.batches[0]
    return round(num_images / slowest, 2)


def kill(running: Sequence[subprocess.Popen[str]]) -> None:
    """Kill all processes."""
    for process in running:
        process.kill()


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
    places = Counter(
        f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno}"
        for each in caught
        if "synchroniz" in str(each.message)
    )
    return {"per_epoch": sum(places.values()), "steps": NUM_STEPS, "places": dict(places.most_common(40))}


def precision(options: argparse.Namespace, is_over: Any) -> Values:
    """Losses of the first epoch in each precision."""
    found: Values = {}
    for name, dtype in {"float32": "float32", "again": "float32", "bfloat16": "bfloat16", "float16": "float16"}.items():
        if is_over():
            return found
        cohort, _ = Setup.of(options.pairs[-1], options.batches[0], dtype, options).cohort(1)
        metrics = run_epoch(cohort, evaluate=False)
        found[name] = rounded({key: value for key, value in metrics.items() if key.startswith("loss/")})
        del cohort
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
    resumed.load_state_dict(torch.load(buffer, weights_only=True, map_location="cpu"))
    again.epochs_done = 1
    run_epoch(again, evaluate=False)
    other, (repeated,) = setup.cohort(1)
    for _ in range(2):
        run_epoch(other, evaluate=False)
    return {"largest_difference": difference(student, resumed), "of_another_run": difference(student, repeated)}


def difference(one: Student, other: Student) -> float:
    """The largest difference of a weight."""
    others = other.detector.model.state_dict()
    pairs = [(value.float(), others[name].float()) for name, value in one.detector.model.state_dict().items()]
    return max(float((first - second).abs().max()) for first, second in pairs if first.numel())


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
    gc.collect()
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
    parser.add_argument("--classes", type=int, choices=(1, 2, 3), default=3)
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        train_alone(options)
        return
    started, found = time.monotonic(), {}
    functions = {"steps": steps, "cohorts": cohorts, "waits": waits, "precision": precision, "resume": resume}
    for index, name in enumerate(options.parts, start=1):
        end = started + 60 * options.minutes * index / len(options.parts)
        try:
            found[name] = functions[name](options, lambda end=end: time.monotonic() > end)
        except Exception as error:
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({name: found[name]}), flush=True)
        release()
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    line = {"device": device, "torch": torch.__version__, "size": options.size, "dtype": options.precision, **found}
    print(json.dumps({**line, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
