"""Are the basins of bad minima smaller than those of good ones, and by how many orders of magnitude?

For every network of a zoo with poison on its grid: accuracies, mean basin radius and log10 volume at each cutoff of
the mean training loss, along a few filter-normalized directions, both ways. Radii and volumes of networks whose own
loss leaves no room below a cutoff do not exist there.

    python benchmarks/poison_shrinks_basins.py ZOO [--directions 6] [--out benchmarks/results/….json]
"""

import argparse
from pathlib import Path

from record import record

from widemargin.zoo import Zoo, basin_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--directions", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = basin_table(Zoo(options.zoo), num_directions=options.directions, jobs=options.jobs)
    known = table[table["why_left_out"] == ""]
    networks = table.drop_duplicates("run").groupby("poison_factor")[
        ["train_accuracy", "test_accuracy", "train_loss"]
    ]
    by_cutoff = {}
    for cutoff, rows in known.groupby("cutoff"):
        volumes = rows.groupby("poison_factor")["log10_volume"].mean()
        by_cutoff[str(cutoff)] = {
            "mean_radius": rows.groupby("poison_factor")["mean_radius"].mean().to_dict(),
            "log10_volume": volumes.to_dict(),
            "orders_of_magnitude_between_the_ends": float(volumes.iloc[0] - volumes.iloc[-1]),
            "ends": [float(volumes.index[0]), float(volumes.index[-1])],
        }
    result = {
        "claim": __doc__.partition("\n")[0],
        "zoo": options.zoo.name,
        "directions": options.directions,
        "free_parameters": sorted(known["num_free"].unique().tolist()),
        "by_poison_factor": networks.mean().to_dict(orient="index"),
        "num_networks": int(table["run"].nunique()),
        "cutoffs": by_cutoff,
    }
    record(result, options.out)


if __name__ == "__main__":
    main()
