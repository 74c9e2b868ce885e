"""Zoos: studies, runs, their store, execution and table."""

from widemargin.zoo.basins import CUTOFFS, basin_table, radii_of
from widemargin.zoo.execution import Progress, train_zoo
from widemargin.zoo.minefield import Minefield, minefield
from widemargin.zoo.run import Resources, carry_out, examples_of, examples_of_run, load_trained, measurements
from widemargin.zoo.store import Run, Zoo
from widemargin.zoo.study import RunConfig, Study
from widemargin.zoo.study_file import load_study, shipped_studies
from widemargin.zoo.table import is_zoo_table, read_table, write_table, zoo_table

__all__ = [
    "CUTOFFS",
    "Minefield",
    "Progress",
    "Resources",
    "Run",
    "RunConfig",
    "Study",
    "Zoo",
    "basin_table",
    "carry_out",
    "examples_of",
    "examples_of_run",
    "is_zoo_table",
    "load_study",
    "load_trained",
    "measurements",
    "minefield",
    "radii_of",
    "read_table",
    "shipped_studies",
    "train_zoo",
    "write_table",
    "zoo_table",
]
