"""Optuna samplers by kind, and Optuna's words for the parameters of a space."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import optuna

from distune.config.search import RandomSettings, SamplerSettings, TpeSettings
from distune.config.space import FloatRange, IntRange, Parameter
from distune.records import ParameterValue


def _tpe(settings: TpeSettings, seed: int) -> optuna.samplers.BaseSampler:
    # Multivariate, because the weights of the terms and their thresholds act together. Not `group`, which is
    # experimental and only pays when parameters depend on others. The constant liar keeps trials that run at the same
    # time away from each other.
    return optuna.samplers.TPESampler(
        n_startup_trials=settings.startup_trials, multivariate=True, constant_liar=True, seed=seed
    )


def _random(settings: RandomSettings, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[Any, int], optuna.samplers.BaseSampler]] = {"tpe": _tpe, "random": _random}


def build_sampler(settings: SamplerSettings, trial_index: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial of a study.

    Each trial has a sampler of its own, seeded by the settings and the trial's index. What a trial is proposed then
    depends on the history alone, not on how many sessions it took; one sampler per session would propose its first
    random trials again in each.
    """
    seed = int(np.random.SeedSequence((settings.seed, trial_index)).generate_state(1)[0])
    return SAMPLERS[settings.kind](settings, seed)


def suggest(trial: optuna.Trial, path: str, parameter: Parameter) -> ParameterValue:
    """Let Optuna choose the value of a path, or give the value that the trial has already."""
    if isinstance(parameter, FloatRange):
        high = last_on_grid(parameter)
        return trial.suggest_float(path, parameter.low, high, step=parameter.step, log=parameter.log)
    if isinstance(parameter, IntRange):
        high = int(last_on_grid(parameter))
        return trial.suggest_int(path, parameter.low, high, step=parameter.step, log=parameter.log)
    return trial.suggest_categorical(path, parameter.values)


def last_on_grid(parameter: FloatRange | IntRange) -> float:
    """The upper bound, or the last value before it that whole steps from the lower bound reach."""
    if parameter.step is None:
        return parameter.high
    low, high, step = (Decimal(str(value)) for value in (parameter.low, parameter.high, parameter.step))
    return float(low + (high - low) // step * step)
