"""Networks that were never trained, with measures whose scores are known, for tests of comparisons."""

import numpy as np
import pandas as pd

from report.pages import HOSTILE
from widemargin.measures import MEASURES
from widemargin.prediction import evaluate
from widemargin.report import Comparison, comparison_of

CARDS = {f"m.{name}": MEASURES[name] for name in ("parameter_norm", "input_margin")}


def networks_of(num: int = 48) -> pd.DataFrame:
    """Return networks whose gap is the norm of their parameters, but for a little noise; margins go astray."""
    rng = np.random.default_rng(0)
    width, depth = np.arange(num) // 2 % 4, np.arange(num) // 8
    gap = 0.1 + 0.02 * width + 0.01 * depth + 0.004 * rng.normal(size=num)
    table = pd.DataFrame(
        {
            "gap": gap,
            "train_accuracy": 0.9 + 0.05 * rng.random(num),
            "train_loss": rng.random(num),
            "hp.width": width,
            f"hp.{HOSTILE}": depth,
            "hp.seed": np.arange(num) % 2,
            "m.parameter_norm": 10 * gap + 0.02 * rng.normal(size=num),
            "m.input_margin": gap + 0.03 * rng.normal(size=num),
            f"m.{HOSTILE}": np.exp(9 * rng.random(num)),
            "m.twice": 20 * gap,
        },
        index=[f"net{number}" for number in range(num)],
    )
    table.loc["net5", "m.twice"] = np.inf
    return table


def comparison(**options: object) -> Comparison:
    table = networks_of()
    signs = {column: card.sign for column, card in CARDS.items()}
    given = ["train_accuracy", "train_loss"]
    found = evaluate(table, signs=signs, given=given, num_resamples=200, num_permutations=999)
    return comparison_of(table, {"all": found}, name=f"norms {HOSTILE}", cards=CARDS, **options)
