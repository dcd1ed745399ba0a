"""distune: hyperparameter studies of detector distillation on Ray Tune, Optuna and MLflow.

```python
import distune

study = distune.launch("quickstart", name="first", simulate=True)
print(study.trials_dataframe())
print(study.best_params, study.gain)
```

Everything below is loaded on first use, so that ``import distune`` is fast: it loads neither torch, Ray, Optuna nor
MLflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from distune.version import VERSION

if TYPE_CHECKING:
    from distune.api.compare import compare as compare
    from distune.api.draft_experiment import Draft as Draft
    from distune.api.draft_experiment import init as init
    from distune.api.launch import launch as launch
    from distune.api.launch import list_studies as list_studies
    from distune.api.launch import load_study as load_study
    from distune.api.single_run import TrainedStudent as TrainedStudent
    from distune.api.single_run import evaluate as evaluate
    from distune.api.single_run import prepare_teacher as prepare_teacher
    from distune.api.single_run import train as train
    from distune.api.study import Study as Study
    from distune.api.validation import Validation as Validation
    from distune.api.validation import validate as validate
    from distune.config.experiment import Experiment as Experiment
    from distune.config.load import load_experiment as load_experiment
    from distune.config.space import SearchSpace as SearchSpace
    from distune.errors import DistuneError as DistuneError
    from distune.reports.student_comparison import Comparison as Comparison
    from distune.study.callback import Callback as Callback
    from distune.study.callback import StudyCallback as StudyCallback
    from distune.training.prototype_file import StoredPrototypes as StoredPrototypes
    from distune.training.prototype_file import load_prototypes as load_prototypes

__version__ = VERSION

_MODULES = {
    "Callback": "distune.study.callback",
    "Comparison": "distune.reports.student_comparison",
    "Draft": "distune.api.draft_experiment",
    "DistuneError": "distune.errors",
    "Experiment": "distune.config.experiment",
    "SearchSpace": "distune.config.space",
    "StoredPrototypes": "distune.training.prototype_file",
    "Study": "distune.api.study",
    "StudyCallback": "distune.study.callback",
    "TrainedStudent": "distune.api.single_run",
    "Validation": "distune.api.validation",
    "compare": "distune.api.compare",
    "evaluate": "distune.api.single_run",
    "init": "distune.api.draft_experiment",
    "launch": "distune.api.launch",
    "list_studies": "distune.api.launch",
    "load_experiment": "distune.config.load",
    "load_prototypes": "distune.training.prototype_file",
    "load_study": "distune.api.launch",
    "prepare_teacher": "distune.api.single_run",
    "train": "distune.api.single_run",
    "validate": "distune.api.validation",
}
__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
