"""How often do training accuracy and margins alone order two networks by their test accuracy?

Takes tables of zoos (widemargin zoo table), say nin-cifar10-small.csv and nin-cifar10-poison.csv in docs/results and
that of digits-demo. Pairs are of networks that learned, trained on the same data, of different test accuracy. A
candidate score is the training accuracy plus a weight times the logarithm of a statistic of the normalized margins,
at one layer or on the mean over layers; margins without the accuracy, unnormalized margins and spectrally normalized
margins stand beside them. The score that has the greatest mean share of right pairs over the zoos is chosen; how well
that works on a zoo of its own kind is told by choosing, and calibrating, on the others alone.
"""

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from record import record
from scipy.optimize import minimize
from scipy.special import expit

from widemargin.prediction import has_learned
from widemargin.prediction.margin_score import ACCURACY_PER_LOG_MARGIN
from widemargin.zoo import read_table

CHOSEN = f"q3 at the first layer, weight {ACCURACY_PER_LOG_MARGIN:g}"
RESCALABLE = ["unnormalized median at hidden layers, alone"]
"""Not blind to a rescaling of layers that leaves the function as it is: shown, not chosen."""
WEIGHTS = (0.1, 0.2, 0.3)
CLOSE = 0.02
"""Difference of training accuracies below which they count as equal."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    zoos = {path.stem: usable(path) for path in options.tables}
    candidates = {name: scores(table) for name, table in zoos.items()}
    pairs = {name: pairs_of(table) for name, table in zoos.items()}
    shares = pd.DataFrame(
        {zoo: {name: share_right(pairs[zoo], score) for name, score in candidates[zoo].items()} for zoo in zoos}
    )
    close = pd.DataFrame(
        {
            zoo: {name: share_right(pairs[zoo], score, only_close=True) for name, score in candidates[zoo].items()}
            for zoo in zoos
        }
    )
    invariant = shares.drop(index=RESCALABLE)
    left_out, unknown = {}, []
    for zoo in zoos:
        best = str(invariant.drop(columns=zoo).mean(axis=1).idxmax())
        left_out[zoo] = {"chosen_on_the_others": best, "share_right": shares.loc[best, zoo]}
        unknown.append(differences(pairs[zoo], candidates[zoo][best]))
    most, scale = curve(unknown)
    for zoo, found in zip(zoos, unknown, strict=True):
        left_out[zoo] |= calibration(found, most, scale)
    record(
        {
            "zoos": {
                name: {
                    "num_networks": len(table),
                    "num_pairs": len(pairs[name]),
                    "num_pairs_of_equal_train_accuracy": int(pairs[name]["is_close"].sum()),
                }
                for name, table in zoos.items()
            },
            "best": str(invariant.mean(axis=1).idxmax()),
            "in_use": CHOSEN,
            "most_beyond_even": most,
            "scale": scale,
            "in_use_by_zoo": {
                zoo: {
                    "share_right": shares.loc[CHOSEN, zoo],
                    "share_right_of_equal_train_accuracy": close.loc[CHOSEN, zoo],
                }
                | calibration(differences(pairs[zoo], candidates[zoo][CHOSEN]), most, scale)
                for zoo in zoos
            },
            "zoo_left_out": left_out,
            "share_right": {name: row.round(3).to_dict() for name, row in shares.iterrows()},
            "share_right_of_equal_train_accuracy": {name: row.round(3).to_dict() for name, row in close.iterrows()},
        },
        options.out,
    )


def usable(path: Path) -> pd.DataFrame:
    table = read_table(path)
    table = table[table["why_left_out"] == ""]
    return table[has_learned(table)]


def scores(table: pd.DataFrame) -> Mapping[str, np.ndarray]:
    """Return every candidate by name."""
    found = {"training accuracy": accuracy(table), "minus training loss": -table["train_loss"].to_numpy(float)}
    for statistic in ("q1", "median", "q3"):
        logs = np.log(columns(table, "quartiles/", statistic))
        places = {
            "at all layers": logs.mean(axis=1),
            "at hidden layers": logs[:, 1:].mean(axis=1),
            "at the first layer": logs[:, 0],
            "at the last layer": logs[:, -1],
        }
        for place, margins in places.items():
            found[f"{statistic} {place}, alone"] = margins
        for (place, margins), weight in product(places.items(), WEIGHTS):
            found[f"{statistic} {place}, weight {weight:g}"] = accuracy(table) + weight * margins
    found["unnormalized median at hidden layers, alone"] = np.log(
        columns(table, "unnormalized_quartiles/", "median")[:, 1:]
    ).mean(axis=1)
    found["median spectrally normalized margin, alone"] = np.log(columns(table, "spectral_margin/", "median")[:, 0])
    return found


def accuracy(table: pd.DataFrame) -> np.ndarray:
    return table["train_accuracy"].to_numpy(float)


def columns(table: pd.DataFrame, prefix: str, statistic: str) -> np.ndarray:
    names = [name for name in table.columns if name.startswith(prefix) and name.endswith(f"/{statistic}")]
    return table[names].to_numpy(float)


def pairs_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return pairs on the same data, the network of greater test accuracy first."""
    first, second = np.triu_indices(len(table), 1)
    data = pd.factorize(table["data"])[0]
    test, train = table["test_accuracy"].to_numpy(float), accuracy(table)
    kept = (data[first] == data[second]) & (test[first] != test[second])
    first, second = first[kept], second[kept]
    better = np.where(test[first] > test[second], first, second)
    return pd.DataFrame(
        {"better": better, "worse": first + second - better, "is_close": np.abs(train[first] - train[second]) < CLOSE}
    )


def differences(pairs: pd.DataFrame, score: np.ndarray) -> np.ndarray:
    """Return the better network's score less the worse one's: positive where the order is right."""
    return score[pairs["better"]] - score[pairs["worse"]]


def share_right(pairs: pd.DataFrame, score: np.ndarray, *, only_close: bool = False) -> float:
    found = differences(pairs[pairs["is_close"]] if only_close else pairs, score)
    return float((found > 0).mean() + (found == 0).mean() / 2)


def chance(differences: np.ndarray, most: float, scale: float) -> np.ndarray:
    return 0.5 + most * np.tanh(differences / (2 * scale))


def curve(known: list[np.ndarray]) -> tuple[float, float]:
    """Return the parameters of the curve that makes what was seen most likely, each zoo with equal weight."""

    def surprise(parameters: np.ndarray) -> float:
        most, scale = 0.5 * expit(parameters[0]), np.exp(parameters[1])
        return sum(-float(np.log(chance(found, most, scale)).mean()) for found in known)

    found = minimize(surprise, [-1.0, -2.0], method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6}).x
    return float(0.5 * expit(found[0])), float(np.exp(found[1]))


def calibration(differences: np.ndarray, most: float, scale: float) -> dict[str, object]:
    """Return how often pairs are right by how far the scores differ; the surprise, where a coin has .693."""
    bins = {}
    for low, high in ((0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, np.inf)):
        inside = (low <= np.abs(differences)) & (np.abs(differences) < high)
        if inside.any():
            bins[f"{low:g} to {high:g}"] = {
                "num_pairs": int(inside.sum()),
                "said": float(chance(np.abs(differences[inside]), most, scale).mean()),
                "right": float((differences[inside] > 0).mean()),
            }
    surprise = -float(np.log(chance(differences, most, scale)).mean())
    return {"surprise": surprise, "by_difference_of_scores": bins}


if __name__ == "__main__":
    main()
