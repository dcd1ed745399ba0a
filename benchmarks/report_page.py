"""Measures the report page of a simulated study: CPU seconds and bytes, for several numbers of trials.

    .venv/bin/python benchmarks/report_page.py --trials 10 100

The targets: at most 20 CPU seconds and 8 MB for 100 trials, with the start of Python and the loading of libraries.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import distune

TARGET_S, TARGET_BYTES = 20.0, 8_000_000


def measure(num_trials: int, home: Path) -> tuple[float, int]:
    """Return the CPU seconds and the size in bytes of the page of a simulated study."""
    study = distune.launch(
        "quickstart",
        name=f"report-{num_trials}",
        overrides={"search.num_trials": num_trials, "training.epochs": 12, "tracking.enabled": False},
        runner="local",
        simulate=True,
        callbacks=[],
        home=home,
    )
    study.confirm(top=1, seeds=5, callbacks=[])
    before = _child_seconds()
    command = [sys.executable, "-m", "distune", "report", study.name]
    subprocess.run(command, check=True, env={**os.environ, "DISTUNE_HOME": str(home)}, stdout=subprocess.DEVNULL)
    return _child_seconds() - before, (study.path / "report" / "report.html").stat().st_size


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in arguments.trials:
            seconds, num_bytes = measure(number, Path(folder))
            verdict = "ok" if seconds <= TARGET_S and num_bytes <= TARGET_BYTES else "above the target"
            print(f"{number:>5} trials: {seconds:5.2f} CPU s  {num_bytes / 1e6:5.2f} MB  {verdict}")


if __name__ == "__main__":
    main()
