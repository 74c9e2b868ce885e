"""Zoos: studies, runs, their store, execution and table."""

from widemargin.zoo.basins import CUTOFFS, basin_table, radii_of
from widemargin.zoo.estimate import estimated_seconds
from widemargin.zoo.evaluation import catalog_columns, evaluate_zoo, regressions_on
from widemargin.zoo.execution import Progress, train_zoo
from widemargin.zoo.failures import Failure
from widemargin.zoo.measured import measure_zoo, measured_values
from widemargin.zoo.minefield import Minefield, minefield
from widemargin.zoo.resources import Resources, examples_of, examples_of_run, sources_of
from widemargin.zoo.run import carry_out, load_trained, measurements
from widemargin.zoo.status import ZooStatus, zoo_status
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig, Study
from widemargin.zoo.study_file import load_study, shipped_studies
from widemargin.zoo.table import RESULT_COLUMNS, hyperparameters, is_zoo_table, read_table, write_table, zoo_table
from widemargin.zoo.verification import Damage, damages, remove_damaged

__all__ = [
    "CUTOFFS",
    "RESULT_COLUMNS",
    "Damage",
    "Failure",
    "Minefield",
    "Progress",
    "Resources",
    "Run",
    "RunConfig",
    "Study",
    "Zoo",
    "ZooStatus",
    "basin_table",
    "carry_out",
    "catalog_columns",
    "damages",
    "estimated_seconds",
    "evaluate_zoo",
    "examples_of",
    "examples_of_run",
    "hyperparameters",
    "is_zoo_table",
    "load_study",
    "load_trained",
    "measure_zoo",
    "measured_values",
    "measurements",
    "minefield",
    "radii_of",
    "read_table",
    "regressions_on",
    "remove_damaged",
    "shipped_studies",
    "sources_of",
    "train_zoo",
    "write_table",
    "zoo_status",
    "zoo_table",
]
