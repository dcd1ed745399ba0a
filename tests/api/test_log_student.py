"""A student as a model of MLflow: logged at its trial's run, registered, loaded without distune, and served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distune
from distune.errors import UsageError
from distune.tracking.mlflow_client import open_client
from support.command_line import run
from support.trained_study import NAME

LOAD = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "distune":
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
found = model.predict(np.load(sys.argv[3]), params={"min_score": 0.0})
print(json.dumps(found.to_dict("list")))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    file = tmp_path / "images.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    return file


def expected_boxes(study: distune.Study, images: Path) -> list[dict[str, Any]]:
    pixels = torch.from_numpy(np.load(images)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return [{name: each.tolist() for name, each in study.best_model()([image])[0].items()} for image in pixels]


def without_distune() -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": programs}
    environment.pop("PYTHONPATH", None)
    return environment


@pytest.mark.slow
def test_the_model_is_at_its_run_and_loads_without_distune(
    trained_home: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run(
        capsys, monkeypatch, "export", NAME, "--images", "1", "--register", "shapes", "--alias", "champion", "--json"
    )
    assert answer.status == 0, answer.err
    logged = json.loads(answer.out)["mlflow"]
    study = distune.load_study(NAME)
    best = study.best_trial
    uri = f"sqlite:///{trained_home / 'mlflow.db'}"
    client = open_client(uri)
    version = client.get_model_version_by_alias("shapes", "champion")
    assert logged["registered"] == f"shapes/{version.version}"
    assert version.tags["distune.verdict"].endswith("not confirmed: one seed")
    assert (version.description or "").startswith(version.tags["distune.verdict"])
    trial_run = client.get_run(logged["run_id"])
    assert trial_run.data.tags["distune.trial"] == best.key
    assert trial_run.info.status == "FINISHED"
    model = client.get_logged_model(logged["uri"].removeprefix("models:/"))
    assert model.source_run_id == logged["run_id"]
    epoch = max(study.epochs(best.number), key=lambda each: each.metrics["search/AP"])
    (score,) = (each for each in model.metrics or [] if each.key == "search/AP")
    assert score.value == pytest.approx(epoch.metrics["search/AP"])
    assert score.step == epoch.epoch
    points = client.get_metric_history(logged["run_id"], "search/AP")
    assert [each.step for each in points] == [1, 2, 3], "its metrics are not logged twice"

    printed = subprocess.run(
        [sys.executable, "-c", LOAD, uri, "models:/shapes@champion", str(images)],
        capture_output=True,
        text=True,
        check=True,
        cwd=images.parent,
        env=without_distune(),
    ).stdout
    rows = json.loads(printed)
    for index, expected in enumerate(expected_boxes(study, images)):
        own = [position for position, image in enumerate(rows["image"]) if image == index]
        assert len(own) == len(expected["scores"]) > 0
        assert [rows["score"][position] for position in own] == pytest.approx(expected["scores"], abs=1e-5)
        assert [rows["x2"][position] for position in own] == pytest.approx(
            [box[2] for box in expected["boxes"]], abs=1e-2
        )


@pytest.mark.slow
def test_wrong_uses_are_refused(trained_home: Path) -> None:
    study = distune.load_study(NAME)
    teacher = study.export("torchvision", "teacher", max_images=1, callbacks=[])
    with pytest.raises(UsageError, match="the teacher has no run in MLflow"):
        study.log_model(teacher, callbacks=[])
    export = study.export("torchvision", 0, max_images=1, callbacks=[])
    with pytest.raises(UsageError, match=r"an alias needs a registered model \(--register NAME\)"):
        study.log_model(export, alias="champion", callbacks=[])
    (trained_home / "mlflow.db").unlink()
    with pytest.raises(UsageError, match="MLflow has no run of trial 0"):
        study.log_model(export, callbacks=[])


@pytest.mark.server
def test_the_model_is_served(trained_home: Path, images: Path) -> None:
    study = distune.load_study(NAME)
    logged = study.log_model(study.export("torchvision", max_images=1, callbacks=[]), callbacks=[])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**without_distune(), "MLFLOW_TRACKING_URI": f"sqlite:///{trained_home / 'mlflow.db'}"}
    command = ["-m", "mlflow", "models", "serve", "-m", logged.uri, "--env-manager", "local", "-p", str(port)]
    log = images.with_name("log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=images.parent, stdout=output, stderr=output
        )
    try:
        answer = ask(port, np.load(images)[:1], server, log)
    finally:
        server.terminate()
        server.wait(30)
    rows = answer["predictions"]
    (expected, _) = expected_boxes(study, images)
    assert [row["score"] for row in rows] == pytest.approx(
        [score for score in expected["scores"] if score >= 0.05], abs=1e-5
    )
    assert set(rows[0]) == {"image", "class", "score", "x1", "y1", "x2", "y2"}


def ask(port: int, images: Any, server: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Ask the server for the boxes of images, once it answers."""
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                values: dict[str, Any] = json.loads(answer.read())
                return values
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
