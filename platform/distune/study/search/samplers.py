"""Optuna samplers by kind, and Optuna's words for the parameters of a space."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from distune.config.search import CmaEsSettings, GpSettings, NsgaSettings, RandomSettings, SamplerSettings, TpeSettings
from distune.config.space import FloatRange, IntRange, Parameter, last_on_grid
from distune.errors import ResourceError

_PACKAGES = {"cmaes": "cmaes"}


def _tpe(settings: TpeSettings, seed: int, has_conditions: bool) -> optuna.samplers.BaseSampler:
    # Multivariate, because the weights of the terms and their thresholds act together. In groups only where parameters
    # depend on others: then a plain multivariate TPE models those alone that every trial has. The constant liar keeps
    # trials that run at the same time away from each other.
    return optuna.samplers.TPESampler(
        n_startup_trials=settings.startup_trials,
        multivariate=True,
        group=has_conditions,
        constant_liar=True,
        seed=seed,
    )


def _random(settings: RandomSettings, seed: int, has_conditions: bool) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _gp(settings: GpSettings, seed: int, has_conditions: bool) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(
        n_startup_trials=settings.startup_trials, warn_independent_sampling=False, seed=seed
    )


def _cmaes(settings: CmaEsSettings, seed: int, has_conditions: bool) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=settings.startup_trials,
        popsize=settings.population_size,
        warn_independent_sampling=False,
        seed=seed,
    )


def _nsga2(settings: NsgaSettings, seed: int, has_conditions: bool) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(population_size=settings.population_size, seed=seed)


SAMPLERS: dict[str, Callable[[Any, int, bool], optuna.samplers.BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
}


def check_sampler(settings: SamplerSettings) -> None:
    """Raise ``ResourceError`` when the sampler needs a package that is not installed."""
    package = _PACKAGES.get(settings.kind)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ResourceError(
            f"search.sampler.kind = {settings.kind} needs the package {package}, which is not installed here: "
            f"pip install {package}, or choose another of {', '.join(sorted(SAMPLERS))}"
        )


def build_sampler(
    settings: SamplerSettings, trial_index: int, *, attempt: int = 0, has_conditions: bool = False
) -> optuna.samplers.BaseSampler:
    """The sampler for one trial of a study.

    Each trial has a sampler of its own, seeded by the settings and the trial's index. What a trial is proposed then
    depends on the history alone, not on how many sessions it took; one sampler per session would propose its first
    random trials again in each.

    Args:
        settings: the kind, and its settings.
        trial_index: how many trials were started before.
        attempt: counts proposals that repeat a known configuration; each has another seed.
        has_conditions: whether any parameter of the space has one.
    """
    seed = seed_of(settings, trial_index, attempt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the groups of TPE
        return SAMPLERS[settings.kind](settings, seed, has_conditions)


def seed_of(settings: SamplerSettings, trial_index: int, attempt: int) -> int:
    """What everything random about a proposal follows from."""
    words = (settings.seed, trial_index) if attempt == 0 else (settings.seed, trial_index, attempt)
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """A parameter in Optuna's words. A range with steps ends at the last value that whole steps reach."""
    if isinstance(parameter, FloatRange):
        return FloatDistribution(parameter.low, last_on_grid(parameter), step=parameter.step, log=parameter.log)
    if isinstance(parameter, IntRange):
        return IntDistribution(parameter.low, int(last_on_grid(parameter)), step=parameter.step, log=parameter.log)
    return CategoricalDistribution(parameter.values)
