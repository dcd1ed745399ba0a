"""The known terms. To add one: a file beside this one, a line here, and its settings.

The settings are a class in ``config/terms.py`` and a field of the same name in ``config/distillation.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from distune.config.distillation import DistillationSettings
from distune.distillation.term import DistillationTerm, TermContext
from distune.distillation.terms.cwd import build_cwd
from distune.distillation.terms.fgd import build_fgd
from distune.distillation.terms.fgfi import build_fgfi
from distune.distillation.terms.global_knowledge import build_global_knowledge
from distune.distillation.terms.local_knowledge import build_local_knowledge
from distune.distillation.terms.localization import build_localization
from distune.distillation.terms.mgd import build_mgd
from distune.distillation.terms.mimic import build_mimic
from distune.distillation.terms.pkd import build_pkd
from distune.distillation.terms.rkd import build_rkd
from distune.distillation.terms.soft_labels import build_soft_labels

TERMS: dict[str, Callable[[DistillationSettings, TermContext], DistillationTerm]] = {
    "global_knowledge": build_global_knowledge,
    "local_knowledge": build_local_knowledge,
    "soft_labels": build_soft_labels,
    "pkd": build_pkd,
    "fgd": build_fgd,
    "mgd": build_mgd,
    "mimic": build_mimic,
    "fgfi": build_fgfi,
    "rkd": build_rkd,
    "cwd": build_cwd,
    "localization": build_localization,
}
"""Name of the term, its settings and its metric, to the function that builds it."""


def term_weights(settings: DistillationSettings) -> dict[str, float]:
    """Return the weights of the active terms by name."""
    return {name: term.weight for name, term in settings.terms.items() if term.weight > 0}


def build_terms(settings: DistillationSettings, context: TermContext) -> dict[str, DistillationTerm]:
    """Build the active terms by name. Raises ``ConfigError`` when one does not fit the detectors."""
    return {name: TERMS[name](settings, context.for_term(name)) for name in term_weights(settings)}
