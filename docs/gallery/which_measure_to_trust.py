"""Which measure can I trust?
==========================

Theory offers many numbers that should tell how well a network generalizes. A zoo of networks whose gap is known
says which of them do, and how surely: here 48 small networks on digits, twelve configurations with four seeds
each.
"""

import matplotlib.pyplot as plt
import pandas as pd
import torch

from widemargin import MEASURES, TrainedModel, evaluate, measure_all
from widemargin.data import load
from widemargin.networks import build
from widemargin.training import train_stack

NAMES = [
    "training_accuracy", "training_loss", "normalized_margin", "constrained_margin", "mixup_accuracy",
    "davies_bouldin", "parameter_norm", "log_spectral_product", "log_path_norm", "stable_rank", "sam_sharpness",
    "fisher_rao_norm",
]  # fmt: skip


@torch.no_grad()
def accuracy(network, inputs, labels):
    """Return the share of right answers."""
    return (network(inputs).argmax(dim=1) == labels).float().mean().item()


# %%
# The grid: three shares of wrong labels, two sizes of training set, two strengths of weight decay. Seeds are
# repeats.

rows = []
for share_wrong in (0.0, 0.15, 0.3):
    for num_train in (150, 300):
        data = load("digits", num_train=num_train, label_corruption=share_wrong)
        train, shape = (data.train_inputs, data.train_labels), data.input_shape
        networks = [build("mlp", num_classes=10, input_shape=shape, seed=i, hidden=(32, 32, 32)) for i in range(8)]
        decays = [0.0, 1.0] * 4
        train_stack(networks, *train, lr=0.01, weight_decay=decays, num_steps=150, seed=range(8))
        for network, decay in zip(networks, decays, strict=True):
            values = measure_all(TrainedModel(network, train), NAMES)["value"]
            gap = accuracy(network, *train) - accuracy(network, data.test_inputs, data.test_labels)
            configuration = {"hp.share_wrong": share_wrong, "hp.num_train": num_train, "hp.weight_decay": decay}
            rows.append({**configuration, **values.add_prefix("m."), "gap": gap})
zoo = pd.DataFrame(rows)
print(f"{len(zoo)} networks, gaps from {zoo['gap'].min():.2f} to {zoo['gap'].max():.2f}")

# %%
# A line is fitted to each measure, and judged on configurations that were left out of the fit. Kendall's τ counts
# in which order pairs of networks are put; the p-value is corrected for the number of measures that were tried.

found = evaluate(zoo, num_test=797, num_resamples=200, num_permutations=999)
leaderboard = pd.DataFrame(
    {
        "measure": score.name.removeprefix("m."),
        "R²": score.grouped_kfold_r2,
        "from": score.grouped_kfold_r2_interval[0],
        "to": score.grouped_kfold_r2_interval[1],
        "τ": score.kendall,
        "expected": MEASURES[score.name.removeprefix("m.")].sign,
        "p": score.holm_p_value,
    }
    for score in found.scores
)
leaderboard.round(3)

# %%
# The intervals say how far to believe the order: they are drawn over configurations, of which there are twelve.

ax = plt.figure(figsize=(7, 4), layout="constrained").subplots()
shown = leaderboard[::-1]
ax.hlines(shown["measure"], shown["from"], shown["to"], color="#4477aa")
ax.plot(shown["R²"], shown["measure"], "o", color="#4477aa")
ax.axvline(0.0, color="black", linewidth=1)
ax.set(xlabel="R² on configurations left out", xlim=(-1.0, 1.0))

ranks = leaderboard.set_index("measure")
surely = ranks.index[ranks["p"] < 0.05]
assert "normalized_margin" in surely
assert "training_accuracy" not in surely
assert ranks.loc["davies_bouldin", "R²"] > 0.7
print(f"{len(surely)} of {len(ranks)} measures order the gaps better than chance: {', '.join(surely)}.")
plt.show()
