"""The words of the project: what the field calls a thing is what code, messages and documentation call it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    [
        *(ROOT / "platform" / "distune").rglob("*.py"),
        *(ROOT / "platform" / "distune").rglob("templates/*"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "experiments").glob("*.yaml"),
        *(ROOT / "search_spaces").glob("*.yaml"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ]
)
WORDS = {
    r"twins?": "identical trials",
    r"setbacks?": "retry",
    r"mishaps?": "injected fault",
    r"obstacles?": "blocking error",
    r"ledgers?": "trial store",
    r"keepers?": "prototype manager",
    r"harvest(s|ed|ing)?": "feature queue",
    r"(?<!hyperparameter )sweeps?": "feature pass; a sweep is a hyperparameter sweep",
    r"handovers?": "reference to a specification",
    r"bench(es)?": "trial builder",
    r"listeners?": "callback",
    r"hears?|heard": "receive",
    r"told": "reported",
    r"looks?|looked|looking|test.looks|other_looks|note_look": "test evaluation; check; seem",
    r"go(es|ing)? on|went on": "continue, resume",
    r"acts|idle": "is active, has an effect; inactive",
    r"varied": "searched",
    r"(?<!until-)(?<!it is )(?<!question is )decided": "chosen, announced",
    r"mend(s|ed|ing)?|torn|graves?": "fix; truncated, partial; trash",
    r"flatter(s|ed|ing)?": "the estimate is optimistic",
    r"range is upside down": "low must be less than high",
    r"(is|are) in order": "valid",
    r"misfits?": "incompatibilities",
    r"surroundings": "context",
    r"judge[sd]?": "compare, match",
    r"ended itself": "aborted",
    r"alarms?": "warning",
    r"(?<!pareto[ _.-])front": "Pareto front",
    r"shares? of the (images|objects|boxes|cells|instances|training)": "fraction",
    r"(make|makes|made)[ -]up": "simulated",
    r"nobody|a person|a wish|wishes": "say it without a person",
    r"by (itself|themselves)|at hand|for good|in vain|so many|comes to|became of|what is left": "say it plainly",
    r"(is|are) to be": "is, must be",
    r"run dry|second chances?": "all configurations have been tried; retry",
    r"(un|re|de)?(normali|standardi|maximi|minimi|summari)s(e|ed|es|er|ing|ation)": "American spelling: -ize",
    r"colours?|centre[ds]?|grey": "American spelling",
}
"""Words that are not used, each as a regular expression, and the words to use instead."""
OPENINGS = r'"""(What|Whether|How|Why|Where|Who|Which|So)\b'
"""Beginnings of docstrings: use a noun or an imperative instead."""
ALLOWED = {
    ("platform/distune/config/renamed.py", "former names of settings"): {
        "harvest",
        "sweep",
        "standardise",
        "normaliser",
    },
    ("platform/distune/study/search/trial_attributes.py", "former user attributes in Optuna"): {"setbacks"},
    ("platform/distune/training/checkpoint.py", "former names of parts of a checkpoint"): {"keeper", "harvest"},
    ("platform/distune/confirmation/arm_folder.py", "former file name"): {"told"},
    ("platform/distune/study/files/confirmation_folder.py", "former file name"): {"test-looks"},
    ("platform/distune/evidence/confirmation_result.py", "former JSON key"): {"other_looks"},
}
"""Words that a file needs to read what earlier versions wrote: file and reason, to the words."""
PATTERNS = {re.compile(rf"\b({word})\b", re.IGNORECASE): instead for word, instead in WORDS.items()}
PATTERNS[re.compile(OPENINGS)] = "a noun phrase or an imperative"


def findings(text: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Return a line for each word that is not used, with its line number and the words to use instead."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()!r}: use {instead!r}"
        for pattern, instead in PATTERNS.items()
        for match in pattern.finditer(text)
        if match.group().lower() not in allowed
    ]


def test_only_the_words_of_the_field_are_used() -> None:
    problems = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        allowed = frozenset(word for (file, _), words in ALLOWED.items() if file == name for word in words)
        problems += [f"{name}, {line}" for line in findings(path.read_text(encoding="utf-8"), allowed)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        "the two twins",
        "Nothing was heard.",
        'def f():\n    """Whether it rains."""',
        "a full sweep",
        "the front",
        "colours",
    ],
)
def test_a_forbidden_word_is_found(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize("text", ["a hyperparameter sweep", "the Pareto front", "pareto_front", "in order", "colors"])
def test_a_similar_word_is_accepted(text: str) -> None:
    assert not findings(text)


def test_every_exception_is_needed() -> None:
    for (name, _), words in ALLOWED.items():
        found = "\n".join(findings((ROOT / name).read_text(encoding="utf-8"))).lower()
        assert all(f"'{word}'" in found for word in words), name
