"""Trains and scores the runs of arms that are not on record, as one job per seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from distune.config.search import ResourceSettings
from distune.confirmation.arm_folder import ArmFolder
from distune.confirmation.joint_training import JobContext
from distune.confirmation.reporter import ConfirmationReporter
from distune.confirmation.seed_job import SeedJob, Split
from distune.confirmation.seed_runners import run_jobs_locally, run_jobs_on_ray
from distune.records import TrialSpec
from distune.study.files.study_folder import StudyIdentity


@dataclasses.dataclass(frozen=True)
class ArmsTraining:
    """Trains the runs of a study with its runner.

    Attributes:
        identity: of the study.
        resources: of a trial, and the address of the cluster.
        command: distune's command whose session it belongs to.
    """

    identity: StudyIdentity
    resources: ResourceSettings
    command: str = "confirm"

    def train(self, specs: Sequence[TrialSpec], context: JobContext, reporter: ConfirmationReporter) -> bool:
        """Train and score runs that are not on record.

        Args:
            specs: of the runs.
            context: of the session.
            reporter: receives what the runs record.

        Returns:
            False when a signal asked to stop.
        """
        for spec in specs:
            if ArmFolder.of(spec).is_new_training(spec):  # reported before the folder forgets it
                reporter.replace(spec)
            mismatch = ArmFolder.of(spec).prepare(spec)
            if mismatch is not None:
                reporter.callback.on_message(f"{spec.key}: was trained {mismatch} and is trained again")
        reporter.add(specs)
        if not self.run_jobs(specs, "search", context):
            return False
        for job in self._open_jobs(specs, "search"):
            job.fail("has no student")
        context.on_progress()
        return True

    def run_jobs(self, specs: Sequence[TrialSpec], split: Split, context: JobContext) -> bool:
        """Run the jobs that are not done.

        Args:
            specs: of the runs.
            split: ``search`` trains and scores; ``test`` only scores.
            context: of the session.

        Returns:
            False when a signal asked to stop.
        """
        jobs = self._open_jobs(specs, split)
        if self.identity.runner == "local" or not jobs:
            run_jobs_locally(jobs, context)
        else:
            run_jobs_on_ray(jobs, self.resources, context, simulate=self.identity.simulate)
        return not context.should_stop()

    def _open_jobs(self, specs: Sequence[TrialSpec], split: Split) -> list[SeedJob]:
        """Return the jobs that are not done, one for each folder of a seed."""
        folders = dict.fromkeys(Path(spec.folder).parent for spec in specs)
        by_folder = [tuple(spec for spec in specs if Path(spec.folder).parent == folder) for folder in folders]
        jobs = [
            SeedJob(specs=each, simulate=self.identity.simulate, split=split, command=self.command)
            for each in by_folder
        ]
        return [job for job in jobs if not job.is_done]
