"""The example files for clusters: their syntax, and the commands of distune in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from distune.cli.main import build_app
from distune.config.base import Settings
from distune.config.search import ResourceSettings, SearchSettings

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "cluster"
FILES = sorted(FOLDER.iterdir())
OF_DISTUNE = re.compile(r"(?:^|[\s/;])distune (?P<verb>[a-z]+)(?P<rest>[^;&'\n]*)")


def commands_of(path: Path) -> str:
    """Return the code of a file: code blocks of a page, and everything but prose in comments elsewhere."""
    text = path.read_text()
    if path.suffix == ".md":
        return "\n".join("".join(found) for found in re.findall(r"```\n(.*?)```|`([^`\n]+)`", text, re.S))
    return "\n".join(line for line in text.splitlines() if not re.match(r"# \S", line))


def distune_commands(text: str) -> list[tuple[str, list[str]]]:
    """Verbs and the long options that they are given."""
    joined = re.sub(r"\\\n|\n[ ]+--", " --", text).replace(" -- ", " ")
    return [(found["verb"], re.findall(r"--[a-z-]+", found["rest"])) for found in OF_DISTUNE.finditer(joined)]


def test_the_cluster_page_links_every_file() -> None:
    linked = set(re.findall(r"\(cluster/([\w.-]+)\)", (DOCS / "cluster.md").read_text()))
    assert linked == {path.name for path in FILES}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    assert isinstance(values, dict)
    assert values


def test_the_script_for_slurm_is_a_script() -> None:
    path = FOLDER / "slurm.sbatch"
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_text().startswith("#!/bin/bash\n")
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", path.read_text(), re.M)


@pytest.mark.parametrize("path", [DOCS / "cluster.md", *FILES], ids=lambda path: path.name)
def test_the_commands_exist(path: Path) -> None:
    verbs: dict[str, Any] = get_command(build_app()).commands  # type: ignore[attr-defined]
    found = distune_commands(commands_of(path))
    assert found
    for verb, options in found:
        assert verb in verbs, verb
        known = {name for parameter in verbs[verb].params for name in parameter.opts}
        assert set(options) <= known, (verb, options)


@pytest.mark.parametrize("path", [DOCS / "cluster.md", *FILES], ids=lambda path: path.name)
def test_the_settings_exist(path: Path) -> None:
    sections: dict[str, type[Settings]] = {"search": SearchSettings, "resources": ResourceSettings}
    for section, setting in re.findall(r"--set ([a-z_]+)\.([a-z_]+)=", path.read_text()):
        assert setting in sections[section].model_fields, f"{section}.{setting}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_study_is_launched_for_network_disks(path: Path) -> None:
    launches = re.findall(r"distune launch [^;&'\n]*(?:\n +--[^;&'\n]*)*", commands_of(path))
    assert launches
    assert all("--address auto" in each and "--set search.storage=journal" in each for each in launches), launches


def test_whoever_starts_or_joins_ray_has_the_token() -> None:
    """KubeRay sets it in every container. The driver of the others is a command like those that start Ray."""
    assert (
        yaml.safe_load((FOLDER / "kuberay.yaml").read_text())["spec"]["rayClusterSpec"]["authOptions"]["mode"]
        == "token"
    )
    token = r"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=\S+"
    text = (FOLDER / "ray-up.yaml").read_text()
    assert len(re.findall(rf"{token}\s+\S*/ray start", text)) == len(re.findall(r"/ray start", text)) == 2
    assert re.search(rf"export [^&]*{token} &&[^&]*distune launch", text)
    assert re.search(
        rf"^export {token}$.*^ray start.*distune launch", (FOLDER / "slurm.sbatch").read_text(), re.M | re.S
    )


def test_the_head_of_kuberay_starts_what_ray_is_installed() -> None:
    import importlib.metadata

    values = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    own = importlib.metadata.version("ray")
    assert values["spec"]["rayClusterSpec"]["rayVersion"] == own
