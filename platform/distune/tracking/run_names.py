"""Short, informative run names. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from distune.config.format_value import format_value
from distune.records import ParameterValue

MAX_RUN_NAME_LENGTH = 60
"""About as many characters as the list of runs in the MLflow UI shows."""

_SIMULATED = "-simulated"
_CONTROL, _CONFIRMATION = "control-", "confirm-"


def experiment_name(setting: str | None, experiment: str, *, simulated: bool) -> str:
    """Return the name of the MLflow experiment of a study. Simulated studies have one of their own.

    Args:
        setting: ``tracking.experiment``.
        experiment: name of the distune experiment.
        simulated: whether learning curves are simulated.

    Returns:
        The setting, or else the name of the distune experiment; with ``-simulated`` for simulated studies.
    """
    name = setting or experiment
    return f"{name}{_SIMULATED}" if simulated else name


def run_name(
    key: str, params: Mapping[str, ParameterValue] | None = None, names: Mapping[str, str] | None = None
) -> str:
    """Return the name of a trial's run: ``t007 global=5 soft=0.4``, ``control 1``, or ``confirm 7 seed 1000``.

    The weights of terms come first, then the other params in the order of the space. Trial numbers have leading zeros,
    so that names sort by number. Values have three digits, and those that do not fit are counted:
    ``t007 global=5 +4``. The run's params have them all in full.

    Args:
        key: of the trial.
        params: searched path to value, in the order of the space.
        names: path to short name; those that are missing follow from ``params``.

    Returns:
        A name of at most ``MAX_RUN_NAME_LENGTH`` characters for a numbered trial.
    """
    if is_control(key):
        return f"control {key.removeprefix(_CONTROL)}"
    if key.startswith(_CONFIRMATION):
        return key.replace("-", " ")
    given = dict(sorted((params or {}).items(), key=lambda item: not _is_weight_of_term(item[0])))
    name = f"t{key:0>3}" if key.isdigit() else key
    chosen = dict(zip(given, short_names(given), strict=True)) | {**(names or {})}
    shown = [f"{chosen[path]}={format_value(value, digits=3)}" for path, value in given.items()]
    for index, text in enumerate(shown):
        left = len(shown) - index
        room = MAX_RUN_NAME_LENGTH - (0 if left == 1 else len(f" +{left - 1}"))
        if len(f"{name} {text}") > room:
            return f"{name} +{left}"
        name = f"{name} {text}"
    return name


def is_control(key: str) -> bool:
    """Return whether a key is that of a control of the search."""
    return key.startswith(_CONTROL)


def with_short_names(params: Mapping[str, ParameterValue], names: Mapping[str, str]) -> dict[str, ParameterValue]:
    """Return params under their paths, and under their short names as well where they have one of their own."""
    given = dict(params)
    return {**{names[path]: value for path, value in given.items() if path in names}, **given}


def short_names(paths: Iterable[str]) -> list[str]:
    """Return a short, unique name for each path.

    The weight of a term is named by the first word of the term (``global`` for
    ``distillation.global_knowledge.weight``), any other setting by its last word. Equal names get longer:
    ``soft.temperature``, then ``soft_labels.temperature``, then the whole path.
    """
    candidates = [_candidate_names(path) for path in paths]
    chosen = [each[0] for each in candidates]
    while True:
        counts = Counter(chosen)
        longer = [
            each[min(each.index(name) + 1, len(each) - 1)] if counts[name] > 1 else name
            for each, name in zip(candidates, chosen, strict=True)
        ]
        if longer == chosen:
            return chosen
        chosen = longer


def _is_weight_of_term(path: str) -> bool:
    # filter.weight is not a weight: it names the kind of the filter.
    return path.endswith(".weight") and not path.endswith("filter.weight")


def _candidate_names(path: str) -> list[str]:
    """Return possible names of a path, the shortest first."""
    *owners, setting = path.split(".")
    if not owners:
        return [path]
    first_word = owners[-1].split("_")[0]
    names = [first_word, owners[-1]] if setting == "weight" else [setting, f"{first_word}.{setting}"]
    return list(dict.fromkeys([*names, f"{owners[-1]}.{setting}", path]))
