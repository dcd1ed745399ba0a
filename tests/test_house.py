"""The house rules that a machine can check: layers, no import circles, one meaning per file name, no printing."""

from __future__ import annotations

import ast
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "platform"
PACKAGE = SOURCE / "distune"
LAYERS = (
    {"errors", "records", "version", "metric_catalog", "atomic_write", "bounded_read"},
    {"config"},
    {"tracking", "evidence"},
    {"collectives"},
    {"data", "detectors"},
    {"distillation"},
    {"training"},
    {"explanation"},
    {"reports", "draft", "export"},
    {"study"},
    {"confirmation"},
    {"api"},
    {"cli"},
)
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in FILES}
TORCH_FREE = {
    "errors",
    "records",
    "version",
    "metric_catalog",
    "atomic_write",
    "bounded_read",
    "config",
    "tracking",
    "reports",
    "evidence",
    "explanation",
}
SHARED_NAMES = {
    "__init__": "every folder has one",
    "compare": "cli/compare.py prints what api/compare.py gathers",
    "launch": "cli/launch.py prints what api/launch.py does",
    "explain": "cli/explain.py prints what api/explain.py does",
    "build": "builds the folder's objects from settings",
    "status": "cli/status.py prints what study/status.py reads",
    **dict.fromkeys(
        ("coco", "cvat", "label_studio", "voc", "yolo"),
        "data/formats reads the format that data/recognition recognizes",
    ),
    "layout": "where the objects of a generated image are, digits or shapes",
    "painting": "draws a generated image, digits or shapes",
    "teacher": "cli/teacher.py prints what training/teacher.py prepares",
}
"""File names that may stand in several folders, each with the reason."""


def imported_modules(path: Path) -> Iterator[str]:
    """The modules of distune that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                module = name if name in MODULES else str(node.module)
                if module in MODULES:
                    yield module


def plain_imports(path: Path) -> Iterator[str]:
    """The names after ``import``, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_names(path: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions, and also to take something from them."""
    yield from plain_imports(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def all_imports(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports, also inside functions."""
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
    if own in {"__init__", "__main__"}:  # the first loads on demand what it exports: tests/test_import.py
        return
    imported = [name for name in plain_imports(path) if name == "distune"]
    assert not imported or own == "cli", f"{path} imports the whole package"
    for module in imported_modules(path):
        part = module.split(".")[1]
        assert part == own or layer_of(part) < layer_of(own), f"{path} imports {module}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: set(imported_modules(path)) for module, path in MODULES.items() if module != "distune.__init__"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circular import: {' -> '.join(error.args[1])}")


def test_a_file_name_means_one_thing() -> None:
    paths = defaultdict(list)
    for path in FILES:
        if path.stem not in SHARED_NAMES:
            paths[path.stem].append(str(path.relative_to(PACKAGE)))
    assert not {name: found for name, found in paths.items() if len(found) > 1}


def test_torch_free_parts_do_not_import_torch() -> None:
    offenders = [
        str(path) for path in FILES if part_of(path) in TORCH_FREE and {"torch", "torchvision"} & set(all_imports(path))
    ]
    assert not offenders


def test_mlflow_is_imported_in_four_files_and_training_knows_no_engine() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in FILES if "mlflow" in set(all_imports(path))}
    names = ("logged_student", "mlflow_client", "mlflow_runs", "timeouts")
    assert users == {f"tracking/{name}.py" for name in names}
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


def test_consoles_are_made_in_one_place() -> None:
    """Elsewhere, text of users could be taken for markup."""
    makers = [path for path in FILES if " Console(" in path.read_text(encoding="utf-8")]
    assert makers == [PACKAGE / "reports" / "console.py"]


def test_no_text_is_read_as_markup() -> None:
    """Rich has other ways to read square brackets in text than a console with markup."""
    for path in FILES:
        names = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
        }
        assert not names & {"from_markup", "render_str", "RichHandler"}, path
        assert not {"rich.logging", "rich.markup", "rich.prompt"} & set(imported_names(path)), path


def test_platform_is_the_module_of_the_standard_library() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert Path(platform.__file__).is_relative_to(Path(sys.base_prefix))
    assert platform.python_version()
