"""The documentation: links, file paths and the generated settings reference."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "platform" / "distune"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
WITH_PATHS = [
    ROOT / "CONTRIBUTING.md",
    DOCS / "architecture.md",
    DOCS / "method.md",
    *(DOCS / "decisions").glob("*.md"),
]
CODE = sorted(
    path
    for folder in ("platform", "tests", "experiments", "search_spaces", "benchmarks")
    for suffix in ("*.py", "*.yaml")
    for path in (ROOT / folder).rglob(suffix)
)
BASES = (ROOT, PACKAGE, PACKAGE / "distillation")
"""Folders from which the paths on a page may start."""
PLACEHOLDERS = re.compile(
    r"\.\.\.|NAME|\d+|[():;,]|loss/task was nan|last.pt is damaged|session.json|retrying|distune "
)
"""Separators of the fixed parts of a message, such as numbers."""
LINK = re.compile(r"\]\((?P<inline>[^)\s]+)\)|^\[[^\]]+\]: (?P<reference>\S+)$", re.MULTILINE)
FILE_PATH = re.compile(r"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:py|md|yaml|toml))?)`")


def settings_reference() -> ModuleType:
    """Load docs/make_settings_reference.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("make_settings_reference", DOCS / "make_settings_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_from_outside(target: str) -> bool:
    return target.startswith(("http://", "https://", "mailto:", "#"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [found["inline"] or found["reference"] for found in LINK.finditer(text)]
    broken = [
        target
        for target in targets
        if not is_from_outside(target) and not (page.parent / target.split("#")[0]).exists()
    ]
    assert not broken


@pytest.mark.parametrize("page", WITH_PATHS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_path_on_a_page_exists(page: Path) -> None:
    named = FILE_PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not any((base / path).exists() for base in BASES)] == []


def test_every_page_named_in_code_exists() -> None:
    named = {name for path in CODE for name in re.findall(r"\bdocs/[\w/.-]+\.md\b", path.read_text(encoding="utf-8"))}
    assert named, "the code names pages"
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_message_in_the_fault_table_is_one_of_distune() -> None:
    page = (DOCS / "fault_tolerance.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| ") and row.count(" | ") == 3]
    cells = [cells[2] for cells in rows]
    assert len(cells) > 10
    messages = [message for cell in cells for message in re.findall(r"`([^`]+ [^`]+)`", cell)]
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    parts = [part.strip(" ,") for message in messages for part in PLACEHOLDERS.split(message)]
    assert [part for part in parts if part.count(" ") >= 2 and part not in source] == []


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "decisions" / "README.md").read_text(encoding="utf-8"))
    pages = {page.name for page in (DOCS / "decisions").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)


def test_the_settings_reference_is_up_to_date() -> None:
    module = settings_reference()
    page = Path(module.TARGET)
    assert page.read_text(encoding="utf-8") == module.render(), "run: python docs/make_settings_reference.py"


@pytest.mark.parametrize(
    "row",
    [
        "| `teacher_training.epochs` | `int`, >= 1 | `12` |",
        "| `search.sampler` | section with `kind` | `kind: tpe` |",
        "| `distillation.prototypes.source.max_images` | `int`, >= 1 | `800` |",
        "| `teacher.backbone` | `str` | required |",
    ],
)
def test_the_settings_reference_has_types_bounds_and_defaults(row: str) -> None:
    assert row in settings_reference().render()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
