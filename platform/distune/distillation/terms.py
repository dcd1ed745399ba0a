"""The known terms. To add one: a file beside this one, a line here, and its settings under the same name."""

from __future__ import annotations

from collections.abc import Callable

from distune.config.distillation import DistillationSettings
from distune.distillation.global_knowledge import build_global_knowledge
from distune.distillation.local_knowledge import build_local_knowledge
from distune.distillation.soft_labels import build_soft_labels
from distune.distillation.term import DistillationTerm, TermContext

TERMS: dict[str, Callable[[DistillationSettings, TermContext], DistillationTerm]] = {
    "global_knowledge": build_global_knowledge,
    "local_knowledge": build_local_knowledge,
    "soft_labels": build_soft_labels,
}
"""Name of the term, its settings and its metric, to what builds it."""


def term_weights(settings: DistillationSettings) -> dict[str, float]:
    """The weights of the terms that take part, by name."""
    weights = {name: float(getattr(settings, name).weight) for name in TERMS}
    return {name: weight for name, weight in weights.items() if weight > 0}


def build_terms(settings: DistillationSettings, context: TermContext) -> dict[str, DistillationTerm]:
    """The terms that take part, by name. Raises ``ConfigError`` when one does not fit the detectors."""
    return {name: TERMS[name](settings, context) for name in term_weights(settings)}
