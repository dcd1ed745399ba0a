"""Optuna samplers by kind, and Optuna distributions for the parameters of a space."""

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
    # Multivariate, because the weights of the terms and their thresholds interact. In groups only when parameters
    # depend on others: a plain multivariate TPE models only the parameters that every trial has. The constant liar
    # keeps concurrent trials apart.
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
            f"search.sampler.kind = {settings.kind} needs the package {package}, which is not installed; "
            f"run pip install {package}, or choose another of {', '.join(sorted(SAMPLERS))}"
        )


def build_sampler(
    settings: SamplerSettings, trial_index: int, *, attempt: int = 0, has_conditions: bool = False
) -> optuna.samplers.BaseSampler:
    """Build the sampler for one trial of a study.

    Each trial has a sampler of its own, seeded by the settings and the trial's index. Proposals then depend only on the
    earlier trials, not on the number of sessions; one sampler per session would repeat its first random proposals in
    each session.

    Args:
        settings: the kind, and its settings.
        trial_index: number of searched trials that were started before.
        attempt: number of proposals for this trial that were rejected as repeats; each attempt has another seed.
        has_conditions: whether any parameter of the space has a condition.

    Returns:
        A new sampler.
    """
    seed = seed_of(settings, trial_index, attempt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the groups of TPE
        return SAMPLERS[settings.kind](settings, seed, has_conditions)


def seed_of(settings: SamplerSettings, trial_index: int, attempt: int) -> int:
    """Return the seed of a proposal; see ``build_sampler``."""
    entropy = (settings.seed, trial_index) if attempt == 0 else (settings.seed, trial_index, attempt)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's distribution of a parameter. A range with steps ends at the last value that whole steps reach."""
    if isinstance(parameter, FloatRange):
        return FloatDistribution(parameter.low, last_on_grid(parameter), step=parameter.step, log=parameter.log)
    if isinstance(parameter, IntRange):
        return IntDistribution(parameter.low, int(last_on_grid(parameter)), step=parameter.step, log=parameter.log)
    return CategoricalDistribution(parameter.values)
