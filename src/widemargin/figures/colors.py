"""Colors that every figure takes, told apart by color-blind readers too."""

__all__ = ["ACCURACY_MAP", "BADLY", "CLASSES", "LOSS_MAP", "NEITHER", "NETWORK", "WELL", "class_color"]

WELL, BADLY = "#1b9e77", "#d95f02"
"""A network that generalizes, and one that does not."""

CLASSES = ("#4477aa", "#ccbb44", "#aa3377", "#66ccee", "#228833", "#ee6677")
"""Of classes, in order; from the seventh on they come again. Source: Paul Tol's bright scheme."""

NETWORK = "#8580c8"
"""One network among many."""

NEITHER = "#888888"
"""What is no class, and what is beside the point."""

LOSS_MAP, ACCURACY_MAP = "viridis", "cividis"


def class_color(index: int) -> str:
    """Return the color of a class; a negative one is no class."""
    return CLASSES[index % len(CLASSES)] if index >= 0 else NEITHER
