"""``distune validate``: check an experiment and its search space, and say what a study of it would cost."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from distune.cli.options import ExperimentArgument, FixOption, JsonOption, SetOption
from distune.cli.output import out, print_json
from distune.cli.planning import describe_plan, describe_sizes
from distune.cli.preparation import describe_data, open_data
from distune.cli.probing import print_findings, probe_space, stop_if_wrong
from distune.config.conditions import describe_condition
from distune.config.data import ShapesData
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.study.planning.study_plan import plan_study
from distune.study.search.samplers import check_sampler


def validate(
    experiment: ExperimentArgument,
    *,
    set: SetOption = [],  # noqa: A002, B006
    fix: FixOption = [],  # noqa: B006
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Probe each searched parameter: one without an effect on a loss is an error."),
    ] = False,
    probe_images: Annotated[int, typer.Option(min=1, help="Number of images of a probe.")] = 12,
    json: JsonOption = False,
) -> None:
    """Check an experiment, its search space and its data; name every problem; train nothing.

    Data is checked when its folder is given: set data.root to include it.

    With --probe, every searched parameter is tried at two of its values on a few images, the others at the experiment's
    own. One that moves neither a loss nor a gradient would do nothing in a study, and is an error. A teacher that is
    not trained yet is stood in for by random weights. Nothing is written.

    Examples:
        distune validate bccd --set data.root=BCCD

        distune validate quickstart --probe
    """
    loaded = load_experiment(experiment, set, fixed=fix)
    values = loaded.experiment
    check_sampler(values.search.sampler)
    has_data = isinstance(values.data, ShapesData) or values.data.root is not None
    splits = open_data(values) if has_data or probe else None
    data = "not checked: data.root is not set (--set data.root=PATH)" if splits is None else describe_data(splits)
    findings = probe_space(loaded, splits, num_images=probe_images) if probe and splits is not None else []
    if json:
        probed = {"probe": [finding.to_dict() for finding in findings]} if probe else {}
        plan = dataclasses.asdict(plan_study(values, loaded.searched))
        checked = {"experiment": values.to_dict(), "space": loaded.space.to_dict(), "data": data, "plan": plan}
        print_json({**checked, **probed})
        stop_if_wrong(loaded, findings)
        return
    out.print(f"{loaded.source}: in order")
    out.print(f"data: {data}")
    out.print(
        f"teacher: {values.teacher.family} {values.teacher.backbone}, student: {values.student.family} "
        f"{values.student.backbone}, preset {values.distillation.preset}"
    )
    for line in (*describe_plan(loaded), *describe_sizes(loaded, splits, Home.from_environment())):
        out.print(line, markup=False)
    for path, parameter in loaded.searched.items():
        when = f", when {describe_condition(parameter)}" if parameter.when else ""
        out.print(f"varies: {path}  {_range(parameter)}{when}", markup=False)
    for path, reason in loaded.inactive.items():
        out.print(f"never acts: {path}  {reason}", markup=False)
    if probe:
        print_findings(findings)
        stop_if_wrong(loaded, findings)


def _range(parameter: object) -> str:
    values = getattr(parameter, "values", None)
    if values is not None:
        return "one of " + ", ".join(map(str, values))
    low, high, log = (getattr(parameter, name) for name in ("low", "high", "log"))
    return f"{low:g} to {high:g}" + (", log" if log else "")
