"""Every exception that widemargin raises on purpose.

WidemarginError
├── InvalidInputError (ValueError)      what was handed over cannot be used as it is
│   ├── InvalidLabelsError              labels out of range, or not integers
│   ├── InvalidLogitsError              wrong shape, one class, NaN or infinite
│   ├── EmptyDataError                  no example came out of the data
│   └── LayerNotFoundError              no such layer, or none that a margin can be taken at
├── TooFewExamplesError (ValueError)    fewer correct examples than the statistic needs
├── MeasureNotApplicableError           the measure does not exist for this network
├── StudyError (ValueError)             a study file that cannot be run, with the line at fault
├── RunError                            a run's folder that is missing, unfinished or damaged
├── TrackingError                       a tracker that fails or is out of reach; the runs are as they were
└── ZooBusyError                        another process is training into the same folder
"""

__all__ = [
    "EmptyDataError",
    "InvalidInputError",
    "InvalidLabelsError",
    "InvalidLogitsError",
    "LayerNotFoundError",
    "MeasureNotApplicableError",
    "RunError",
    "StudyError",
    "TooFewExamplesError",
    "TrackingError",
    "WidemarginError",
    "ZooBusyError",
]


class WidemarginError(Exception):
    """Root of the tree: catch this to catch everything raised here on purpose."""


class InvalidInputError(WidemarginError, ValueError):
    """What was handed over cannot be used as it is."""


class InvalidLabelsError(InvalidInputError):
    """Labels are out of range or not integer class indices."""


class InvalidLogitsError(InvalidInputError):
    """The network's output is not a finite table of one score per example and class."""


class EmptyDataError(InvalidInputError):
    """No example came out of the data."""


class LayerNotFoundError(InvalidInputError):
    """No layer matches, or none of the matches has a margin."""


class TooFewExamplesError(WidemarginError, ValueError):
    """Fewer usable examples than the statistic needs."""


class MeasureNotApplicableError(WidemarginError):
    """The measure does not exist for this network; the message says why."""


class StudyError(WidemarginError, ValueError):
    """A study that cannot be run; the message names the file and the line."""


class RunError(WidemarginError):
    """A run's folder is missing, unfinished or damaged."""


class TrackingError(WidemarginError):
    """A tracker fails or is out of reach; the runs are as they were."""


class ZooBusyError(WidemarginError):
    """Another process is training into the same folder."""
