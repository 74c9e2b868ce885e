"""All measures of one network cost less than 40 training epochs, and about half of what they cost one by one.

Takes every measure of a run's network twice: all at once, sharing quantities, and each by itself, starting anew. The
quantities alone, without what each measure adds to them, cost more than twice as much one by one: most of their time
goes into curvature, basins and noise, each of which two or three measures want.

An epoch is one plain pass, forward and backward through all parameters, over the same training data in the same
batches, timed before and after.

    python benchmarks/measures_share_passes.py RUN_FOLDER [--out benchmarks/results/….json]
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from record import record

from widemargin.measures import MEASURES, Quantities, measure_all
from widemargin.trained_model import TrainedModel
from widemargin.zoo import Run, load_trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = Run(options.run)
    trained, history = load_trained(run), run.history
    before = epoch_seconds(trained)
    begun = time.perf_counter()
    frame = measure_all(trained, history=history)
    together = time.perf_counter() - begun
    alone, shared_alone = 0.0, 0.0
    for measure in MEASURES.values():
        quantities = Quantities(trained, history=history)
        begun = time.perf_counter()
        try:
            measure.function(quantities)
        except Exception:  # what does not apply is not counted on either side
            continue
        alone += time.perf_counter() - begun
        shared_alone += sum(quantities.seconds.values())
    epoch = statistics.mean([before, epoch_seconds(trained)])
    shared = sum(frame.attrs["shared_seconds"].values())
    parts = frame.attrs["shared_seconds"] | frame["seconds"].dropna().to_dict()
    result = {
        "claim": __doc__.partition("\n")[0],
        "network": run.config.network.model_dump(mode="json"),
        "num_train": run.result["num_train"],
        "threads": options.threads,
        "measured": int((frame["status"] == "measured").sum()),
        "not_applicable": frame.loc[frame["status"] != "measured", "reason"].to_dict(),
        "epoch_seconds": epoch,
        "together_seconds": together,
        "together_in_epochs": together / epoch,
        "one_by_one_in_epochs": alone / epoch,
        "one_by_one_over_together": alone / together,
        "shared_together_in_epochs": shared / epoch,
        "shared_one_by_one_over_together": shared_alone / shared,
        "largest_parts_in_epochs": {
            name: seconds / epoch
            for name, seconds in sorted(parts.items(), key=lambda item: -item[1])
            if seconds > 0.01 * together
        },
    }
    record(result, options.out)


def epoch_seconds(trained: TrainedModel) -> float:
    """Return the median of three plain passes."""
    parameters = list(trained.network.parameters())
    timings = []
    with trained.borrowed():
        for _ in range(3):
            begun = time.perf_counter()
            for batch, labels in trained.batches("train"):
                torch.autograd.grad(trained.losses(trained.logits(batch), labels).mean(), parameters)
            timings.append(time.perf_counter() - begun)
    return statistics.median(timings)


if __name__ == "__main__":
    main()
