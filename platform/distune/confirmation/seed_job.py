"""The job of one seed: trains its arms together, and scores their students. The same on Ray and in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.joint_training import (
    JobContext,
    fail_arm,
    has_all_epochs,
    is_untrained,
    timeout_file,
    timeout_of,
    train_jointly,
)
from distune.confirmation.simulated_arms import simulated_matches
from distune.errors import TrialError
from distune.evidence.matches import MatchTable
from distune.records import Outcome, TrialSpec
from distune.study.failures.reasons import STORAGE, describe_failure, is_of_kind
from distune.study.failures.release_memory import free_memory
from distune.study.runners.trial_attempt import TAKEOVER_TIMEOUT_S

Split = Literal["search", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedJob:
    """The work for one seed. Made of plain values, so that it can be sent to another machine.

    Attributes:
        specs: of the arms, all under the same seed.
        simulate: simulate learning curves and matches instead of training.
        split: ``search`` trains the arms and scores them; ``test`` only scores students that are trained.
        command: distune's command whose session it belongs to, which continues it.
    """

    specs: tuple[TrialSpec, ...]
    simulate: bool
    split: Split
    command: str = "confirm"

    def run(self, context: JobContext) -> None:
        """Do what is not done yet. The failure of an arm is recorded in its folder, and the others continue.

        Args:
            context: of the job.

        Raises:
            TrialError: another process works on the same seed.
            StudyStoppedError: the disk is full, read-only or broken, which is no failure of an arm.
        """
        folder = Path(self.specs[0].folder).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "work.lock", timeout=TAKEOVER_TIMEOUT_S):
                if self.split == "search":
                    self._train(context)
                self._score(context)
        except Timeout:
            raise TrialError(
                f"another process still works on {folder}; stop it and run distune {self.command} again"
            ) from None
        except Exception as error:
            if not _is_disk_error(error):
                raise
            from distune.study.storage.optuna_storage import stopped_error  # loads Optuna, which a worker does not need

            raise stopped_error(self.specs[0].study, error, command=self.command) from error

    @property
    def is_done(self) -> bool:
        """True when all arms have ended, and those that have finished were scored."""
        return all(_is_done(ArmFolder.of(spec), self.split) for spec in self.specs)

    @property
    def timeout(self) -> str | None:
        """The reason when an epoch took too long and its worker was ended, None otherwise."""
        return timeout_of(self.specs)

    def fail(self, reason: str) -> None:
        """Record a failure for all arms that have not ended."""
        for folder in map(ArmFolder.of, self.specs):
            if folder.outcome()[0] is None:
                folder.end(Outcome.FAILED, reason)

    def _train(self, context: JobContext) -> None:
        left = [spec for spec in self.specs if is_untrained(spec)]
        if not left:
            return
        timeout_file(self.specs).unlink(missing_ok=True)  # of an earlier attempt
        for spec in train_jointly(left, context, simulate=self.simulate, may_retry=len(left) > 1):
            free_memory()
            train_jointly([spec], context, simulate=self.simulate, may_retry=False)

    def _score(self, context: JobContext) -> None:
        for spec in self.specs:
            folder = ArmFolder.of(spec)
            is_trained = folder.trial.best_checkpoint.is_file() or self.simulate
            is_due = has_all_epochs(spec) and folder.outcome()[0] in (None, Outcome.FINISHED)
            if context.should_stop() or not is_due or not is_trained:
                continue
            try:
                if not folder.matches_file(self.split).is_file():
                    folder.save_matches(self.split, _measure(spec, self.split, simulate=self.simulate))
                if folder.outcome()[0] is None:
                    folder.end(Outcome.FINISHED)
            except Exception as error:
                if self.split == "test" or _is_disk_error(error):
                    raise  # the training is not lost, and a test evaluation must be complete
                fail_arm(folder, error)
            context.on_progress()


def _is_done(folder: ArmFolder, split: Split) -> bool:
    outcome = folder.outcome()[0]
    return outcome is not None and (outcome is not Outcome.FINISHED or folder.matches_file(split).is_file())


def _is_disk_error(error: Exception) -> bool:
    return is_of_kind(describe_failure(error), STORAGE)


def _measure(spec: TrialSpec, split: Split, *, simulate: bool) -> MatchTable:
    if simulate:
        return simulated_matches(spec, split)
    from distune.training.evaluation.score_student import measure

    table: MatchTable = measure(spec, split)
    return table
