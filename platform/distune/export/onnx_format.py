"""The format ``onnx``: one graph from the image to its detections, and a short program that runs it.

torch's newer exporter (``dynamo=True``) fails for the detectors of all six families in torch 2.15, with fixed and with
dynamic sizes: their suppression depends on the data (pytorch/vision#9306). The older one, which traces, works.
"""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distune.errors import ExportError, UsageError
from distune.export.exportable import Exportable
from distune.export.graph_resize import GraphResize
from distune.export.templates import render
from distune.version import VERSION

GRAPH_FILE, PROGRAM_FILE = "student.onnx", "run_onnx.py"
OPSET = 18
"""The first one whose ``Resize`` has antialiasing."""
EXPORTER = "torch.onnx.export(dynamo=False)"
_EXAMPLE_SIZE = (96, 128)


class _OneImage(nn.Module):
    """A detector of one image (3, H, W) whose outputs are tensors."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self._names = names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.model([image])[0]
        return tuple(found[name] for name in self._names)


def check_packages() -> None:
    """Raise ``UsageError`` when a package that the format needs is not installed."""
    missing = []
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UsageError(
            f"format onnx: needs {' and '.join(missing)}, which is not installed: pip install 'distune[export]'"
        )


def write(student: Exportable, folder: Path) -> dict[str, str]:
    """Write the graph and the program that runs it.

    Args:
        student: the detector.
        folder: exists.

    Returns:
        What to know about the files: name to text.

    Raises:
        UsageError: a package is missing.
        ExportError: the detector cannot be written as a graph.
    """
    check_packages()
    names = ["boxes", "labels", "scores", *(["masks"] if student.settings.learns_masks else [])]
    model: Any = copy.deepcopy(student.model).eval()
    model.transform = GraphResize(model.transform)
    file = folder / GRAPH_FILE
    try:
        _export(_OneImage(model, names), file, names)
    except Exception as error:  # an operation of a backbone can fail anywhere in the exporter
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(
            f"format onnx: {EXPORTER} fails for {student.settings.family} on {student.settings.backbone}: {reason}; "
            "format torchvision exports this detector"
        ) from error
    _add_metadata(file, student)
    (folder / PROGRAM_FILE).write_text(render("run_onnx.py.j2", title=student.title, graph_file=GRAPH_FILE))
    return {
        "needs": "onnxruntime and numpy; pillow for the example",
        "batch": "one image of any size; torchvision's detectors are traced for one",
        "exporter": f"{EXPORTER}, torch {torch.__version__}",
        "opset": str(OPSET),
    }


def load(folder: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """Load the graph in ONNX Runtime, with as many threads as torch has.

    Args:
        folder: with the files.

    Returns:
        A function of an image (3, H, W) in [0, 1].

    Raises:
        ExportError: ONNX Runtime cannot run the graph.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(folder / GRAPH_FILE, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has its own exceptions
        raise ExportError(f"format onnx: ONNX Runtime cannot load the graph: {error}") from error
    names = [each.name for each in session.get_outputs()]

    def run(image: Tensor) -> dict[str, Tensor]:
        try:
            found = session.run(None, {"image": image.numpy()})
        except Exception as error:
            raise ExportError(
                f"format onnx: ONNX Runtime cannot run the graph on an image of {image.shape[2]} x {image.shape[1]} "
                f"px: {error}"
            ) from error
        return {name: torch.from_numpy(each) for name, each in zip(names, found, strict=True)}

    return run


def _export(model: nn.Module, file: Path, names: list[str]) -> None:
    image = torch.rand(3, *_EXAMPLE_SIZE, generator=torch.Generator().manual_seed(0))
    axes = {name: {0: "detections"} for name in names}
    if "masks" in axes:
        axes["masks"] |= {2: "height", 3: "width"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # this exporter is deprecated, and tracing warns of each constant
        torch.onnx.export(
            model,
            (image,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=names,
            dynamic_axes={"image": {1: "height", 2: "width"}, **axes},
        )


def _add_metadata(file: Path, student: Exportable) -> None:
    onnx = importlib.import_module("onnx")
    graph = onnx.load(file)
    graph.producer_name, graph.producer_version = "distune", VERSION
    graph.doc_string = student.title
    transform: Any = student.model.transform
    values = {
        "classes": json.dumps(["__background__", *student.classes]),
        "family": student.settings.family,
        "image_size": student.image_size,
        "input": "one RGB image, float32 (3, height, width) in [0, 1], of any size; resizing and normalization are in "
        "the graph",
        "image_mean": json.dumps(list(transform.image_mean)),
        "image_std": json.dumps(list(transform.image_std)),
        "outputs": "boxes (N, 4) xyxy in pixels of the image, labels (N,) as positions in classes, scores (N,)",
        "exporter": f"{EXPORTER}, torch {torch.__version__}, opset {OPSET}",
    }
    onnx.helper.set_model_props(graph, values)
    onnx.save(graph, file)
