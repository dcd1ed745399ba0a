"""``distune validate``: check an experiment and its search space, and estimate the cost of a study."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distune.cli.options import ExperimentArgument, FixOption, JsonOption, SetOption, load
from distune.cli.output import out, print_data_card, print_json, progress
from distune.errors import UsageError

if TYPE_CHECKING:
    from distune.api.validation import Validation

_PROBE_IMAGES = 12


def validate(
    experiment: ExperimentArgument,
    *,
    set: SetOption = [],  # noqa: A002, B006
    fix: FixOption = [],  # noqa: B006
    probe: Annotated[
        bool, typer.Option("--probe", help="Try each searched parameter: one without any effect is an error.")
    ] = False,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", metavar="DIR", help="Draw images of each split with their boxes.")
    ] = None,
    probe_images: Annotated[
        int | None, typer.Option(min=1, help=f"Images that a probe uses. Default: {_PROBE_IMAGES}.")
    ] = None,
    time: Annotated[bool, typer.Option("--time", help="Train a few batches to estimate the time of a study.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train two steps of each model at full size; needs no data.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check an experiment, its search space and its data; list every problem; write nothing.

    Data is checked when its folder is given: set data.root to include it. The result is a table of the data, below
    all that seems wrong. With --pictures, a sheet of images with their boxes shows whether these lie on the objects.

    With --probe, every searched parameter is tried at two of its values on a few images, the others at the experiment's
    own. A parameter that changes neither a loss nor a gradient would do nothing in a study, and is an error. One that
    changes none of them by 0.1% has hardly any effect; it is reported with its largest change. A teacher that is not
    trained yet is replaced by random weights. Nothing is written.

    With --time, a few batches of the student and of the teacher are trained, to estimate the time of a study. Without
    it, the time is estimated from an earlier study with the same student, teacher and data.

    With --dry-run, teacher, control and distilled student are each trained for two steps at full image size, and two
    images are evaluated. The images are synthetic unless data.root is set, and nothing is downloaded. The result is the
    time per image, the memory, and what a study would take.

    Examples:

        distune validate bccd --set data.root=BCCD --pictures pictures

        distune validate quickstart --probe

        distune validate quickstart --time

        distune validate coco_fasterrcnn_r101_r50 --dry-run
    """
    import distune
    from distune.cli.probing import describe_finding, print_findings

    if probe_images is not None and not probe:
        raise UsageError("--probe-images has no effect without --probe")
    result = distune.validate(
        load(experiment, set, fixed=fix),
        probe=probe,
        num_probe_images=_PROBE_IMAGES if probe_images is None else probe_images,
        pictures=pictures,
        measure_time=time,
        dry_run=dry_run,
        on_finding=lambda finding: progress.print(f"probe: {describe_finding(finding)}"),
    )
    if json:
        _print_json(result, probed=probe)
    else:
        _print_text(result)
        if probe:
            print_findings(result.findings)
    result.raise_for_findings()


def _data_line(result: Validation) -> str:
    return result.data or "not checked: data.root is not set (--set data.root=PATH)"


def _print_json(result: Validation, *, probed: bool) -> None:
    loaded = result.loaded
    probe = {"probe": [finding.to_dict() for finding in result.findings]} if probed else {}
    dry = {} if result.dry_run is None else {"dry_run": result.dry_run.to_dict()}
    plan = dataclasses.asdict(result.plan)
    estimate = None if result.time_plan is None else result.time_plan.to_dict()
    checked = {"experiment": loaded.experiment.to_dict(), "space": loaded.space.to_dict()}
    card = None if result.card is None else result.card.to_dict()
    print_json(
        {**checked, "data": _data_line(result), "data_card": card, "plan": plan, "time": estimate, **probe, **dry}
    )


def _print_text(result: Validation) -> None:
    from distune.study.files.settings_diff import describe_parameter

    loaded = result.loaded
    values = loaded.experiment
    out.print(f"{loaded.source}: valid")
    if result.card is None:
        out.print(f"data: {_data_line(result)}")
    else:
        print_data_card(result.card)
    out.print(
        f"teacher: {values.teacher.family} {values.teacher.backbone}, student: {values.student.family} "
        f"{values.student.backbone}, preset {values.distillation.preset}"
    )
    for line in result.plan_lines:
        out.print(line)
    for path, parameter in loaded.searched.items():
        out.print(f"searched: {path}  {describe_parameter(parameter)}")
    for line in () if result.dry_run is None else result.dry_run.lines:
        out.print(line)
    for path, reason in loaded.inactive.items():
        out.print(f"never active: {path}  {reason}")
