"""The limits of the samplers: where Optuna would sample at random without an error. Pure functions.

=======  ==========================  =========================  ==================  ========================
sampler  choices                     whole numbers              conditions          learns from
=======  ==========================  =========================  ==================  ========================
tpe      modeled                    modeled                   modeled in groups  finished, stopped trials
random   drawn evenly                drawn evenly               drawn evenly        nothing
gp       modeled, no order          modeled on their grid     refused             finished trials
cmaes    refused                     as real numbers, rounded   refused             finished trials
nsga2    crossed over, mutated       crossed over, mutated      refused             finished trials
=======  ==========================  =========================  ==================  ========================
"""

from __future__ import annotations

from collections.abc import Mapping

from distune.config.search import SearchSettings
from distune.config.space import Choice, Parameter

_WITHOUT_CONDITIONS = ("gp", "cmaes", "nsga2")
_FROM_FINISHED = ("gp", "cmaes", "nsga2")


def sampler_problems(search: SearchSettings, searched: Mapping[str, Parameter]) -> list[str]:
    """Return a line for each parameter or cost that the sampler cannot handle."""
    kind = search.sampler.kind
    left = f"search.sampler.kind = {kind}"
    several = {path: parameter for path, parameter in searched.items() if len(parameter.extremes) > 1}
    conditional = [path for path, parameter in several.items() if parameter.when]
    choices = [path for path, parameter in several.items() if isinstance(parameter, Choice)]
    problems = []
    if kind in _WITHOUT_CONDITIONS and conditional:
        problems.append(
            f"{left}  would sample parameters with a condition at random ({', '.join(conditional)}); use tpe or "
            "random, or fix the parameters that the conditions depend on"
        )
    if kind == "cmaes" and choices:
        problems.append(
            f"{left}  only searches numbers and would sample choices at random ({', '.join(choices)}); use another "
            "sampler, or fix them"
        )
    elif kind == "cmaes" and len(several) < 2:
        problems.append(f"{left}  needs at least 2 parameters, this space has {len(several)}; use tpe or gp")
    return problems + _cost_problems(search, several)


def sampler_remarks(search: SearchSettings) -> list[str]:
    """Return messages for the user about a sampler, before a launch."""
    kind = search.sampler.kind
    remarks = []
    if kind in _FROM_FINISHED and search.scheduler.kind != "none":
        remarks.append(
            f"{kind} learns from finished trials only, and with search.scheduler = {search.scheduler.kind} few trials "
            "finish; tpe also learns from stopped trials"
        )
    num_random = _num_random(search)
    if num_random > 0:
        ended = "" if kind in _FROM_FINISHED else " or were stopped"
        whole = f": in all {search.num_trials} of this study" if num_random >= search.num_trials else ""
        remarks.append(f"{kind} proposes at random until {num_random} trials have finished{ended}{whole}")
    return remarks


def _num_random(search: SearchSettings) -> int:
    """Return the number of trials that a sampler needs before it proposes by its model."""
    if search.sampler.kind == "nsga2":
        return search.sampler.population_size
    return 0 if search.sampler.kind == "random" else search.sampler.startup_trials


def _cost_problems(search: SearchSettings, several: Mapping[str, Parameter]) -> list[str]:
    if not search.costs:
        return []
    left = f"search.costs = {', '.join(search.costs)}"
    problems = []
    if len(set(search.costs)) < len(search.costs):
        problems.append(f"{left}  has a cost twice")
    if search.sampler.kind == "cmaes":
        problems.append(f"{left}  is more than one objective, which cmaes cannot search; use tpe or nsga2")
    if not any(path.startswith("student.") for path in several):
        problems.append(
            f"{left}  would be equal in all trials: no parameter of the space changes the student; search "
            "student.backbone, student.fpn_channels or the like, or remove the costs"
        )
    return problems
