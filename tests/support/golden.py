"""Golden values: numbers that must not change without a stated reason.

``pytest --update-golden "reason" tests/detectors/test_golden_losses.py`` writes new values and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import pytest

FOLDER = Path(__file__).parents[1] / "golden"
OPTION = "--update-golden"
_DIGITS = 7


class _Golden(TypedDict):
    reason: str
    values: dict[str, float]


def check_golden(
    name: str, values: Mapping[str, float], config: pytest.Config, *, rtol: float = 1e-5, atol: float = 1e-9
) -> None:
    """Compare values with ``tests/golden/<name>.json``, or write that file under ``--update-golden "reason"``.

    Args:
        name: of the file; a slash makes a folder.
        values: by name, finite.
        config: of pytest, the fixture ``pytestconfig``.
        rtol: relative tolerance; SSD differed by 4e-6 between the vector instructions of one CPU.
        atol: absolute tolerance, for values near zero.
    """
    path = FOLDER / f"{name}.json"
    rounded = {key: float(f"{float(value):.{_DIGITS}g}") for key, value in sorted(values.items())}
    reason = config.getoption(OPTION)
    if reason is not None:
        assert reason.strip(), f"{OPTION} needs a reason"
        golden: _Golden = {"reason": reason, "values": rounded}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")
        return
    if not path.is_file():
        pytest.fail(f'{path} is missing; run pytest {OPTION} "reason" to write it')
    expected = json.loads(path.read_text(encoding="utf-8"))["values"]
    assert dict(values) == pytest.approx(expected, rel=rtol, abs=atol), f"{path.name} differs from the golden values"
