"""Trains the arms of one seed side by side, and scores their students. The same on Ray and in this process."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock, Timeout

from distune.errors import TrialError
from distune.evidence.matches import MatchTable
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.artifacts import ERROR_FILE
from distune.study.confirmation.folder import ArmFolder
from distune.study.confirmation.simulated import SimulatedRun, simulated_matches
from distune.study.failures import describe_failure
from distune.study.trials import TrialProgress
from distune.tracking.uris import redact_uri

_TAKEOVER_TIMEOUT_S = 60.0
"""How long to wait for the worker of a session that was killed to let go of a seed."""
_MEMORY = "out of memory"


class ArmsRun(Protocol):
    """Several trainings under one seed; see ``JointRun`` for the real ones."""

    @property
    def behind(self) -> tuple[str, ...]:
        """Keys of those that have epochs to do."""
        ...

    def run_epoch(self) -> Mapping[str, EpochReport | Exception]:
        """Train those that are furthest behind for one epoch. One that went wrong is dropped."""
        ...

    def drop(self, key: str) -> None:
        """Train one no further."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedJob:
    """What is to be done for one seed. Made of plain values, so that it can be sent to another machine.

    Attributes:
        specs: of the arms, all under the same seed.
        simulate: make everything up.
        split: ``search`` trains the arms as well; ``test`` only scores students that are ready.
    """

    specs: tuple[TrialSpec, ...]
    simulate: bool
    split: Literal["search", "test"]

    def run(self, *, should_stop: Callable[[], bool] = lambda: False, heard: Callable[[], None] = lambda: None) -> None:
        """Do what is not done yet. Failures of an arm are put on record in its folder, and the others go on.

        Args:
            should_stop: asked between epochs.
            heard: called when something has been put on record.

        Raises:
            TrialError: another process works on the same seed.
        """
        folder = Path(self.specs[0].folder).parent
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "work.lock", timeout=_TAKEOVER_TIMEOUT_S):
                if self.split == "search":
                    self._train(should_stop, heard)
                self._score(should_stop, heard)
        except Timeout:
            raise TrialError(
                f"another process still works on {folder}; stop it and run distune confirm again"
            ) from None

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left: all arms have ended, and those that have finished were scored."""
        folders = [ArmFolder(Path(spec.folder)) for spec in self.specs]
        return all(_is_done(folder, self.split) for folder in folders)

    def fail(self, reason: str) -> None:
        """Put on record that nothing more comes of the arms that have not ended."""
        for spec in self.specs:
            if ArmFolder(Path(spec.folder)).outcome()[0] is None:
                ArmFolder(Path(spec.folder)).end(Outcome.FAILED, reason)

    def _train(self, should_stop: Callable[[], bool], heard: Callable[[], None]) -> None:
        left = self._unended()
        if not left:
            return
        short_of_memory = _train_together(left, self.simulate, should_stop, heard, may_be_too_many=len(left) > 1)
        for spec in short_of_memory:
            _train_together([spec], self.simulate, should_stop, heard, may_be_too_many=False)

    def _score(self, should_stop: Callable[[], bool], heard: Callable[[], None]) -> None:
        for spec in self.specs:
            folder = ArmFolder(Path(spec.folder))
            is_trained = folder.trial.best_checkpoint.is_file() or self.simulate
            is_due = _has_all_epochs(spec) and folder.outcome()[0] in (None, Outcome.FINISHED)
            if should_stop() or not is_due or not is_trained:
                continue
            try:
                if not folder.matches_file(self.split).is_file():
                    folder.save_matches(self.split, _measure(spec, self.split, simulate=self.simulate))
                if folder.outcome()[0] is None:
                    folder.end(Outcome.FINISHED)
            except Exception as error:
                if self.split == "test":
                    raise  # nothing of the training is lost, and half a look at the test split is none
                _fail(folder, error)
            heard()

    def _unended(self) -> list[TrialSpec]:
        return [
            spec
            for spec in self.specs
            if ArmFolder(Path(spec.folder)).outcome()[0] is None and not _has_all_epochs(spec)
        ]


def _is_done(folder: ArmFolder, split: str) -> bool:
    outcome = folder.outcome()[0]
    return outcome is not None and (outcome is not Outcome.FINISHED or folder.matches_file(split).is_file())


def _train_together(
    specs: list[TrialSpec],
    simulate: bool,
    should_stop: Callable[[], bool],
    heard: Callable[[], None],
    *,
    may_be_too_many: bool,
) -> list[TrialSpec]:
    """Train arms in one cohort. Returns those to be tried alone: together they were too many for the memory."""
    by_key = {spec.key: spec for spec in specs}
    too_large: list[TrialSpec] = []

    def failed(spec: TrialSpec, error: Exception) -> None:
        if may_be_too_many and describe_failure(error).startswith(_MEMORY):
            too_large.append(spec)
        else:
            _fail(ArmFolder(Path(spec.folder)), error)

    try:
        run = _open(specs, simulate=simulate)
    except Exception as error:
        for spec in specs:
            failed(spec, error)
        return too_large
    try:
        while run.behind and not should_stop():
            for key, answer in run.run_epoch().items():
                if isinstance(answer, Exception):
                    failed(by_key[key], answer)
                    continue
                divergence = _progress(by_key[key]).divergence(answer)
                if divergence is not None:
                    run.drop(key)
                    ArmFolder(Path(by_key[key].folder)).end(Outcome.DIVERGED, divergence)
            heard()
    except Exception as error:  # of the stream or the teacher: nobody can go on
        for spec in specs:
            if ArmFolder(Path(spec.folder)).outcome()[0] is None and not _has_all_epochs(spec):
                failed(spec, error)
    finally:
        run.close()
    return [spec for spec in too_large if not should_stop()]


def _open(specs: list[TrialSpec], *, simulate: bool) -> ArmsRun:
    if simulate:
        return SimulatedRun(specs)
    from distune.training.together import JointRun  # torch is loaded in the worker, and only for real work

    run: ArmsRun = JointRun(specs)
    return run


def _measure(spec: TrialSpec, split: Literal["search", "test"], *, simulate: bool) -> MatchTable:
    if simulate:
        return simulated_matches(spec, split)
    from distune.training.scoring import measure

    table: MatchTable = measure(spec, split)
    return table


def _progress(spec: TrialSpec) -> TrialProgress:
    return TrialProgress(spec, f"search/{spec.experiment['search']['metric']}")


def _has_all_epochs(spec: TrialSpec) -> bool:
    reports = ArmFolder(Path(spec.folder)).trial.reports()
    if not reports or reports[-1].epoch < spec.num_epochs:
        return False
    metric = f"search/{spec.experiment['search']['metric']}"
    return math.isfinite(reports[-1].metrics.get(metric, math.nan))


def _fail(folder: ArmFolder, error: Exception) -> None:
    with (folder.path / ERROR_FILE).open("a", encoding="utf-8") as file:
        file.write(redact_uri("".join(traceback.format_exception(error))))
    folder.end(Outcome.FAILED, describe_failure(error))
