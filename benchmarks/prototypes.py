"""The cost of prototypes: pursuit against the literal algorithm, its growth with N, and the whole module at N = 40,000.

Prints one JSON line. Each measurement runs in a process of its own, one after the other, on equally many threads.
Memory is by how much the peak of the process's resident memory grows during the selection (Linux only).

    python benchmarks/prototypes.py --threads 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distune.distillation.maps.pooling import l2_normalize
from distune.distillation.prototypes.density import density, estimated_density
from distune.distillation.prototypes.prototypes import InstanceFeatures, make_prototypes
from distune.distillation.prototypes.pursuit import pursue

ALPHA = 10.0
BANDWIDTH = 0.1
QUANTILE = 0.4
SIZES = (1_000, 3_162, 10_000, 31_623, 100_000)

# Shape legend: N instances, K candidates (all of them here), D channels of student and of teacher.


def features(num_instances: int, channels: int, *, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Unit features as those of one class: a common direction, some clusters around it, and noise."""
    generator = torch.Generator().manual_seed(seed)
    centers_CD = torch.randn(12, channels, generator=generator, dtype=dtype) + 1.5
    cluster_N = torch.randint(0, 12, (num_instances,), generator=generator)
    noise_ND = torch.randn(num_instances, channels, generator=generator, dtype=dtype)
    raw_ND = centers_CD[cluster_N] + 0.5 * noise_ND
    return l2_normalize(raw_ND)


def literal_pursuit(student_ND: Tensor, teacher_ND: Tensor, *, num_prototypes: int) -> Tensor:
    """The algorithm as the paper's objective states it, in tensors: every residual of every candidate is written out.

    For each candidate and instance the best two coefficients, then the residuals (K, N, D), one space after the other
    to spare memory, then their summed squares with the penalty. The least wins and is subtracted, and so on.
    """
    spaces = [(student_ND, student_ND.clone()), (teacher_ND, teacher_ND.clone())]
    selected: list[int] = []
    for _ in range(num_prototypes):
        a_KN, b_KN = (unit_ND @ residual_ND.T for unit_ND, residual_ND in spaces)
        weights = [(ALPHA * (a_KN + b_KN) + each_KN) / (1 + 2 * ALPHA) for each_KN in (a_KN, b_KN)]
        error_K = ALPHA * (weights[0] - weights[1]).square().sum(dim=1)
        for (unit_ND, residual_ND), weight_KN in zip(spaces, weights, strict=True):
            left_KND = residual_ND[None] - weight_KN[..., None] * unit_ND[:, None]
            error_K += left_KND.square_().sum(dim=(1, 2))
            del left_KND
        error_K[selected] = torch.inf
        best = int(error_K.argmin())
        selected.append(best)
        for (unit_ND, residual_ND), weight_KN in zip(spaces, weights, strict=True):
            residual_ND -= weight_KN[best][:, None] * unit_ND[best]
    return torch.tensor(selected)


def timed(work: Callable[[], Any], *, repeats: int) -> tuple[Any, dict[str, float]]:
    """Return the result of a function, and the least of some runs: wall-clock seconds and CPU seconds.

    The second is blurred less by whoever else is on the machine.
    """
    seconds, busy_seconds = math.inf, math.inf
    for _ in range(repeats):
        started, started_busy = time.perf_counter(), time.process_time()
        result = work()
        seconds = min(seconds, time.perf_counter() - started)
        busy_seconds = min(busy_seconds, time.process_time() - started_busy)
    return result, {"seconds": seconds, "busy_core_seconds": busy_seconds}


def selector(which: str, num_prototypes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The literal algorithm or the closed form, after a small selection that loads the libraries."""

    def select(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
        if which == "literal":
            return literal_pursuit(student_ND, teacher_ND, num_prototypes=num_prototypes)
        everyone_K = torch.arange(student_ND.shape[0])
        return pursue(student_ND, teacher_ND, everyone_K, num_prototypes=num_prototypes, alpha=ALPHA, unique=True)

    select(features(40, 16, seed=1), features(40, 16, seed=2))
    return select


def selection(which: str, num_instances: int, channels: int, num_prototypes: int) -> dict[str, Any]:
    """One selection, timed."""
    student_ND, teacher_ND = (features(num_instances, channels, seed=seed) for seed in (1, 2))
    select = selector(which, num_prototypes)
    picked, cost = timed(lambda: select(student_ND, teacher_ND), repeats=1 if which == "literal" else 5)
    return {"indices": picked.tolist(), **cost}


def peak_mib(which: str, num_instances: int, channels: int, num_prototypes: int) -> float:
    """By how many MiB a selection raises the memory of its process at its peak, the features excluded."""
    student_ND, teacher_ND = (features(num_instances, channels, seed=seed) for seed in (1, 2))
    select = selector(which, num_prototypes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before = _kibibytes("VmRSS")
    select(student_ND, teacher_ND)
    return (_kibibytes("VmHWM") - before) / 1024


def _kibibytes(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def whole(num_instances: int, channels: int, num_prototypes: int) -> dict[str, Any]:
    """The whole module for one class on one level, with the density filter and the figures of the report."""
    found = InstanceFeatures(
        student_LND=features(num_instances, channels, seed=1, dtype=torch.float32)[None],
        teacher_LNE=features(num_instances, channels, seed=2, dtype=torch.float32)[None],
        labels_N=torch.ones(num_instances, dtype=torch.int64),
        origin_N2=torch.zeros(num_instances, 2, dtype=torch.int64),
    )
    (_, report), cost = timed(
        lambda: make_prototypes(
            found,
            (8,),
            num_classes=1,
            num_prototypes=num_prototypes,
            alpha=ALPHA,
            unique=True,
            density_bandwidth=BANDWIDTH,
            density_quantile=QUANTILE,
        ),
        repeats=2,
    )
    return {**cost, **report.metrics()}


def density_check(num_instances: int, channels: int, num_references: int) -> dict[str, float]:
    """The estimate of the density beside the exact one: its true error, the stated one, and who changes sides."""
    unit_ND = features(num_instances, channels, seed=1)
    started = time.perf_counter()
    exact_N = density(unit_ND, bandwidth=BANDWIDTH)
    exact_seconds = time.perf_counter() - started
    started = time.perf_counter()
    rho_N, error_N = estimated_density(unit_ND, bandwidth=BANDWIDTH, num_references=num_references, seed=0)
    seconds = time.perf_counter() - started
    sides = [each > torch.quantile(each, QUANTILE) for each in (exact_N, rho_N)]
    return {
        "exact_s": exact_seconds,
        "estimated_s": seconds,
        "true_relative_error": float(((rho_N - exact_N).abs() / exact_N).square().mean().sqrt()),
        "stated_relative_error": float((error_N / exact_N).square().mean().sqrt()),
        "share_on_the_other_side_of_the_quantile": float((sides[0] != sides[1]).double().mean()),
    }


def alone(work: Callable[..., Any], *arguments: Any, threads: int) -> Any:
    """Run in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (threads,)) as pool:
        return pool.apply(work, arguments)


@contextlib.contextmanager
def exact_memory() -> Iterator[None]:
    """Processes started in the block give memory back when it is freed, so that their peak is what they really use.

    That costs time: nothing is timed in them.
    """
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    yield
    del os.environ["MALLOC_MMAP_THRESHOLD_"]


def _costs(found: dict[str, Any]) -> dict[str, float]:
    return {name: found[name] for name in ("seconds", "busy_core_seconds")}


def _slope(by_size: dict[int, float]) -> float:
    """The exponent of the power of N that fits the costs best, on logarithmic scales; 1 is linear."""
    x, y = ([math.log(each) for each in values] for values in (by_size.keys(), by_size.values()))
    return statistics.linear_regression(x, y).slope


def main() -> None:
    """Measure everything and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in every measurement (2)")
    parser.add_argument("--instances", type=int, default=800, help="N of the comparison with the literal algorithm")
    parser.add_argument("--channels", type=int, default=256, help="of each model (256)")
    parser.add_argument("--prototypes", type=int, default=10, help="how many are selected (10)")
    parser.add_argument("--whole", type=int, default=40_000, help="N of the whole module with density (40000)")
    given = parser.parse_args()
    sizes = (given.channels, given.prototypes)
    literal = alone(selection, "literal", given.instances, *sizes, threads=given.threads)
    closed = alone(selection, "closed", given.instances, *sizes, threads=given.threads)
    with exact_memory():
        memory = {
            which: alone(peak_mib, which, given.instances, *sizes, threads=given.threads)
            for which in ("literal", "closed")
        }
    growth = {n: alone(selection, "closed", n, *sizes, threads=given.threads) for n in SIZES}
    result = {
        "benchmark": "prototypes",
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": given.threads,
        "instances": given.instances,
        "channels": given.channels,
        "prototypes": given.prototypes,
        "same_indices": literal["indices"] == closed["indices"],
        "literal": _costs(literal),
        "closed": _costs(closed),
        "speed_ratio": literal["seconds"] / closed["seconds"],
        "busy_ratio": literal["busy_core_seconds"] / closed["busy_core_seconds"],
        "peak_mib": memory,
        "memory_ratio": memory["literal"] / memory["closed"],
        "growth": {n: _costs(each) for n, each in growth.items()},
        "growth_exponent": {
            measure: _slope({n: each[measure] for n, each in growth.items()})
            for measure in ("seconds", "busy_core_seconds")
        },
        "whole_instances": given.whole,
        "whole": alone(whole, given.whole, *sizes, threads=given.threads),
        "density_at_12000": alone(density_check, 12_000, given.channels, 4_096, threads=given.threads),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
