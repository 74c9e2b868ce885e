"""Zoos: studies, runs, their store, execution and table."""

from widemargin.zoo.execution import Progress, train_zoo
from widemargin.zoo.run import carry_out, load_trained, measurements
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig, Study
from widemargin.zoo.study_file import load_study, shipped_studies
from widemargin.zoo.table import zoo_table

__all__ = [
    "Progress",
    "Run",
    "RunConfig",
    "Study",
    "Zoo",
    "carry_out",
    "load_study",
    "load_trained",
    "measurements",
    "shipped_studies",
    "train_zoo",
    "zoo_table",
]
