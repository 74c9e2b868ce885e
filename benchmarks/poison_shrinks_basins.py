"""Are the basins of bad minima smaller than those of good ones, and by how many orders of magnitude?

For every network of a zoo with poison on its grid: accuracies, mean basin radius and log10 volume at each cutoff of
the mean loss on a sample of the training data, along a few filter-normalized directions, both ways. Networks whose
own loss on the sample leaves no room below a cutoff have no basin there.

    python benchmarks/poison_shrinks_basins.py ZOO [--directions 6] [--examples 300] [--out benchmarks/results/….json]
"""

import argparse
from pathlib import Path

import pandas as pd
from record import record

from widemargin.landscape import basin_radii, basin_volumes
from widemargin.measures import Quantities
from widemargin.measures.basin_search import CLEARANCE
from widemargin.zoo import CUTOFFS, Run, Zoo, load_trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--directions", type=int, default=6)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = Zoo(options.zoo).runs()
    rows = pd.DataFrame([row for run in runs for row in basins(run, options.directions, options.examples)])
    networks = pd.DataFrame([{"poison_factor": run.config.training.poison.factor, **accuracies(run)} for run in runs])
    by_cutoff = {}
    for cutoff, alike in rows.groupby("cutoff"):
        means = alike.groupby("poison_factor")[["mean_radius", "log10_volume"]].mean()
        by_cutoff[str(cutoff)] = {
            "num_networks": len(alike),
            "by_poison_factor": means.to_dict(orient="index"),
            "orders_of_magnitude_between_the_ends": float(
                means["log10_volume"].iloc[0] - means["log10_volume"].iloc[-1]
            ),
        }
    result = {
        "claim": __doc__.partition("\n")[0],
        "zoo": options.zoo.name,
        "num_networks": len(runs),
        "directions": options.directions,
        "examples": options.examples,
        "free_parameters": int(rows["num_free"].iloc[0]),
        "accuracies": networks.groupby("poison_factor").mean().to_dict(orient="index"),
        "cutoffs": by_cutoff,
    }
    record(result, options.out)


def basins(run: Run, num_directions: int, num_examples: int) -> list[dict[str, float]]:
    """Return a row a cutoff that the network's loss leaves room below."""
    quantities = Quantities(load_trained(run), num_sampled=num_examples)
    possible = tuple(cutoff for cutoff in CUTOFFS if quantities.slope.loss <= CLEARANCE * cutoff)
    if not possible:
        return []
    radii = basin_radii(quantities.sample, cutoffs=possible, num_directions=num_directions, seed=0)
    return [
        {
            "poison_factor": run.config.training.poison.factor,
            "cutoff": volume.cutoff,
            "mean_radius": radii.mean(volume.cutoff).value,
            "log10_volume": volume.log10_volume,
            "num_free": volume.num_free,
        }
        for volume in basin_volumes(radii)
    ]


def accuracies(run: Run) -> dict[str, float]:
    return {name: run.result[name] for name in ("train_accuracy", "test_accuracy", "train_loss")}


if __name__ == "__main__":
    main()
