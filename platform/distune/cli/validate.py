"""``distune validate``: check an experiment and its search space, and say what a study of it would cost."""

from __future__ import annotations

from distune.cli.options import ExperimentArgument, JsonOption, SetOption
from distune.cli.output import out, print_json
from distune.cli.preparation import describe_data, open_data
from distune.config.data import ShapesData
from distune.config.experiment import Experiment
from distune.config.load import load
from distune.study.plan import plan_study


def validate(experiment: ExperimentArgument, *, set: SetOption = [], json: JsonOption = False) -> None:  # noqa: A002, B006
    """Check an experiment, its search space and its data; name every problem; train nothing.

    Data is checked when its folder is given: set data.root to include it.

    Example: `distune validate bccd --set data.root=BCCD`
    """
    loaded = load(experiment, set)
    values = loaded.experiment
    has_data = isinstance(values.data, ShapesData) or values.data.root is not None
    data = describe_data(open_data(values)) if has_data else "not checked: data.root is not set (--set data.root=PATH)"
    if json:
        print_json({"experiment": values.to_dict(), "space": loaded.space.to_dict(), "data": data})
        return
    out.print(f"{loaded.source}: in order")
    out.print(f"data: {data}")
    out.print(
        f"teacher: {values.teacher.family} {values.teacher.backbone}, student: {values.student.family} "
        f"{values.student.backbone}, preset {values.distillation.preset}"
    )
    for line in describe_plan(values):
        out.print(line)
    for path, parameter in loaded.varied.items():
        out.print(f"varies: {path}  {_range(parameter)}")


def describe_plan(experiment: Experiment) -> list[str]:
    """The plan of a study in words."""
    plan = plan_study(experiment)
    resources = experiment.resources
    device = f"{resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial > 0 else "no GPU"
    rungs = f"judged after {', '.join(map(str, plan.rungs))}" if plan.rungs else "none stopped early"
    return [
        f"plan: {plan.num_trials} trials and {plan.num_controls} control(s) of {plan.num_epochs} epochs, {rungs}; "
        f"about {plan.expected_epochs:.0f} epochs of at most {plan.most_epochs}",
        f"plan: each trial gets {resources.cpus_per_trial:g} CPU and {device}; "
        f"{experiment.search.sampler.kind} proposes over {experiment.search.space}",
    ]


def _range(parameter: object) -> str:
    values = getattr(parameter, "values", None)
    if values is not None:
        return "one of " + ", ".join(map(str, values))
    low, high, log = (getattr(parameter, name) for name in ("low", "high", "log"))
    return f"{low:g} to {high:g}" + (", log" if log else "")
