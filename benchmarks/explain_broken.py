"""Does ``distune explain`` name the fault of a study that is broken on purpose?

Trains one trial and its control for each fault, on the data of ``quickstart``, explains the study, and prints whether
the expected check has the expected state, with its text. The last two rows are of one study without a fault but its
short training and its single seed, and no other check may find a problem there::

    python benchmarks/explain_broken.py --epochs 4
    python benchmarks/explain_broken.py --only share filter

Studies are kept in the home folder and not trained again. The teacher is that of ``quickstart``. Prints a Markdown
table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import distune
from distune.config.home import Home
from distune.errors import StudyError
from distune.explanation.explanation import Explanation
from distune.explanation.finding import FindingState
from distune.training import checkpoint

EXPERIMENT = "quickstart"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and the finding that must name it.

    Attributes:
        name: of the study.
        title: for the table.
        check: that must find it.
        state: that the check must have.
        overrides: settings that make the fault.
        fixed: parameters of the search space that make it.
        swaps_classes: give the classes of the teacher's weights in the wrong order.
        alone: no other check may find a problem.
    """

    name: str
    title: str
    check: str
    state: FindingState = FindingState.PROBLEM
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)
    swaps_classes: bool = False
    alone: bool = False


_PROTOTYPES = {"distillation.preset": "gkd_global", "distillation.prototypes.min_box_side_px": 8}
FAULTS = (
    Fault(
        name="swapped",
        title="the classes of the teacher's weights are listed in the wrong order",
        check="labels",
        swaps_classes=True,
    ),
    Fault(
        name="weak",
        title="a teacher of one epoch",
        check="teacher",
        overrides={"teacher_training.epochs": 1},
    ),
    Fault(
        name="share",
        title="map imitation with a share of 100",
        check="shares",
        fixed={"distillation.local_knowledge.weight": 100.0},
    ),
    Fault(
        name="filter",
        title="a filter that drops everything",
        check="filter",
        overrides={
            **_PROTOTYPES,
            "distillation.filter.local_threshold": 0.001,
            "distillation.filter.weight": "gaussian",
        },
    ),
    Fault(name="healthy", title="one seed, not confirmed", check="spread", state=FindingState.UNKNOWN),
    Fault(name="healthy", title="none but few epochs", check="budget", alone=True),
)


def launch(fault: Fault, *, epochs: int) -> distune.Study:
    """Launch the study of a fault, or load it if it is there."""
    name = f"broken-{fault.name}-{epochs}"
    try:
        return distune.load_study(name)
    except StudyError:
        pass
    overrides = {"training.epochs": epochs, "search.num_trials": 1, "tracking.enabled": False, **fault.overrides}
    if fault.swaps_classes:
        overrides |= swapped_teacher()
    return distune.launch(EXPERIMENT, name=name, overrides=overrides, fixed=fault.fixed, runner="local")


def swapped_teacher() -> dict[str, Any]:
    """Return settings of a teacher that is a plain state dict, with its classes in the wrong order."""
    teacher = distune.prepare_teacher(EXPERIMENT)
    content = checkpoint.load(teacher.weights)
    assert content is not None
    file = Path(Home.from_environment().root) / "swapped.pt"
    torch.save(content["model"], file)
    return {
        "teacher_training": None,
        "teacher.weights": str(file),
        "teacher.classes": list(reversed(content["classes"])),
    }


def is_found(fault: Fault, result: Explanation) -> tuple[bool, str]:
    """Return whether the explanation names the fault, and its text."""
    finding = next(each for each in result.findings if each.check == fault.check)
    is_alone = not any(each.check != fault.check for each in result.problems)
    return finding.state is fault.state and (is_alone or not fault.alone), finding.text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4, help="of students and controls")
    parser.add_argument("--only", nargs="+", choices=sorted({fault.name for fault in FAULTS}), help="names of faults")
    options = parser.parse_args(arguments)
    print("| fault | expected | found | other problems | text |\n|---|---|---|---|---|")
    for fault in FAULTS:
        if options.only and fault.name not in options.only:
            continue
        result = launch(fault, epochs=options.epochs).explain()
        found, text = is_found(fault, result)
        others = ", ".join(each.check for each in result.problems if each.check != fault.check) or "none"
        expected = f"{fault.check}: {fault.state}{', alone' if fault.alone else ''}"
        print(f"| {fault.title} | {expected} | {'yes' if found else '**no**'} | {others} | {text} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
