"""A little zoo's table whose gaps are known."""

import numpy as np
import pandas as pd

STATISTICS = ("lower_fence", "q1", "median", "q3", "upper_fence")


def zoo(num_configurations: int = 20) -> pd.DataFrame:
    """Two repeats of each configuration with margins at two layers; gaps follow the logarithms but for noise."""
    rng = np.random.default_rng(0)
    num = 2 * num_configurations
    logs = rng.normal(size=(num, 10))
    table = pd.DataFrame(
        {
            "why_left_out": "",
            "data": "all",
            "configuration": np.repeat([f"c{i}" for i in range(num_configurations)], 2),
            "train_accuracy": np.linspace(0.6, 1.0, num),
            "train_loss": 0.1,
            "num_train": 500,
            "num_classes": 10,
            "gap": 0.2 + logs @ np.linspace(-0.05, 0.05, 10) + 0.01 * rng.normal(size=num),
        },
        index=[f"run{i}" for i in range(num)],
    )
    names = [f"quartiles/{layer}/{statistic}" for layer in ("input", "conv") for statistic in STATISTICS]
    return table.join(pd.DataFrame(np.exp(logs), columns=names, index=table.index))


def features(table: pd.DataFrame) -> pd.DataFrame:
    return table.filter(like="quartiles/").rename(columns=lambda name: name.removeprefix("quartiles/"))
