"""Checks the sampler states in Optuna's records before Optuna loads them: docs/decisions/sampler_state.md.

Optuna keeps the state of CMA-ES as a pickle in the attributes of trials. A pickle can run any program, and the records
may come from somebody else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import optuna

from distune.errors import StudyError

_STATE = "cma:optimizer"
"""Start of the attributes with the pieces of a state; Optuna joins them in the order of their numbers."""
_ALLOWED = frozenset(
    {
        ("cmaes._cma", "CMA"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"numpy.{core}.multiarray", name) for core in ("_core", "core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("_core", "core")),
    }
)
"""All that a state of CMA-ES is made of: arrays, and the class that holds them."""


class _PlainReader(pickle.Unpickler):
    """Reads a pickle that names nothing but arrays and CMA-ES, as Python's documentation advises (find_class)."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it names {module}.{name}")
        return super().find_class(module, name)


def check_sampler_states(study: str, trials: Iterable[optuna.trial.FrozenTrial]) -> int:
    """Check all states of CMA-ES that Optuna would load.

    Args:
        study: name of the study, for the message.
        trials: recorded by Optuna.

    Returns:
        The number of states.

    Raises:
        StudyError: one of them is no state of CMA-ES; it may run a program when it is loaded.
    """
    number = 0
    for trial in trials:
        pieces = {name: value for name, value in trial.system_attrs.items() if name.startswith(_STATE)}
        if pieces:
            number += 1
            problem = _problem(pieces)
            if problem is not None:
                raise StudyError(
                    f"study {study}: Optuna's record of trial {trial.number} has a state of the sampler CMA-ES that is "
                    f"not loaded, because it is none and could run a program: {problem}; set search.sampler.kind to "
                    f"another sampler in the study's experiment.yaml, such as tpe, to continue without it"
                )
    return number


def _problem(pieces: Mapping[str, Any]) -> str | None:
    """Return why a state is not loaded, None when it may be."""
    try:
        content = bytes.fromhex("".join(pieces[f"{_STATE}:{number}"] for number in range(len(pieces))))
        _PlainReader(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle raises nearly any
        return " ".join((str(error) or type(error).__name__).split())[:200]
    return None
