"""Detectors can be pickled, and scripted as torchvision's own can."""

from __future__ import annotations

import importlib.util
import io
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from support.families import SETTINGS, build, with_random_heads

PYRAMIDS = ("resnet10", "resnet18", "mobilenet_v3_small", "regnet_y_400mf")
HAS_TIMM = importlib.util.find_spec("timm") is not None
CASES: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in SETTINGS),
    *(("retinanet", {"backbone": name}) for name in PYRAMIDS[1:]),
    ("retinanet", {"head": "v1", "norm": "group"}),
    ("fasterrcnn", {"head": "v2", "norm": "frozen"}),
    ("fasterrcnn", {"backbone": "mobilenet_v3_small", "levels": "last"}),
    ("ssdlite", {"backbone": "mobilenet_v3_large", "reduce_tail": False}),
]
TIMM_CASES: list[tuple[str, dict[str, Any]]] = [
    ("retinanet", {"backbone": "timm/mobilenetv3_small_050"}),
    ("fasterrcnn", {"backbone": "timm/convnext_atto", "norm": "own"}),
    ("fcos", {"backbone": "timm/resnet10t"}),
]
NOT_SCRIPTED_BY_TIMM = "timm/resnet10t"


def name_of(value: object) -> str:
    return str(value) if isinstance(value, str) else "-".join(str(each) for each in dict(value).values())  # type: ignore[call-overload]


def images() -> list[Tensor]:
    """One image is shrunk and one is enlarged."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 100, 130, generator=generator), torch.rand(3, 40, 50, generator=generator)]


def trained(family: str, changes: dict[str, Any]) -> Any:
    if changes.get("backbone", "").startswith("timm/") and not HAS_TIMM:
        pytest.skip("timm is not installed")
    model: Any = with_random_heads(build(family, **changes)).model
    for heads in (model, getattr(model, "roi_heads", model)):
        heads.score_thresh = 0.0
    return model


def assert_equal_outputs(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]], *, atol: float) -> None:
    assert sum(len(each["boxes"]) for each in first) > 10
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=atol)


@pytest.mark.parametrize(("family", "changes"), [*CASES, *TIMM_CASES], ids=name_of)
def test_a_detector_is_the_same_after_pickling(family: str, changes: dict[str, Any]) -> None:
    model = trained(family, changes)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for copy in (pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        assert copy.state_dict().keys() == model.state_dict().keys()
        with torch.no_grad():
            assert_equal_outputs(model(images()), copy(images()), atol=0)


@pytest.mark.parametrize(("family", "changes"), [*CASES, *TIMM_CASES], ids=name_of)
def test_a_detector_can_be_scripted(family: str, changes: dict[str, Any]) -> None:
    model = trained(family, changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, and a scripted detector says what it returns
        if changes.get("backbone") == NOT_SCRIPTED_BY_TIMM:  # its forward_intermediates slices a tuple
            with pytest.raises(RuntimeError, match="timm"):
                torch.jit.script(model)
            return
        scripted: Any = torch.jit.script(model)
        with torch.no_grad():
            _, found = scripted(images())
            assert_equal_outputs(model(images()), found, atol=1e-4)


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_a_copy_has_boxes_in_float32_as_well(family: str) -> None:
    model = pickle.loads(pickle.dumps(trained(family, {})))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(images()[:1])[0]
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
