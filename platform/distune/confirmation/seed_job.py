"""The work on one seed: trains its arms side by side, and scores their students. The same on Ray and without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.joint_training import (
    JobContext,
    fail_arm,
    has_all_epochs,
    timeout_file,
    timeout_of,
    train_together,
)
from distune.confirmation.simulated_arms import simulated_matches
from distune.errors import TrialError
from distune.evidence.matches import MatchTable
from distune.records import Outcome, TrialSpec
from distune.study.failures.reasons import STORAGE, describe_failure, is_of_kind
from distune.study.runners.epoch_timeout import Deadline, raise_after

_TAKEOVER_TIMEOUT_S = 60.0
"""How long to wait for the worker of a session that was killed to let go of a seed."""


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

    def run(
        self,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        heard: Callable[[], None] = lambda: None,
        deadline: Deadline = raise_after,
    ) -> None:
        """Do what is not done yet. Failures of an arm are put on record in its folder, and the others go on.

        Args:
            should_stop: see ``JobContext``.
            heard: see there.
            deadline: see there.

        Raises:
            TrialError: another process works on the same seed.
            StudyStoppedError: the disk is full, read-only or broken. No arm is to blame for that.
        """
        around = JobContext(should_stop=should_stop, heard=heard, deadline=deadline)
        folder = Path(self.specs[0].folder).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "work.lock", timeout=_TAKEOVER_TIMEOUT_S):
                if self.split == "search":
                    self._train(around)
                self._score(around)
        except Timeout:
            raise TrialError(
                f"another process still works on {folder}; stop it and run distune confirm again"
            ) from None
        except Exception as error:
            if not _is_of_the_disk(error):
                raise
            from distune.study.storage.optuna_storage import (
                stopped_error,  # loads Optuna, which a worker needs for nothing else
            )

            raise stopped_error(self.specs[0].study, error, command="confirm") from error

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left: all arms have ended, and those that have finished were scored."""
        folders = [ArmFolder.of(spec) for spec in self.specs]
        return all(_is_done(folder, self.split) for folder in folders)

    @property
    def timeout(self) -> str | None:
        """Why its worker was ended, if that was because an epoch took too long."""
        return timeout_of(self.specs)

    def fail(self, reason: str) -> None:
        """Put on record that nothing more comes of the arms that have not ended."""
        for spec in self.specs:
            if ArmFolder.of(spec).outcome()[0] is None:
                ArmFolder.of(spec).end(Outcome.FAILED, reason)

    def _train(self, around: JobContext) -> None:
        left = [spec for spec in self.specs if ArmFolder.of(spec).outcome()[0] is None and not has_all_epochs(spec)]
        if not left:
            return
        timeout_file(self.specs).unlink(missing_ok=True)  # of an earlier attempt
        short_of_memory = train_together(left, around, simulate=self.simulate, may_be_too_many=len(left) > 1)
        for spec in short_of_memory:
            train_together([spec], around, simulate=self.simulate, may_be_too_many=False)

    def _score(self, around: JobContext) -> None:
        for spec in self.specs:
            folder = ArmFolder.of(spec)
            is_trained = folder.trial.best_checkpoint.is_file() or self.simulate
            is_due = has_all_epochs(spec) and folder.outcome()[0] in (None, Outcome.FINISHED)
            if around.should_stop() or not is_due or not is_trained:
                continue
            try:
                if not folder.matches_file(self.split).is_file():
                    folder.save_matches(self.split, _measure(spec, self.split, simulate=self.simulate))
                if folder.outcome()[0] is None:
                    folder.end(Outcome.FINISHED)
            except Exception as error:
                if self.split == "test" or _is_of_the_disk(error):
                    raise  # nothing of the training is lost, and half a look at the test split is none
                fail_arm(folder, error)
            around.heard()


def _is_done(folder: ArmFolder, split: str) -> bool:
    outcome = folder.outcome()[0]
    return outcome is not None and (outcome is not Outcome.FINISHED or folder.matches_file(split).is_file())


def _is_of_the_disk(error: Exception) -> bool:
    return is_of_kind(describe_failure(error), STORAGE)


def _measure(spec: TrialSpec, split: Literal["search", "test"], *, simulate: bool) -> MatchTable:
    if simulate:
        return simulated_matches(spec, split)
    from distune.training.evaluation.checkpoint_score import measure

    table: MatchTable = measure(spec, split)
    return table
