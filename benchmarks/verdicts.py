"""Do verdicts hold? Errors, biases, power and costs of confirmations, on simulated studies.

Candidates and controls have scores that are means over images: an effect of the training seed, of each image, and of
both together. The true gain of all candidates is the same, zero unless stated, so the choice among them can do no good
and must do no harm. The statistics are those of the product (``distune.evidence``)::

    python benchmarks/verdicts.py                 # all tables, about 10 minutes of one core
    python benchmarks/verdicts.py --repetitions 200 --only selection

Tables (``--only``): ``selection``, luck in the choice; ``race``, how well it chooses; ``costs``, runs until
it is decided; ``analyses``, repeated analyses; ``power``, the number of seeds that is advised; ``families``, boundaries
of sequences.
"""

from __future__ import annotations

import argparse
import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distune.confirmation.analysis import nominal_error
from distune.confirmation.confirmation_text import explain
from distune.confirmation.defaults import DEFAULT_MARGIN
from distune.evidence.confirmation_result import AnalysisRecord, Candidate, ConfirmationResult
from distune.evidence.gain import Gain, Verdict, gain_from_scores
from distune.evidence.power import seeds_needed
from distune.evidence.repeated_analyses import Analysis, planned_error, unplanned_error
from distune.evidence.resampling import draw_counts

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

NUM_IMAGES, NUM_RESAMPLES = 80, 60
SEED_SPREAD = 1.0
"""Standard deviation of a student's score between seeds, in points."""
IMAGE_SPREAD = 4.0
"""Of the effect of each image on a configuration: what a choice on these images can use."""
JOINT_SPREAD = 4.0
"""Of the effect of seed and image together."""
FIRST, LAST = 5, 20


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return random.standard_normal(shape)


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's t with three degrees of freedom, with variance 1."""
    return np.asarray(random.standard_t(3, shape) / np.sqrt(3.0), dtype=np.float64)


def bimodal(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Two equally likely values with a little noise, with variance 1: a run finds a rare class or does not."""
    modes = random.choice([-1.0, 1.0], shape) + 0.3 * random.standard_normal(shape)
    return np.asarray(modes / np.sqrt(1.09), dtype=np.float64)


NOISES: dict[str, Draw] = {"normal": normal, "heavy-tailed": heavy, "bimodal": bimodal}


class Study:
    """Scores of candidates and a control on two splits, drawn when they are asked for.

    Args:
        num_candidates: trials that are trained again.
        gain: true gain of all of them.
        draw: noise between seeds.
        random: generator.
    """

    def __init__(self, num_candidates: int, gain: float, draw: Draw, random: np.random.Generator) -> None:
        self._gain, self._draw, self._random = gain, draw, random
        shape = (2, num_candidates + 1, NUM_IMAGES)
        self._images = IMAGE_SPREAD * random.standard_normal(shape)

    def scores(self, num_seeds: int) -> Floats:
        """Train all arms under fresh seeds: shape (2 splits, candidates and the control, seeds, images)."""
        num_arms = self._images.shape[1]
        seeds = SEED_SPREAD * self._draw(self._random, (1, num_arms, num_seeds, 1))
        joint = JOINT_SPREAD * self._random.standard_normal((2, num_arms, num_seeds, NUM_IMAGES))
        found = self._images[:, :, None, :] + seeds + joint
        found[:, :-1] += self._gain
        return np.asarray(found, dtype=np.float64)


@functools.cache
def counts(num_images: int) -> NDArray[np.int32]:
    return draw_counts(num_images, num_resamples=NUM_RESAMPLES, generator=np.random.default_rng(1))


def measure(student_SI: Floats, control_SI: Floats, *, error: float = 0.05) -> Gain:
    num_seeds, num_images = student_SI.shape
    weights_IR = (counts(num_images) / num_images).T
    return gain_from_scores(
        list(range(num_seeds)),
        student_SI @ weights_IR,
        control_SI @ weights_IR,
        metric="AP",
        num_images=num_images,
        error=error,
    )


def on_the_same_seeds(study: Study, num_seeds: int, *, has_test: bool) -> Gain:
    """Earlier versions: the students that choose the winner are those that the result measures."""
    scores = study.scores(num_seeds)
    winner = int(scores[0, :-1].mean(axis=(1, 2)).argmax())
    split = int(has_test)
    return measure(scores[split, winner], scores[split, -1])


def on_other_seeds(study: Study, num_seeds: int, *, has_test: bool) -> Gain:
    """The product: other seeds choose; without a test split, half of the images choose as well."""
    num_candidates = study._images.shape[1] - 1
    half = NUM_IMAGES if has_test or num_candidates == 1 else NUM_IMAGES // 2
    winner = 0
    if num_candidates > 1:
        scores_TN = study.scores(num_candidates - 1)[0, :-1, :, :half].mean(axis=2)
        winner = int(_race(np.zeros((1, num_candidates)), scores_TN.T[:, None, :], num_candidates)[0])
    scores = study.scores(num_seeds)
    split = int(has_test)
    images = slice(None) if has_test or num_candidates == 1 else slice(half, None)
    return measure(scores[split, winner][:, images], scores[split, -1][:, images], error=unplanned_error([], 5))


def selection(repetitions: int) -> Iterator[str]:
    """Yield the errors and biases of the choice among candidates."""
    yield "| noise | test split | k | seeds | error, same seeds | bias / SE | error, other seeds | bias / SE |"
    yield "|---|---|---|---|---|---|---|---|"
    for noise, draw in NOISES.items():
        for has_test in (True, False):
            for num_candidates in (1, 3, 8):
                for num_seeds in (3, 5, 8):
                    cells = []
                    for procedure in (on_the_same_seeds, on_other_seeds):
                        random = np.random.default_rng([num_candidates, num_seeds, has_test])
                        gains = [
                            procedure(Study(num_candidates, 0.0, draw, random), num_seeds, has_test=has_test)
                            for _ in range(repetitions)
                        ]
                        error = np.mean([gain.low > 0 or gain.high < 0 for gain in gains])
                        bias = np.mean([gain.mean for gain in gains])
                        spread = np.std([gain.mean for gain in gains])
                        cells.append(f"{error:.1%} | {bias / spread:+.2f}")
                    row = f"| {noise} | {'yes' if has_test else 'no'} | {num_candidates} | {num_seeds} |"
                    yield f"{row} {' | '.join(cells)} |"


def analyze_once(scores: Floats) -> tuple[bool, int]:
    gain = measure(scores[1, 0, :FIRST], scores[1, -1, :FIRST], error=unplanned_error([], FIRST))
    return gain.low > 0 or gain.high < 0, FIRST


def analyze_and_follow_the_advice(scores: Floats, *, is_repaired: bool) -> tuple[bool, int]:
    """Analyze five seeds; if nothing is shown, train as many as advised and analyze once more."""
    first_error = unplanned_error([], FIRST) if is_repaired else 0.05
    gain = measure(scores[1, 0, :FIRST], scores[1, -1, :FIRST], error=first_error)
    if gain.low > 0 or gain.high < 0:
        return True, FIRST
    needed = seeds_needed(gain, error=None if is_repaired else 0.05).expected
    if needed is None or needed <= FIRST:
        return False, FIRST
    number = min(needed, LAST)
    error = unplanned_error([Analysis(FIRST, first_error)], number) if is_repaired else 0.05
    gain = measure(scores[1, 0, :number], scores[1, -1, :number], error=error)
    return gain.low > 0 or gain.high < 0, number


def analyze_after_each(scores: Floats, *, is_repaired: bool) -> tuple[bool, int]:
    """Analysis after each seed from five on until zero is excluded."""
    error = planned_error([], range(FIRST, LAST + 1)) if is_repaired else 0.05
    for number in range(FIRST, LAST + 1):
        gain = measure(scores[1, 0, :number], scores[1, -1, :number], error=error)
        if gain.low > 0 or gain.high < 0:
            return True, number
    return False, LAST


PROCEDURES: dict[str, Callable[[Floats], tuple[bool, int]]] = {
    "5 seeds, once": analyze_once,
    "5 seeds, then the advised number, 95% each": functools.partial(analyze_and_follow_the_advice, is_repaired=False),
    "5 seeds, then the advised number": functools.partial(analyze_and_follow_the_advice, is_repaired=True),
    "after each seed from 5 to 20, 95% each": functools.partial(analyze_after_each, is_repaired=False),
    "`--until-decided`, 5 to 20": functools.partial(analyze_after_each, is_repaired=True),
}


def analyses(repetitions: int) -> Iterator[str]:
    """Yield the errors, the power and the seeds of repeated analyses."""
    yield "| analyses | error, normal | heavy-tailed | bimodal | shown, true +1 | seeds | shown, true +2 | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, procedure in PROCEDURES.items():
        cells = []
        for draw in NOISES.values():
            random = np.random.default_rng(3)
            found = [procedure(Study(1, 0.0, draw, random).scores(LAST)) for _ in range(repetitions)]
            cells.append(f"{np.mean([each for each, _ in found]):.1%}")
        for gain in (1.0, 2.0):
            random = np.random.default_rng(4)
            found = [procedure(Study(1, gain, normal, random).scores(LAST)) for _ in range(repetitions)]
            cells += [f"{np.mean([each for each, _ in found]):.0%}", f"{np.mean([each for _, each in found]):.1f}"]
        yield f"| {name} | {' | '.join(cells)} |"


def power(repetitions: int) -> Iterator[str]:
    """Yield how often the advised number of seeds shows the gain, when that many fresh ones are trained.

    The interval over them has the level that the product gives it after those that were computed. Beside it the number
    that would be enough if it were as wide as the last one.
    """
    cases = {"5 seeds": (FIRST, None), f"`--until-decided`, {FIRST} to {LAST}": (LAST, (FIRST, LAST))}
    yield "| no gain shown after | true gain | number advised | its median | shown | as wide, median | shown |"
    yield "|---|---|---|---|---|---|---|"
    for name, (last, plan) in cases.items():
        first_error = nominal_error([], FIRST, plan)
        for true_gain in (1.0, 1.5, 2.0):
            random = np.random.default_rng(5)
            found: list[tuple[int, bool, int, bool]] = []
            for _ in range(repetitions):
                study = Study(1, true_gain, normal, random)
                study._images[:] = 0.0  # seeds can show it
                gain = _open_gain(study.scores(last), first_error)
                number = None if gain is None else _advised(gain, plan)
                if gain is None or number is None:
                    continue
                as_wide = seeds_needed(gain, error=gain.nominal_error).expected or number
                fresh = study.scores(number)
                shown = [
                    measure(fresh[1, 0, :size], fresh[1, -1, :size], error=next_error(size, first_error, plan)).low > 0
                    for size in (number, as_wide)
                ]
                found.append((number, shown[0], as_wide, shown[1]))
            if not found:
                continue
            numbers, is_shown, as_wide_numbers, is_shown_as_wide = (np.array(each) for each in zip(*found, strict=True))
            yield (
                f"| {name} | {true_gain:+.1f} | {len(found) / repetitions:.0%} | {np.median(numbers):.0f} | "
                f"{is_shown.mean():.0%} | {np.median(as_wide_numbers):.0f} | {is_shown_as_wide.mean():.0%} |"
            )


def _open_gain(scores: Floats, error: float) -> Gain | None:
    """Analyze after each seed from five to the last; return the last gain, None where a verdict ends it before."""
    for number in range(FIRST, scores.shape[2] + 1):
        gain = measure(scores[1, 0, :number], scores[1, -1, :number], error=error)
        is_small = scores.shape[2] > FIRST and gain.high < DEFAULT_MARGIN
        if gain.verdict is not Verdict.NOT_SHOWN or is_small:
            return None
    return gain if gain.mean > 0 else None


def _advised(gain: Gain, plan: tuple[int, int] | None) -> int | None:
    """Return the advised number of seeds; None without one."""
    winner = Candidate(number=0, control="control", search=gain)
    result = ConfirmationResult(
        metric="AP",
        seeds=tuple(gain.by_seed),
        candidates=(winner,),
        winner=0,
        test=gain,
        previous_test_evaluations=0,
        best_seed=0,
        weights="",
        max_seeds=None if plan is None else plan[1],
    )
    said = re.search(r"about (\d+) seeds would show", "\n".join(explain(result, Path("study"))))
    return None if said is None else int(said[1])


def next_error(num_seeds: int, error: float, plan: tuple[int, int] | None) -> float:
    """Return the level of an interval after five seeds or a whole plan, interpolated between a few numbers of seeds."""
    last = FIRST if plan is None else LAST
    numbers = [last + 1, *(number for number in (8, 12, 20, 30, 45, 70, 100, 140, 200) if number > last + 1)]
    logs = [np.log(_next_error(number, error, plan)) for number in numbers]
    return float(np.exp(np.interp(np.log(num_seeds), np.log(numbers), logs)))


@functools.cache
def _next_error(num_seeds: int, error: float, plan: tuple[int, int] | None) -> float:
    sizes = [FIRST] if plan is None else range(FIRST, LAST + 1)
    previous = [
        AnalysisRecord(trial=0, metric="AP", split="test", num_seeds=size, error=error, plan=plan) for size in sizes
    ]
    return nominal_error(previous, num_seeds, None)


def race(repetitions: int) -> Iterator[str]:
    """Yield how well several choices find the best of eight trials, which one seed of the search has ranked."""
    num_trials, num_studies = 8, 10 * repetitions
    yield "| choice | runs | true spread 0.5: best found | regret | spread 1: best found | regret | spread 2 | regret |"
    yield "|---|---|---|---|---|---|---|---|"
    choices: dict[str, tuple[int, int, bool]] = {
        "the search alone": (1, 0, False),
        "3 seeds for each of 3": (3, 3, False),
        "race of 3": (3, 0, True),
        "race of 4: the default": (4, 0, True),
        "2 seeds for each of 4": (4, 2, False),
        "4 seeds for each of 2": (2, 4, False),
        "race of 6": (6, 0, True),
    }
    for name, (top, num_seeds, is_race) in choices.items():
        cells = []
        for spread in (0.5, 1.0, 2.0):
            random = np.random.default_rng(6)
            true_ST = spread * random.standard_normal((num_studies, num_trials))
            searched_ST = true_ST + SEED_SPREAD * random.standard_normal((num_studies, num_trials))
            seeds_NST = true_ST + SEED_SPREAD * random.standard_normal((num_trials, num_studies, num_trials))
            picked_S = _race(searched_ST, seeds_NST, top) if is_race else _pick(searched_ST, seeds_NST[:num_seeds], top)
            own_S = true_ST[np.arange(num_studies), picked_S]
            cells.append(f"{np.mean(own_S == true_ST.max(axis=1)):.0%} | {np.mean(true_ST.max(axis=1) - own_S):.2f}")
        num_runs = sum(range(2, top + 1)) if is_race else top * num_seeds
        yield f"| {name} | {num_runs} | {' | '.join(cells)} |"


def _pick(searched_ST: Floats, seeds_NST: Floats, top: int) -> NDArray[np.int64]:
    """The best of the leading trials over some seeds, as earlier versions of distune chose."""
    leading_ST = np.argsort(-searched_ST, axis=1)[:, :top]
    if not len(seeds_NST):
        return np.asarray(leading_ST[:, 0], dtype=np.int64)
    scores_ST = np.take_along_axis(seeds_NST.mean(axis=0), leading_ST, axis=1)
    return np.asarray(leading_ST[np.arange(len(scores_ST)), scores_ST.argmax(axis=1)], dtype=np.int64)


def _race(searched_ST: Floats, seeds_NST: Floats, top: int) -> NDArray[np.int64]:
    """Drop the worst of the leading trials after each seed; the search counts as a seed."""
    is_racing_ST = np.zeros(searched_ST.shape, dtype=np.bool_)
    np.put_along_axis(is_racing_ST, np.argsort(-searched_ST, axis=1)[:, :top], values=True, axis=1)
    sums_ST = searched_ST.copy()
    for number in range(top - 1):
        sums_ST += seeds_NST[number]
        worst_S = np.where(is_racing_ST, sums_ST, np.inf).argmin(axis=1)
        is_racing_ST[np.arange(len(worst_S)), worst_S] = False
    return np.asarray(is_racing_ST.argmax(axis=1), dtype=np.int64)


def costs(repetitions: int) -> Iterator[str]:
    """Yield what each choice costs until the question is decided, after the same search of eight trials."""
    choices: dict[str, tuple[int, int, bool]] = {
        "search, then `--top 1`": (1, 0, False),
        "search, then 3 seeds for each of 3": (3, 3, False),
        "race of 3": (3, 0, True),
        "race of 4: the default": (4, 0, True),
    }
    yield "| true gain of trials | choice | best found | true gain of the choice | decided | gain shown | runs |"
    yield "|---|---|---|---|---|---|---|"
    for mean, spread in ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0)):
        for name, (top, num_seeds, is_race) in choices.items():
            random = np.random.default_rng(7)
            found = [_cost(random, mean, spread, top, num_seeds, is_race=is_race) for _ in range(repetitions)]
            is_best, gains, is_decided, is_shown, num_runs = (np.array(each) for each in zip(*found, strict=True))
            best = "" if spread == 0 else f"{is_best.mean():.0%}"
            yield (
                f"| {mean:g} +- {spread:g} | {name} | {best} | {gains.mean():+.2f} | {is_decided.mean():.0%} | "
                f"{is_shown.mean():.1%} | {num_runs.mean():.1f} |"
            )


def _cost(
    random: np.random.Generator, mean: float, spread: float, top: int, num_seeds: int, *, is_race: bool
) -> tuple[bool, float, bool, bool, int]:
    """Choose, and add seeds until it is decided: whether the best was chosen, its gain, the outcome, and the runs."""
    num_trials = 8
    true_1T = mean + spread * random.standard_normal((1, num_trials))
    searched_1T = true_1T + SEED_SPREAD * random.standard_normal((1, num_trials))
    seeds_N1T = true_1T + SEED_SPREAD * random.standard_normal((num_trials, 1, num_trials))
    choose = _race if is_race else _pick
    picked = int(choose(searched_1T, seeds_N1T if is_race else seeds_N1T[:num_seeds], top)[0])
    gain = float(true_1T[0, picked])
    num_runs = sum(range(2, top + 1)) if is_race else top * num_seeds
    scores = Study(1, gain, normal, random).scores(LAST)
    error = planned_error([], range(FIRST, LAST + 1))
    for number in range(FIRST, LAST + 1):
        found = measure(scores[1, 0, :number], scores[1, -1, :number], error=error)
        is_shown = found.low > 0
        if is_shown or found.high < DEFAULT_MARGIN:
            break
    is_decided = is_shown or found.high < DEFAULT_MARGIN
    return gain == true_1T.max(), gain, is_decided, is_shown, num_runs + 2 * number


def families(repetitions: int) -> Iterator[str]:
    """Yield half-widths of sequences in standard deviations: planned analyses, and Lai's anytime-valid t interval."""
    from scipy import special

    del repetitions
    sizes = (5, 8, 12, 20)
    yield f"| interval | {' | '.join(f'{size} seeds' for size in sizes)} |"
    yield f"|---|{'---|' * len(sizes)}"

    def row(name: str, halves: Sequence[float]) -> str:
        return f"| {name} | {' | '.join(f'{half:.2f}' if np.isfinite(half) else 'none' for half in halves)} |"

    def of_error(error: float) -> list[float]:
        return [float(special.stdtrit(size - 1, 1 - error / 2)) / size**0.5 for size in sizes]

    yield row("one analysis, 95%", of_error(0.05))
    yield row("one analysis, 96%", of_error(unplanned_error([], FIRST)))
    yield row("planned analyses at 5, 6, ..., 20 seeds", of_error(planned_error([], range(FIRST, LAST + 1))))
    for prior in (0.1, 0.3, 1.0):
        yield row(f"anytime-valid, prior precision {prior:g}", [_anytime_half_width(size, prior) for size in sizes])


def _anytime_half_width(num_seeds: int, prior: float, *, error: float = 0.05) -> float:
    """Half-width of the t confidence sequence with a Gaussian mixture over effect sizes, in standard deviations.

    With ``r = g / (n + g)`` for the prior's precision ``g``, the mixture ratio is
    ``sqrt(r) ((1 + t^2 / (n-1)) / (1 + r t^2 / (n-1)))^(n/2)`` (Wang and Ramdas, 2023, after Lai, 1976). The interval
    has all means for which it is below ``1 / error``.
    """
    ratio = prior / (num_seeds + prior)
    limit = (1 / (error**2 * ratio)) ** (1 / num_seeds)
    if limit * ratio >= 1:
        return float("inf")
    return float(np.sqrt((num_seeds - 1) * (limit - 1) / (1 - limit * ratio)) / np.sqrt(num_seeds))


TABLES = {
    "selection": selection,
    "race": race,
    "costs": costs,
    "analyses": analyses,
    "power": power,
    "families": families,
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
