"""A state of CMA-ES that could run a program is refused before Optuna loads it."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from distune.config.search import CmaEsSettings
from distune.config.space import FloatRange
from distune.errors import StudyError
from distune.study.search.sampler_state import check_sampler_states
from distune.study.search.trial_proposer import TrialProposer
from distune.study.search.trial_store import TrialStore

pytest.importorskip("cmaes")

SEARCHED = {name: FloatRange(low=0.0, high=1.0) for name in ("training.a", "training.b")}
SETTINGS = CmaEsSettings(kind="cmaes", population_size=5)


class RunsAProgram:
    """A pickle of it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


def open_store() -> TrialStore:
    storage = optuna.storages.InMemoryStorage()
    search, controls = (optuna.create_study(storage=storage, direction="maximize") for _ in range(2))
    return TrialStore(storage, search, controls)


def propose(store: TrialStore, num_trials: int) -> None:
    """Run trials, whose score is the value of one parameter."""
    proposer = TrialProposer(store, searched=SEARCHED, sampler=SETTINGS, on_message=print)
    for index in range(num_trials):
        asked = proposer.ask(len(store.search_study.trials))
        assert asked is not None, index
        store.search_study.tell(asked[0], float(asked[1]["training.a"] or 0.0))


def plant(store: TrialStore, content: bytes) -> None:
    """Put a state into the record of a new trial, where the sampler looks for it."""
    name = optuna.samplers.CmaEsSampler()._attr_key_optimizer
    trial = store.search_study.ask()
    store.search_study._storage.set_trial_system_attr(trial._trial_id, f"{name}:0", content.hex())
    store.search_study.tell(trial, 1.0)


def test_own_states_are_loaded_in_later_sessions() -> None:
    store = open_store()
    propose(store, 16)
    propose(store, 4)
    assert check_sampler_states("mine", store.search_study.trials) >= 2


def test_a_program_in_a_state_is_not_run(tmp_path: Path) -> None:
    store = open_store()
    propose(store, 8)
    plant(store, pickle.dumps(RunsAProgram(tmp_path / "made")))
    with pytest.raises(StudyError, match=r"trial 8 .* could run a program: it names posix.mkdir; set search.sampler"):
        propose(store, 1)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        pickle.dumps({"a": 1})[:-3],
        pickle.dumps(OrderedDict()),
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x05numpy\x94\x8c\x0endarray.tofile\x94\x93\x94.",
        b"cnumpy\nload\n.",
        b"cbuiltins\neval\n.",
    ],
)
def test_other_contents_are_refused(content: bytes) -> None:
    store = open_store()
    propose(store, 4)
    plant(store, content)
    with pytest.raises(StudyError, match="is not loaded"):
        check_sampler_states("mine", store.search_study.trials)


def test_other_samplers_load_no_state() -> None:
    assert check_sampler_states("mine", [optuna.trial.create_trial(value=1.0)]) == 0
