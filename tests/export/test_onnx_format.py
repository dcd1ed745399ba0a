"""The ONNX graph gives the detections of the detector for images of any size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from distune.detectors.resizing import SmoothResize
from distune.errors import ExportError, UsageError
from distune.export import onnx_format
from distune.export.exportable import Exportable
from distune.export.graph_resize import GraphResize
from support.exports import CASES, NUM_FAMILIES, Case, exportable, images, name_of

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exportable, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    student = exportable(("ssdlite", {}))
    onnx_format.write(student, folder)
    return student, folder


MAX_DIFFERENT = 4
"""A near tie in non-maximum suppression is decided differently on some processors: it replaces one detection and moves
the last one, and there may be two such ties in hundreds of candidates. Another input changes most detections."""


def num_different(first: dict[str, Tensor], second: dict[str, Tensor]) -> int:
    """Number of detections without one of the same class, box and score in the other; the order may differ."""
    distance = (first["boxes"][:, None] - second["boxes"]).abs().amax(dim=2)
    same = (distance < 0.05) & ((first["scores"][:, None] - second["scores"]).abs() < 1e-3)
    return int((~(same & (first["labels"][:, None] == second["labels"])).any(dim=1)).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name_of(case), marks=pytest.mark.torture if index >= NUM_FAMILIES and index % 3 else ())
        for index, case in enumerate(CASES)
    ],
)
def test_detections_are_those_of_the_detector(case: Case, tmp_path: Path) -> None:
    student = exportable(case)
    onnx_format.write(student, tmp_path)
    run = onnx_format.load(tmp_path)
    for image in [*images(), torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))]:
        with torch.inference_mode():
            expected = student.model([image])[0]
        found = run(image)
        assert found.keys() == expected.keys()
        assert len(expected["boxes"]) == len(found["boxes"])
        assert num_different(expected, found) <= MAX_DIFFERENT


def test_detections_of_one_family(exported: tuple[Exportable, Path]) -> None:
    student, folder = exported
    run = onnx_format.load(folder)
    for image in images():
        with torch.inference_mode():
            expected = student.model([image])[0]
        assert len(expected["boxes"]) > 10
        assert num_different(expected, run(image)) <= MAX_DIFFERENT
        assert num_different(expected, run(image * 0.95)) > 4 * MAX_DIFFERENT


@pytest.mark.slow
@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn"])
def test_no_detection_is_an_empty_answer(family: str, tmp_path: Path) -> None:
    student = exportable((family, {}))
    heads: Any = getattr(student.model, "roi_heads", student.model)
    heads.score_thresh = 1.0
    onnx_format.write(student, tmp_path)
    assert onnx_format.load(tmp_path)(images()[0])["boxes"].shape == (0, 4)


def test_metadata_names_classes_and_preprocessing(exported: tuple[Exportable, Path]) -> None:
    graph = onnx.load(exported[1] / "student.onnx")
    values = {each.key: each.value for each in graph.metadata_props}
    assert json.loads(values["classes"]) == ["__background__", "cat", "dog", "owl"]
    assert values["image_size"] == "128 x 128 px"
    assert json.loads(values["image_mean"]) == [0.5, 0.5, 0.5]
    assert "opset 18" in values["exporter"]
    assert graph.opset_import[0].version == onnx_format.OPSET
    onnx.checker.check_model(graph)


def test_the_program_needs_neither_torch_nor_distune(exported: tuple[Exportable, Path], tmp_path: Path) -> None:
    program = (exported[1] / "run_onnx.py").read_text().replace("score > 0.5", "score > 0.0")
    (tmp_path / "run_onnx.py").write_text(
        "import sys\nsys.modules.update(torch=None, distune=None, torchvision=None)\n" + program
    )
    (tmp_path / "student.onnx").write_bytes((exported[1] / "student.onnx").read_bytes())
    Image.effect_noise((90, 70), 80).save(tmp_path / "noise.png")
    answer = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "run_onnx.py"), str(tmp_path / "noise.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[0] in {"cat", "dog", "owl"}


def test_the_program_refuses_images_of_more_than_8_bits(exported: tuple[Exportable, Path], tmp_path: Path) -> None:
    Image.new("I;16", (90, 70)).save(tmp_path / "deep.png")
    answer = subprocess.run(
        [sys.executable, "-I", str(exported[1] / "run_onnx.py"), str(tmp_path / "deep.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"{tmp_path / 'deep.png'}: has more than 8 bits; scale it to 8 bits")


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (97, 500), (64, 64), (63, 64), (20, 30), (33, 150)])
@pytest.mark.parametrize(("limits", "fixed"), [((64, 96), None), ((64, 64), None), ((64, 96), (80, 80))])
@pytest.mark.parametrize("is_smooth", [True, False])
def test_the_size_is_that_of_the_detectors_transform(
    shape: tuple[int, int], limits: tuple[int, int], fixed: tuple[int, int] | None, is_smooth: bool
) -> None:
    plain = GeneralizedRCNNTransform(*limits, [0.0] * 3, [1.0] * 3, fixed_size=fixed).eval()
    transform = SmoothResize(plain).eval() if is_smooth else plain
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    expected, _ = transform.resize(image)
    found, _ = GraphResize(transform).eval().resize(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnxruntime, .* pip install 'distune\[export\]'"):
        onnx_format.check_packages()


def test_an_operation_without_onnx_is_an_error_that_names_the_other_format(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    student = exportable(("ssdlite", {}))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("aten::strange is not supported\nmore")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(
        ExportError, match="fails for ssdlite on mobilenet_v3_small: aten::strange is not supported; format torchvision"
    ):
        onnx_format.write(student, tmp_path)
