"""The generated program loads a detector without distune, and gives the same detections."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from distune.detectors.zoo import FAMILIES
from distune.export import torchvision_format
from distune.export.family_source import FAMILY_SOURCES
from support.exports import CASES, HAS_TIMM, Case, exportable, images, name_of

WITHOUT_DISTUNE = """
import importlib.abc, importlib.util, json, sys, warnings
from pathlib import Path

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "distune":
            raise ImportError("distune is blocked")

sys.meta_path.insert(0, Blocker())
import torch
try:
    import distune
except ImportError:
    pass
else:
    sys.exit("distune could be imported")
answers = {}
for folder in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location("exported", folder / "load_student.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    content = torch.load(folder / "expected.pt", weights_only=True)
    with torch.inference_mode():
        found = module.load_student()(content["images"])
    answers[folder.name] = [
        {name: float((value - other[name]).abs().max()) if value.shape == other[name].shape else "another shape"
         for name, value in one.items()}
        for one, other in zip(content["expected"], found)
    ]
print(json.dumps(answers))
"""
RUNNABLE = tuple(case for case in CASES if HAS_TIMM or not str(case[1].get("backbone", "")).startswith("timm/"))


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Export all cases, and run all of them in one process that cannot import distune."""
    root = tmp_path_factory.mktemp("exported")
    folders = []
    for number, case in enumerate(RUNNABLE):
        student = exportable(case)
        folder = root / str(number)
        folder.mkdir()
        torchvision_format.write(student, folder)
        with torch.inference_mode():
            expected = student.model(images())
        assert all(len(each["boxes"]) for each in expected), name_of(case)
        torch.save({"images": images(), "expected": expected}, folder / "expected.pt")
        folders.append(str(folder))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_DISTUNE, *folders],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(answer.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", RUNNABLE, ids=name_of)
def test_outputs_are_those_of_the_detector(differences: dict[str, list[dict[str, Any]]], case: Case) -> None:
    of_images = differences[str(RUNNABLE.index(case))]
    assert of_images
    for each in of_images:
        assert {"boxes", "labels", "scores"} <= each.keys()
        assert all(value != "another shape" and value <= 1e-5 for value in each.values()), each


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_program_gives_the_same_detections(family: str, tmp_path: Path) -> None:
    student = exportable((family, {}))
    torchvision_format.write(student, tmp_path)
    run = torchvision_format.load(tmp_path)
    for image in images():
        with torch.inference_mode():
            expected = student.model([image])[0]
        found = run(image)
        assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("case", RUNNABLE, ids=name_of)
def test_the_program_is_short_and_uses_all_that_it_imports(case: Case) -> None:
    source = torchvision_format.student_source(exportable(case))
    assert len(source.splitlines()) < 130
    assert max(map(len, source.splitlines())) <= 120
    tree = ast.parse(source)
    names = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names - used, "imported and not used"


def test_every_family_has_a_source() -> None:
    assert FAMILY_SOURCES.keys() == FAMILIES.keys() == {case[0] for case in CASES}


def test_the_state_dict_holds_tensors_alone_and_source_and_state_are_given_without_files(tmp_path: Path) -> None:
    student = exportable(("retinanet", {}))
    torchvision_format.write(student, tmp_path)
    state = torch.load(tmp_path / "student.pt", weights_only=True)
    assert state.keys() == torchvision_format.student_state(student).keys() == student.model.state_dict().keys()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert (tmp_path / "load_student.py").read_text() == torchvision_format.student_source(student)


def test_class_names_of_any_kind(tmp_path: Path) -> None:
    classes = ('a "quoted" one', "line\nbreak", "chess\\knight")
    student = dataclasses.replace(exportable(("retinanet", {})), classes=classes)
    namespace: dict[str, object] = {"__name__": "student", "__file__": str(tmp_path / "load_student.py")}
    exec(torchvision_format.student_source(student), namespace)
    assert namespace["CLASSES"] == ["__background__", *classes]


def test_the_program_prints_the_detections_of_an_image_file(tmp_path: Path) -> None:
    torchvision_format.write(exportable(("retinanet", {})), tmp_path)
    program = tmp_path / "load_student.py"
    program.write_text(program.read_text().replace("score > 0.5", "score > 0.0"))
    Image.effect_noise((90, 70), 80).save(tmp_path / "noise.png")
    answer = subprocess.run(
        [sys.executable, "-I", str(program), str(tmp_path / "noise.png")], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[0] in {"cat", "dog", "owl"}


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_the_program_refuses_images_of_more_than_8_bits(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision_format.write(exportable(("retinanet", {})), tmp_path)
    Image.new(mode, (90, 70)).save(tmp_path / "deep.tif")
    monkeypatch.setattr(sys, "argv", ["load_student.py", str(tmp_path / "deep.tif")])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(tmp_path / "load_student.py"), run_name="__main__")
    assert str(caught.value.code).startswith(f"{tmp_path / 'deep.tif'}: has more than 8 bits; scale it to 8 bits")


@pytest.mark.parametrize(
    ("family", "shape"),
    [("ssd", (128, 256)), ("retinanet", (128, 256)), ("maskrcnn", (200, 130)), ("maskrcnn", (40, 50))],
)
def test_targets_follow_the_image_in_training(family: str, shape: tuple[int, int], tmp_path: Path) -> None:
    student = exportable((family, {}))
    torchvision_format.write(student, tmp_path)
    namespace: dict[str, Any] = {"__name__": "student", "__file__": str(tmp_path / "load_student.py")}
    exec((tmp_path / "load_student.py").read_text(), namespace)
    model: Any = student.model
    exported, transform = namespace["build_student"]().train().transform, model.train().transform
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, *shape, dtype=torch.uint8)
    masks[0, 10:30, 5:40] = 1
    target = {"boxes": torch.tensor([[5.0, 10.0, 40.0, 30.0]]), "labels": torch.tensor([1])}
    target |= {"masks": masks} if family == "maskrcnn" else {}
    (batch, (expected,)), (other, (found,)) = (each([image], [dict(target)]) for each in (transform, exported))
    assert torch.equal(batch.tensors, other.tensors)
    assert batch.image_sizes == other.image_sizes != [shape]
    assert not torch.equal(expected["boxes"], target["boxes"])
    assert expected.keys() == found.keys() == target.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
