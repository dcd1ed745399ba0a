"""The command line: a whole study, and invalid input of every kind."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from distune.cli.main import build_app
from distune.config.home import Home
from distune.config.load import load_experiment
from distune.config.paths import merge
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.version import VERSION
from support.command_line import Distune
from support.datasets import corrupt, make_voc
from support.experiments import small_values


def write(folder: Path, changes: dict[str, Any] | None = None, *, untracked: bool = True) -> str:
    values = merge(small_values(changes), {"tracking": {"enabled": not untracked}})
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def voc_values(root: Path, **data: Any) -> dict[str, Any]:
    return {
        "data": {"kind": "voc", "root": str(root), "search_set": "val", "min_size_px": 48, "max_size_px": 64, **data}
    }


@pytest.mark.slow
def test_a_whole_study_with_real_training(distune: Distune, tmp_path: Path, home: Path) -> None:
    path = write(tmp_path, untracked=False)
    answer = distune("launch", path, "--runner", "local")
    assert answer.status == 0, answer.err
    assert "teacher: epoch 1/1" in answer.err
    assert "best: trial" in answer.out

    status = json.loads(distune("status", "small", "--json").out)
    assert "[3 of 3 trials ended]" in answer.err
    assert "best so far: trial" in answer.err
    assert "estimated time: not measured yet" in answer.err
    shown = distune("status", "small").out
    assert "\ntime: 20" in shown
    assert " s per epoch, " in shown
    assert f"\nteacher: search/AP {status['teacher']:.1f}\n" in shown
    assert (status["study"], status["state"], status["metric"]) == ("small", "finished", "search/AP")
    keys = {"number", "state", "outcome", "control", "epochs", "params", "metrics", "seed"}
    assert all(keys <= set(trial) for trial in status["trials"])
    assert len(status["trials"]) == 3
    assert [trial["control"] for trial in status["trials"]] == [True, False, False]
    assert len({trial["number"] for trial in status["trials"]}) == 3
    folder = StudyFolder(home / "studies" / "small")
    for trial in status["trials"]:
        scores = [report.metrics["search/AP"] for report in folder.trial(trial["number"]).reports()]
        assert len(scores) == trial["epochs"]
        assert trial["metrics"]["search/AP"] == max(scores)

    best = json.loads(distune("best", "small", "--json").out)
    control = status["trials"][0]["metrics"]["search/AP"]
    assert best["gain"] == pytest.approx(best["metrics"]["search/AP"] - control)
    assert Path(best["weights"]).is_file()
    assert [each["name"] for each in best["sizes"]["models"]] == ["teacher", "control", "student"]
    shown = distune("best", "small").out
    assert "student against teacher: " in shown
    assert "latency and FLOPs: one image of 64 x 64 px, float32, CPU, " in shown
    report = "import sys; from distune.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", report, "best", "small"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr
    assert "measured in study small" in distune("validate", path).out

    scored = json.loads(distune("evaluate", path, best["weights"], "--json").out)
    assert scored["search/AP"] == pytest.approx(best["metrics"]["search/AP"])
    assert "test/AP" in json.loads(distune("evaluate", path, best["weights"], "--split", "test", "--json").out)

    assert (home / "studies" / "small" / "report" / "study.png").is_file()
    more = distune("resume", "small", "--trials", "3")
    assert more.status == 0, more.err
    assert "teacher: found" in more.err
    assert "\ntime: about " in more.err
    assert len(json.loads(distune("status", "small", "--json").out)["trials"]) == 4

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len(runs) == 5
    finished = next(each for each in runs if each.data.tags.get("distune.control") == "false")
    assert "search/AP" in finished.data.metrics
    assert set(finished.data.params) >= {"distillation.local_knowledge.weight"}
    folders = {each.path for each in client.list_artifacts(finished.info.run_id)}
    assert {"pictures", "student", "trial.json"} <= folders


@pytest.mark.slow
def test_train_and_teacher(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path)
    teacher = json.loads(distune("teacher", path, "--json").out)
    assert Path(teacher["weights"]).is_file()
    trained = json.loads(distune("train", path, "--set", "training.epochs=1", "--out", "here", "--json").out)
    assert trained["best"]["epoch"] == 1
    assert "loss/local_knowledge" in trained["best"]["metrics"]
    control = json.loads(distune("train", path, "--control", "--set", "training.epochs=1", "--json").out)
    assert "loss/local_knowledge" not in control["best"]["metrics"]


def test_a_simulated_study(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"num_trials": 6}})
    assert distune("launch", path, "--simulate", "--runner", "local", "--name", "rehearsal").status == 0
    table = distune("status", "rehearsal").out
    assert "study rehearsal (simulated): finished" in table
    assert "control-1" in table
    assert "local_knowledge.weight=" in distune("status", "rehearsal", "--params").out
    assert "gain: " in distune("best", "rehearsal").out
    assert "rehearsal  finished  simulated" in distune("status").out
    again = distune("launch", path, "--simulate", "--runner", "local", "--name", "rehearsal")
    assert again.status == 2
    assert "study rehearsal exists already" in again.err
    assert "distune resume rehearsal" in again.err
    assert distune("launch", path, "--simulate", "--runner", "local", "--name", "rehearsal", "--replace").status == 0


def test_a_simulated_study_does_not_take_the_name_of_one_that_is_trained(
    distune: Distune, tmp_path: Path, home: Path
) -> None:
    path = write(tmp_path)
    simulated = distune("launch", path, "--simulate", "--runner", "local")
    assert "study small-simulated is simulated: nothing is trained" in simulated.err
    assert "study small-simulated (simulated): finished" in simulated.out
    for arguments in (("status",), ("best", "small-simulated"), ("status", "small-simulated", "--trial", "0")):
        shown = json.loads(distune(*arguments, "--json").out)
        assert all(each["simulated"] for each in (shown if isinstance(shown, list) else [shown]))
    refused = distune("launch", path, "--runner", "local", "--name", "small-simulated")
    assert refused.status == 2
    assert "study small-simulated exists already and is simulated: replace it (--replace), or choose" in refused.err
    refused = distune("launch", path, "--runner", "local", "--warm-start", "small-simulated")
    assert "study small-simulated is simulated, so its best configurations are not better" in refused.err
    assert [each.name for each in (home / "studies").iterdir()] == ["small-simulated"]

    create_study(load_experiment(path), Home(home), name="small", simulate=False, runner="local", replace=False)
    for option in ((), ("--replace",)):
        refused = distune("launch", path, "--simulate", "--runner", "local", "--name", "small", *option)
        assert refused.status == 2
        assert "study small exists already and is not simulated" in refused.err
        assert "(--name small-simulated)" in refused.err
    assert StudyFolder(home / "studies" / "small").study_file.is_file()


def test_resume_reports_the_remaining_trials(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path, {"search": {"num_trials": 2}})
    assert distune("launch", path, "--simulate", "--runner", "local").status == 0
    more = distune("resume", "small-simulated", "--trials", "4")
    assert more.status == 0
    assert "study small-simulated: 2 trials and 1 control so far; 0 to continue, 2 to start" in more.err
    nothing = distune("resume", "small-simulated")
    assert nothing.status == 0
    assert "nothing left to run: " in nothing.err
    assert "run more with --trials 14" in nothing.err
    fewer = distune("resume", "small-simulated", "--trials", "1")
    assert fewer.status == 2
    assert "1 trials were asked for in total, and 4 have been started already" in fewer.err
    assert len(json.loads(distune("status", "small-simulated", "--json").out)["trials"]) == 5


def test_validate_prints_the_cost_of_a_study(distune: Distune, tmp_path: Path) -> None:
    answer = distune("validate", write(tmp_path))
    assert answer.status == 0, answer.err
    assert "2 trials and 1 control of 3 epochs, ASHA rungs at 1" in answer.out
    assert "searched: distillation.local_knowledge.weight  0.03 to 10, log" in answer.out
    assert json.loads(distune("validate", "bccd", "--json").out)["experiment"]["name"] == "bccd"


def test_doctor(distune: Distune) -> None:
    answer = distune("doctor", "--json")
    facts = json.loads(answer.out)
    assert (answer.status == 0) == (facts["problems"] == [])
    assert facts["packages"]["torch"] == importlib.metadata.version("torch")
    assert 1 <= facts["cpus"] <= (os.cpu_count() or 1)


def test_doctor_names_a_problem(distune: Distune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.cli.doctor._WANTED_FREE_GB", 1e9)
    answer = distune("doctor")
    assert answer.status == 1
    assert "GB are free" in answer.out
    assert "problem(s) found" in answer.err


@pytest.mark.parametrize("command", sorted(get_command(build_app()).commands))  # type: ignore[attr-defined]
def test_every_command_has_help_with_an_example(distune: Distune, command: str) -> None:
    answer = distune(command, "--help")
    assert answer.status == 0
    assert f"distune {command}" in answer.out.split("Usage", 1)[1].split("\n", 2)[2]


@pytest.mark.parametrize("command", [[], *([name] for name in sorted(get_command(build_app()).commands))])  # type: ignore[attr-defined]
def test_short_help_of_every_command_shows_flags_without_a_type(distune: Distune, command: list[str]) -> None:
    answer = distune(*command, "-h")
    assert answer.out == distune(*command, "--help").out
    assert "<bool>" not in answer.out


def test_a_missing_home_is_explained(distune: Distune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "DISTUNE_HOME is not set" not in distune("status").err
    monkeypatch.delenv("DISTUNE_HOME")
    for arguments in (["status"], ["best", "nope"]):
        answer = distune(*arguments)
        assert answer.status == 2
        assert f"{tmp_path}/runs/studies (DISTUNE_HOME is not set" in answer.err
        assert "Traceback" not in answer.err


def as_missing(folder: Path) -> Path:
    return folder / "absent.pt"


def as_folder(folder: Path) -> Path:
    (folder / "trial").mkdir()
    (folder / "trial" / "best.pt").write_text("")
    return folder / "trial"


def as_text(folder: Path) -> Path:
    (folder / "notes.pt").write_text("no checkpoint")
    return folder / "notes.pt"


def as_weights(folder: Path) -> Path:
    import torch

    torch.save({"weight": torch.zeros(2)}, folder / "weights.pt")
    return folder / "weights.pt"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (as_missing, "there is no such file; distune best NAME shows that of the best trial"),
        (as_folder, "trial/best.pt?"),
        (as_text, "is no checkpoint, or is damaged; the checkpoint of a trial is best.pt in its folder"),
        (as_weights, "is a checkpoint without the settings of its detector"),
    ],
)
def test_what_is_no_checkpoint(distune: Distune, tmp_path: Path, make: Callable[[Path], Path], expected: str) -> None:
    checkpoint = make(tmp_path)
    answer = distune("evaluate", write(tmp_path), str(checkpoint))
    assert answer.status == 2, answer
    assert f"error: checkpoint {checkpoint}: " in answer.err
    assert expected in answer.err


def bad_settings(changes: dict[str, Any]) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: changes


def bad_space(parameters: dict[str, Any]) -> Callable[[Path], dict[str, Any]]:
    def make(folder: Path) -> dict[str, Any]:
        (folder / "space.yaml").write_text(yaml.safe_dump({"name": "bad", "parameters": parameters}))
        return {"search": {"space": "space.yaml"}}

    return make


def no_boxes(folder: Path) -> dict[str, Any]:
    root = make_voc(folder / "voc")
    for xml in (root / "Annotations").glob("*.xml"):
        text = xml.read_text()
        start, end = text.index("<object>"), text.rindex("</object>") + len("</object>")
        xml.write_text(text[:start] + text[end:])
    return voc_values(root, classes=["cat", "dog"])


def corrupt_images(folder: Path) -> dict[str, Any]:
    root = make_voc(folder / "voc")
    for image in sorted((root / "JPEGImages").iterdir())[:3]:
        corrupt(image)
    return voc_values(root)


def wrong_classes(folder: Path) -> dict[str, Any]:
    return voc_values(make_voc(folder / "voc"), classes=["cat", "dgo"])


def test_validate_checks_weights_without_a_download(distune: Distune, tmp_path: Path) -> None:
    answer = distune("validate", write(tmp_path, {"student": {"weights": str(tmp_path / "absent.pt")}}))
    assert answer.status == 2
    assert f"error: student.weights = {tmp_path / 'absent.pt'}: there is no such file" in answer.err
    named = {"backbone": "resnet18", "backbone_weights": "ResNet18_Weights.IMAGENET1K_V1"}
    answer = distune("validate", write(tmp_path, {"student": named}))
    assert answer.status == 0
    assert "student.backbone_weights: ResNet18_Weights.IMAGENET1K_V1" in answer.err


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (bad_settings({"trainign": {}}), 'did you mean "training"?'),
        (bad_settings({"training": {"epochs": "three"}}), "must be a whole number"),
        (
            bad_space({"distillation.decay": {"kind": "float", "low": 2.0, "high": 1.0}}),
            "low = 2 must be less than high = 1",
        ),
        (bad_space({"distillation.dekay": {"kind": "float", "low": 0.0, "high": 1.0}}), "is not a setting"),
        (bad_settings({"search": {"space": "absent.yaml"}}), "no such file"),
        (bad_settings({"data": {"kind": "voc", "root": "absent"}}), "absent"),
        (bad_settings({"teacher": {"weights": "absent.pt"}, "teacher_training": None}), "absent.pt: there is no such"),
        (bad_settings({"student": {"backbone_weights": "absent.pt"}}), "student.backbone_weights = "),
        (bad_settings({"student": {"weights": "s3://absent.pt"}}), "is an address"),
        (wrong_classes, "dgo"),
        (no_boxes, "no box"),
        (corrupt_images, "corrupt"),
        (bad_settings({"resources": {"gpus_per_trial": 64.0}}), "resources.gpus_per_trial = 64"),
        (bad_settings({"resources": {"cpus_per_trial": 4096.0}}), "resources.cpus_per_trial = 4096"),
        (bad_settings({"tracking": {"enabled": True, "uri": "nowhere://x"}}), "tracking.uri"),
        (bad_settings({"name": "../up"}), "name = ../up"),
    ],
)
def test_bad_input_gives_one_clear_message_and_writes_nothing(
    distune: Distune, tmp_path: Path, home: Path, make: Callable[[Path], dict[str, Any]], expected: str
) -> None:
    values = merge(small_values({"tracking": {"enabled": False}}), make(tmp_path))
    if values["data"]["kind"] == "voc":
        values["data"] = {name: value for name, value in values["data"].items() if "num_" not in name}
        values["data"].pop("image_size_px", None)
        values["data"].pop("max_objects", None)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    answer = distune("launch", str(path), "--runner", "local")
    assert answer.status == 2, answer
    assert expected in answer.err
    assert "Traceback" not in answer.err
    assert answer.err.count("error:") == 1
    assert not home.exists()


@pytest.mark.parametrize("arguments", [["status", "nope"], ["best", "nope"], ["resume", "nope"], ["ui", "nope"]])
def test_an_unknown_study(distune: Distune, arguments: list[str]) -> None:
    answer = distune(*arguments)
    assert answer.status == 2
    assert "study nope" in answer.err


def test_version_and_short_help(distune: Distune) -> None:
    assert distune("--version").out == f"distune {VERSION}\n"
    assert distune("-h").out == distune("--help").out
    assert "Hyperparameter search" in distune("-h").out


def test_bad_usage(distune: Distune) -> None:
    assert distune("lunch").status == 2
    assert distune("launch").status == 2
    assert distune("launch", "quickstart", "--runner", "slurm").status == 2
    assert distune("status", "../up").status == 2


def test_a_teacher_of_other_classes_is_refused(distune: Distune, tmp_path: Path) -> None:
    path = write(tmp_path)
    weights = json.loads(distune("teacher", path, "--json").out)["weights"]
    answer = distune(
        "launch",
        path,
        "--runner",
        "local",
        "--set",
        f"teacher.weights={weights}",
        "--set",
        "teacher_training=null",
        "--set",
        "data.num_classes=3",
    )
    assert answer.status == 2
    assert "trained on other classes" in answer.err
    assert "they lack triangle" in answer.err
