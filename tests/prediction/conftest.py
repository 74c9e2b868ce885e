"""Tables that scores are tested on."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def incomplete() -> pd.DataFrame:
    """Networks of 13 of 18 configurations, one to three repeats each, with ties and infinities, in no order."""
    rng = np.random.default_rng(3)
    rows = [
        {"hp.lr": lr, "hp.depth": depth, "hp.norm": norm, "hp.same": 1, "hp.seed": seed}
        for lr in (0.1, 0.2, 0.4)
        for depth in (2, 3, 5)
        for norm in (None, "batch")
        for seed in range(rng.integers(0, 4))
    ]
    table = pd.DataFrame(rows)
    signal = 3 * table["hp.lr"] + 0.2 * table["hp.depth"] + 0.3 * rng.normal(size=len(rows))
    table["gap"] = (0.1 * signal + 0.05 * rng.normal(size=len(rows))).round(2)
    table["m.norm"] = (2 * signal + rng.normal(size=len(rows))).round()
    table.loc[[2, 7], "m.norm"], table.loc[9, "m.norm"] = np.inf, -np.inf
    return table.sample(frac=1, random_state=0)
