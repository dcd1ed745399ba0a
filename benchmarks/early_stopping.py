"""What does early stopping on one noisy score cost, and does a pairing with the control's score help?

Studies are simulated: learning curves of random configurations, with noise of the sizes in stored runs
(``benchmarks/score_noise.py``), stopped by the schedulers of the product (``distune.study.schedulers``). A paired score
is the score minus that of a control at the same epoch. The configuration that is picked is the finished trial with the
highest score in any epoch, as in the product. Regret is the true final AP of the best configuration of the study minus
that of the picked one::

    python benchmarks/early_stopping.py           # all tables, under 2 minutes of one core
    python benchmarks/early_stopping.py --repetitions 200 --only stopping pairing

Tables (``--only``): ``noise``, of stored runs; ``stopping``, the cost of early stopping; ``assumptions``, the same for
other noise, spreads and curves; ``epochs``, more trials with early stopping against fewer without, with equal epochs;
``shipped``, the settings of shipped experiments and of drafts; ``pairing``, paired scores; ``choice``, the choice among
finished trials.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import score_noise
from distune.config.search import AshaSettings, MedianSettings, NoSchedulerSettings, SchedulerSettings
from distune.study.schedulers.build import build_scheduler

Floats = NDArray[np.float64]

# Rounded from benchmarks/score_noise.py, at the middle of each quarter of the training.
AT = (0.125, 0.375, 0.625, 0.875)
SLOW_SD = (1.0, 0.9, 0.9, 0.7)
EPOCH_SD = (2.3, 1.7, 0.8, 0.4)
MEMORY = 0.5
"""Of the slow part: its correlation is ``exp(-distance / MEMORY)``, in fractions of the training."""
RISE = ((0.0, 0.04, 0.08, 0.125, 0.25, 0.5, 0.75, 1.0), (0.0, 9.0, 20.0, 27.0, 38.0, 46.0, 48.5, 50.0))
"""Fraction of the training and AP of the control: blood cells, 24 epochs."""
LEAD = (6.0, 2.0)
"""Mean lead of the trials over the control at the start and at the end of the training; it shrinks, as measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """Learning curves of a study.

    Attributes:
        num_epochs: of a trial.
        spread: standard deviation of the final true AP of configurations.
        agreement: correlation of the true values at the start of the training with the final ones; with 1 no curves
            cross.
        early_spread: standard deviation of the true values at the start of the training over that of the final ones.
        noise: factor of the standard deviation of the noise.
        shared: correlation of the noise of two trials; 0 if each trial has its own seed.
        with_control: correlation of the noise of a trial and the control of its seed.
        control_noise: standard deviation of the noise of a control over that of a trial.
        training_spread: standard deviation of the effect of searched training settings, which a control with the same
            training settings has as well.
    """

    num_epochs: int = 12
    spread: float = 2.0
    agreement: float = 0.6
    early_spread: float = 1.0
    noise: float = 1.0
    shared: float = 0.6
    with_control: float = 0.2
    control_noise: float = 1.3
    training_spread: float = 0.0


@dataclasses.dataclass(frozen=True)
class Curves:
    """Scores after each epoch.

    Attributes:
        scores_NE: of the trials.
        control_E: of the control of the study.
        own_controls_NE: of a control for each trial, with its seed and its training settings.
        true_N: final true AP of the trials.
    """

    scores_NE: Floats
    control_E: Floats
    own_controls_NE: Floats
    true_N: Floats


def draw_noise(num_trials: int, num_epochs: int, random: np.random.Generator) -> Floats:
    """Draw independent noise: a slow part, and a part of each epoch."""
    at_E = np.arange(1, num_epochs + 1) / num_epochs
    kept = np.exp(-1.0 / num_epochs / MEMORY)
    slow_NE, epoch_NE = random.standard_normal((2, num_trials, num_epochs))
    for epoch in range(1, num_epochs):
        slow_NE[:, epoch] = kept * slow_NE[:, epoch - 1] + np.sqrt(1 - kept**2) * slow_NE[:, epoch]
    noise_NE: Floats = np.interp(at_E, AT, SLOW_SD) * slow_NE + np.interp(at_E, AT, EPOCH_SD) * epoch_NE
    return noise_NE


def draw_curves(model: Model, num_trials: int, random: np.random.Generator) -> Curves:
    """Draw a study of random configurations."""
    num_epochs = model.num_epochs
    at_E = np.arange(1, num_epochs + 1) / num_epochs
    agreement_E = model.agreement + (1 - model.agreement) * at_E
    final_N1, other_N1, setting_N1 = random.standard_normal((3, num_trials, 1))
    spread_E = model.spread * (model.early_spread + (1 - model.early_spread) * at_E)
    true_NE = spread_E * (agreement_E * final_N1 + np.sqrt(1 - agreement_E**2) * other_N1)
    setting_N1 *= model.training_spread

    common_E = draw_noise(1, num_epochs, random)[0]
    noise_NE = np.sqrt(model.shared) * common_E + np.sqrt(1 - model.shared) * draw_noise(num_trials, num_epochs, random)
    # One control under the seed of all trials, or one under the seed of each trial.
    alike_NE = common_E[None] if model.shared else noise_NE
    weight = min(1.0, model.with_control / np.sqrt(model.shared)) if model.shared else model.with_control
    control_NE = weight * alike_NE + np.sqrt(1 - weight**2) * draw_noise(len(alike_NE), num_epochs, random)
    control_NE *= model.noise * model.control_noise

    rise_E = np.interp(at_E, *RISE)
    lead_E = LEAD[0] + (LEAD[1] - LEAD[0]) * at_E
    return Curves(
        scores_NE=rise_E + lead_E + setting_N1 + true_NE + model.noise * noise_NE,
        control_E=rise_E + control_NE[0],
        own_controls_NE=rise_E + setting_N1 + control_NE,
        true_N=(model.spread * final_N1 + setting_N1)[:, 0],
    )


def run_study(scores_NE: Floats, settings: SchedulerSettings, *, max_epochs: int | None = None) -> NDArray[np.int64]:
    """Run the trials in order and return the number of epochs of each.

    If all trials take the same time for an epoch, the number that run at a time does not matter: they reach each epoch
    in the same order. With ``max_epochs``, no trial starts that might exceed this number of epochs over all trials.
    """
    num_trials, num_epochs = scores_NE.shape
    scheduler = build_scheduler(settings, num_epochs)
    epochs_N = np.zeros(num_trials, dtype=np.int64)
    used = 0
    for trial, scores_E in enumerate(scores_NE.tolist()):
        if max_epochs is not None and used + num_epochs > max_epochs:
            break
        epoch = 1
        while epoch < num_epochs and scheduler.should_continue(str(trial), epoch, scores_E[epoch - 1]):
            epoch += 1
        epochs_N[trial] = epoch
        used += epoch
    return epochs_N


def pick(scores_N: Floats, epochs_N: NDArray[np.int64], num_epochs: int) -> int:
    """Return the finished trial with the highest score."""
    return int(np.where(epochs_N == num_epochs, scores_N, -np.inf).argmax())


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Means over simulated studies.

    Attributes:
        survives: fraction of studies in which the best configuration is finished.
        picked: fraction in which it is picked.
        regret: in AP.
        epochs: of all trials.
        trials: that were started.
        value: true final AP of the picked configuration above the mean configuration.
    """

    survives: float
    picked: float
    regret: float
    epochs: float
    trials: float
    value: float


def simulate(
    model: Model,
    num_trials: int,
    settings: SchedulerSettings,
    repetitions: int,
    *,
    score: Callable[[Curves], Floats] = lambda curves: curves.scores_NE,
    final: Callable[[Curves], Floats] = lambda curves: curves.scores_NE.max(axis=1),
    max_epochs: int | None = None,
) -> Outcome:
    """Simulate studies. The same numbers are drawn for all settings.

    Args:
        model: the curves.
        num_trials: of a study.
        settings: of the scheduler.
        repetitions: number of studies.
        score: by which trials are stopped, shape (trials, epochs).
        final: by which a finished trial is picked, shape (trials,).
        max_epochs: see ``run_study``.

    Returns:
        The means.
    """
    rows = []
    for repetition in range(repetitions):
        curves = draw_curves(model, num_trials, np.random.default_rng([num_trials, repetition]))
        epochs_N = run_study(score(curves), settings, max_epochs=max_epochs)
        started = epochs_N > 0
        best = int(np.where(started, curves.true_N, -np.inf).argmax())
        picked = pick(final(curves), epochs_N, model.num_epochs)
        value = float(curves.true_N[picked])
        survives = epochs_N[best] == model.num_epochs
        rows.append((survives, picked == best, curves.true_N[best] - value, epochs_N.sum(), started.sum(), value))
    return Outcome(*(float(mean) for mean in np.mean(rows, axis=0)))


def asha(grace_epochs: int, reduction_factor: float) -> AshaSettings:
    return AshaSettings(kind="asha", grace_epochs=grace_epochs, reduction_factor=reduction_factor)


def median(grace_epochs: int) -> MedianSettings:
    return MedianSettings(kind="median", grace_epochs=grace_epochs)


NO_STOPPING = NoSchedulerSettings(kind="none")
RULES: dict[str, SchedulerSettings] = {
    "no stopping": NO_STOPPING,
    **{f"ASHA, factor {factor}, grace {grace}": asha(grace, factor) for factor in (2, 3, 4) for grace in (1, 2, 3, 6)},
    **{f"median, grace {grace}": median(grace) for grace in (1, 2, 3)},
}
SIZES = (8, 16, 32)


def table(*header: str) -> Iterator[str]:
    """Yield the first two lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"


def noise(repetitions: int) -> Iterator[str]:
    """Yield the sizes of noise in stored runs."""
    del repetitions
    yield from score_noise.tables()


def stopping(repetitions: int) -> Iterator[str]:
    """Yield the cost of early stopping for numbers of trials."""
    yield from table("12 epochs; 8, 16 and 32 trials", "best finishes", "best is picked", "regret, AP", "epochs")
    for name, settings in RULES.items():
        found = {size: simulate(Model(), size, settings, repetitions) for size in SIZES}
        yield (
            f"| {name} | {', '.join(f'{each.survives:.0%}' for each in found.values())} "
            f"| {', '.join(f'{each.picked:.0%}' for each in found.values())} "
            f"| {', '.join(f'{each.regret:.2f}' for each in found.values())} "
            f"| {', '.join(f'{each.epochs / size / Model().num_epochs:.0%}' for size, each in found.items())} |"
        )


ASSUMPTIONS: dict[str, Mapping[str, Any]] = {
    "as above": {},
    "no noise": {"noise": 1e-9},
    "noise doubled": {"noise": 2.0},
    "a seed for each trial": {"shared": 0.0},
    "noise shared as on chess, 0.8": {"shared": 0.8},
    "no curves cross": {"agreement": 1.0},
    "curves cross more, agreement 0.2": {"agreement": 0.2},
    "the start says nothing about the end": {"agreement": 0.0},
    "early spread tripled": {"early_spread": 3.0},
    "early spread tripled, agreement 0.2": {"early_spread": 3.0, "agreement": 0.2},
    "no noise, no curves cross": {"noise": 1e-9, "agreement": 1.0},
    "spread 0.5": {"spread": 0.5},
    "spread 1": {"spread": 1.0},
    "spread 4": {"spread": 4.0},
    "6 epochs": {"num_epochs": 6},
    "24 epochs": {"num_epochs": 24},
}


def assumptions(repetitions: int) -> Iterator[str]:
    """Yield the regret of 16 trials under other assumptions; grace periods are fractions of the training."""
    yield from table(
        "regret, AP; 16 trials",
        "no stopping",
        *(f"factor {factor}, grace {grace}" for factor in (2, 3) for grace in ("1 epoch", "1/4", "1/2")),
        "median, grace 1",
    )
    for name, changes in ASSUMPTIONS.items():
        model = dataclasses.replace(Model(), **changes)
        yield f"| {name} | {' | '.join(f'{simulate(model, 16, s, repetitions).regret:.2f}' for s in _rules(model))} |"


EQUAL_EPOCHS = (
    "no noise",
    "noise doubled",
    "curves cross more, agreement 0.2",
    "the start says nothing about the end",
    "early spread tripled",
    "early spread tripled, agreement 0.2",
    "spread 1",
)


def epochs(repetitions: int) -> Iterator[str]:
    """Yield the true AP of the picked configuration above the mean one, with as many epochs as unstopped trials."""
    yield from table(
        "picked AP above the mean; equal epochs",
        "epochs",
        "no stopping",
        *(f"factor {factor}, grace {grace}" for factor in (2, 3) for grace in ("1 epoch", "1/4", "1/2")),
        "median, grace 1",
    )
    for name, whole in [*(("as above", each) for each in SIZES), *((name, 16) for name in EQUAL_EPOCHS)]:
        model = dataclasses.replace(Model(), **ASSUMPTIONS[name])
        budget = whole * model.num_epochs
        cells = []
        for settings in _rules(model):
            grace = getattr(settings, "grace_epochs", model.num_epochs)
            most = min(budget // grace, 16 * whole)
            found = simulate(model, most, settings, repetitions, max_epochs=budget)
            cells.append(f"{found.value:.2f} ({found.trials:.0f})")
        yield f"| {name} | {budget} | {' | '.join(cells)} |"


def _rules(model: Model) -> list[SchedulerSettings]:
    graces = (1, max(2, model.num_epochs // 4), model.num_epochs // 2)
    return [NO_STOPPING, *(asha(grace, factor) for factor in (2, 3) for grace in graces), median(1)]


SHIPPED: dict[str, tuple[int, int, AshaSettings]] = {
    "`quickstart`": (6, 8, asha(2, 2)),
    "`bccd`": (16, 8, asha(4, 2)),
    "`voc0712_fasterrcnn_r101_r50`": (18, 8, asha(13, 2)),
    "`coco_fasterrcnn_r101_r50`": (12, 8, asha(9, 2)),
    "`coco_retinanet_r101_r50`": (12, 8, asha(9, 2)),
    "`coco_retinanet_r18_from_fasterrcnn_v2`": (12, 6, asha(9, 2)),
    "`coco_ten_percent`": (40, 8, asha(28, 2)),
    "`distune init`, CPU": (24, 8, asha(6, 2)),
    "`distune init`, GPU": (24, 24, asha(6, 3)),
    "defaults of the settings, 12 epochs": (12, 20, asha(1, 3)),
}


def shipped(repetitions: int) -> Iterator[str]:
    """Yield the cost and the use of the settings of shipped experiments and drafts."""
    yield from table(
        "settings",
        "trials x epochs",
        "grace, factor",
        "best finishes",
        "regret",
        "regret, no stopping",
        "epochs",
        "picked AP above the mean",
        "no stopping, equal epochs",
    )
    for name, (num_epochs, num_trials, settings) in SHIPPED.items():
        model = Model(num_epochs=num_epochs)
        found = simulate(model, num_trials, settings, repetitions)
        whole = simulate(model, num_trials, NO_STOPPING, repetitions)
        equal = max(1, round(found.epochs / num_epochs))
        yield (
            f"| {name} | {num_trials} x {num_epochs} | {settings.grace_epochs}, {settings.reduction_factor:g} "
            f"| {found.survives:.0%} | {found.regret:.2f} | {whole.regret:.2f} "
            f"| {found.epochs / num_trials / num_epochs:.0%} | {found.value:.2f} "
            f"| {simulate(model, equal, NO_STOPPING, repetitions).value:.2f} ({equal}) |"
        )


def own_seeds(**changes: Any) -> Model:
    return dataclasses.replace(Model(), shared=0.0, **changes)


PAIRINGS: dict[str, tuple[Model, str]] = {
    "one seed, scores (the product)": (Model(), "none"),
    "one seed, minus the one control": (Model(), "one control"),
    "a seed for each trial, scores": (own_seeds(), "none"),
    "minus own controls: noise 1.3, correlation 0.2 (blood cells)": (own_seeds(), "own controls"),
    "minus own controls: noise 3.5, correlation 0.1 (chess)": (
        own_seeds(control_noise=3.5, with_control=0.1),
        "own controls",
    ),
    "minus own controls: noise 1, correlation 0.5": (own_seeds(control_noise=1.0, with_control=0.5), "own controls"),
    "minus own controls: noise 1, correlation 0.8": (own_seeds(control_noise=1.0, with_control=0.8), "own controls"),
    "searched training settings (spread 2), one seed, scores": (Model(training_spread=2.0), "none"),
    "minus a control for each of them": (Model(training_spread=2.0), "own controls"),
}
CONTROLS: dict[str, Callable[[Curves], Floats | float]] = {
    "none": lambda curves: 0.0,
    "one control": lambda curves: curves.control_E,
    "own controls": lambda curves: curves.own_controls_NE,
}


def pairing(repetitions: int) -> Iterator[str]:
    """Yield the effect of paired scores on stopping and on the choice among finished trials."""
    rules = ("no stopping", "ASHA, factor 2, grace 3", "median, grace 1", "median, grace 3")
    yield from table("16 trials, 12 epochs: best is picked, regret, epochs with those of controls", *rules)
    for name, (model, kind) in PAIRINGS.items():
        of_control = CONTROLS[kind]

        def score(curves: Curves, of_control: Callable[[Curves], Floats | float] = of_control) -> Floats:
            return np.asarray(curves.scores_NE - of_control(curves))

        def final(curves: Curves, of_control: Callable[[Curves], Floats | float] = of_control) -> Floats:
            """Return the gain in the product's sense: each curve has its own best epoch."""
            return np.asarray(curves.scores_NE.max(axis=1) - np.max(of_control(curves), axis=-1))

        cells = []
        for rule in rules:
            found = simulate(model, 16, RULES[rule], repetitions, score=score, final=final)
            used = 2 * found.epochs if kind == "own controls" else found.epochs + model.num_epochs
            cells.append(f"{found.picked:.0%}, {found.regret:.2f}, {used:.0f}")
        yield f"| {name} | {' | '.join(cells)} |"


CHOICES: dict[str, Callable[[Curves], Floats]] = {
    "highest score of any epoch (the product)": lambda curves: curves.scores_NE.max(axis=1),
    "score of the last epoch": lambda curves: curves.scores_NE[:, -1],
    "mean of the last quarter": lambda curves: curves.scores_NE[:, -(curves.scores_NE.shape[1] // 4) :].mean(axis=1),
    "highest score minus the control's highest": lambda c: c.scores_NE.max(axis=1) - c.control_E.max(),
    "highest paired score of any epoch": lambda curves: (curves.scores_NE - curves.control_E).max(axis=1),
}


def choice(repetitions: int) -> Iterator[str]:
    """Yield the effect of what finished trials are compared by."""
    yield from table("12 epochs, no stopping; 8, 16 and 32 trials; compared by", "best is picked", "regret, AP")
    for name, final in CHOICES.items():
        found = [simulate(Model(), size, NO_STOPPING, repetitions, final=final) for size in SIZES]
        picked, regret = (f"{each.picked:.0%}" for each in found), (f"{each.regret:.2f}" for each in found)
        yield f"| {name} | {', '.join(picked)} | {', '.join(regret)} |"


TABLES = {
    "noise": noise,
    "stopping": stopping,
    "assumptions": assumptions,
    "epochs": epochs,
    "shipped": shipped,
    "pairing": pairing,
    "choice": choice,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=tuple(TABLES), default=list(TABLES))
    options = parser.parse_args()
    for name in options.only:
        started = time.process_time()
        print(f"\n{name}, {options.repetitions} repetitions\n")
        for line in TABLES[name](options.repetitions):
            print(line, flush=True)
        print(f"\n{time.process_time() - started:.0f} s of CPU time")


if __name__ == "__main__":
    main()
