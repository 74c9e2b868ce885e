"""Plain result records shared by every room."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what is needed to trust it.

    Attributes:
        value: The quantity; its unit is stated by the function that returns it.
        standard_error: One standard error of ``value``; ``None`` when it was computed exactly.
        per_layer: The same quantity by layer, where it has such parts.
        caveats: Sentences on when not to believe ``value``.
    """

    value: float
    standard_error: float | None = None
    per_layer: Mapping[str, float] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
