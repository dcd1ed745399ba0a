"""The house rules that a machine can hold: layers, no printing below the command line, no module named platform."""

from __future__ import annotations

import ast
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "platform" / "distune"
LAYERS = (
    {"errors", "records"},
    {"config"},
    {"tracking", "evidence"},
    {"data", "detectors"},
    {"distillation"},
    {"training"},
    {"reports"},
    {"study", "export"},
    {"cli"},
)
FILES = sorted(PACKAGE.rglob("*.py"))
TORCH_FREE = {"errors", "records", "config", "tracking", "reports", "evidence"}


def first_party_imports(path: Path) -> Iterator[str]:
    """The parts of distune that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [
                f"{node.module}.{alias.name}" if node.module == "distune" else str(node.module) for alias in node.names
            ]
        for name in names:
            if name.startswith("distune."):
                yield name.split(".")[1]


def all_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def layer_of(part: str) -> int:
    return next(index for index, parts in enumerate(LAYERS) if part in parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_its_own_part_or_a_lower_layer(path: Path) -> None:
    own = part_of(path)
    if own == "__init__":
        assert not list(first_party_imports(path))
        return
    for part in first_party_imports(path):
        assert part == own or layer_of(part) < layer_of(own), f"{path} imports distune.{part}"


def test_what_is_torch_free_stays_so() -> None:
    offenders = [
        str(path) for path in FILES if part_of(path) in TORCH_FREE and {"torch", "torchvision"} & set(all_imports(path))
    ]
    assert not offenders


def test_mlflow_is_imported_in_one_file_and_training_knows_no_engine() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in FILES if "mlflow" in set(all_imports(path))}
    assert users <= {"tracking/mlflow_sink.py"}
    for path in FILES:
        if part_of(path) in {"data", "detectors", "distillation", "training"}:
            assert not {"ray", "optuna", "mlflow"} & set(all_imports(path)), path


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    for path in FILES:
        if part_of(path) == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "exit", "sys.exit", "os._exit"}, f"{path}:{node.lineno} calls {called}"


def test_platform_is_the_module_of_the_standard_library() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert Path(platform.__file__).is_relative_to(Path(sys.base_prefix))
    assert platform.python_version()
