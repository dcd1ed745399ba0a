"""The Ray of a study refuses other clients: it listens on all networks and runs the code that it receives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distune.config.home import Home
from distune.study.create import create_study
from study.harness import MakeLoaded

pytestmark = pytest.mark.ray

SESSION = """
import os, subprocess, sys
from pathlib import Path
from distune.study.files.study_folder import StudyFolder
from distune.study.callback import CallbackList
from distune.study.session import run_session
from distune.tracking.tracker import NullTracker

ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info(timeout=30)"

class Stranger(CallbackList):
    answers = []

    def on_epoch_end(self, spec, report, decision):
        if not self.answers:
            import ray
            address = ray.get_runtime_context().gcs_address
            for stolen in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
                names = {name: text for name, text in os.environ.items() if not name.startswith("RAY_AUTH")}
                done = subprocess.run(
                    [sys.executable, "-c", ASK, address], env=names | stolen, capture_output=True, text=True
                )
                self.answers.append(done.returncode != 0 and "AuthenticationError" in done.stderr)

stranger = Stranger()
run_session(StudyFolder(Path(sys.argv[1])), tracker=NullTracker(), callback=stranger, teacher_weights=None)
sys.exit(0 if stranger.answers == [True, True] else 3)
"""


def test_clients_without_the_token_are_refused(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    loaded = make_loaded(training={"epochs": 2}, search={"num_trials": 1})
    folder = create_study(loaded, Home(tmp_path), name="one", simulate=True, runner="ray", replace=False)
    user = tmp_path / "user"
    user.mkdir()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(folder.path)],
        env={**environment, "HOME": str(user)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (user / ".ray").exists(), "the token is written nowhere"
