"""How sharp is the minimum of a network that reads tokens?
========================================================

A recurrent network reads handwritten digits row by row, as tokens: each grey value from 0 to 16 is a token with an
embedding. Two copies are trained, one of them on labels of which a fifth are wrong. Both fit; in which of the two
would rounding the weights hurt?
"""

import matplotlib.pyplot as plt
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import nn

from widemargin import TrainedModel, margin_distribution, measure_all
from widemargin.training import fit


class RowReader(nn.Module):
    """Embeds the grey values of each row, and reads the rows from the top."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(17, 4)
        self.memory = nn.GRU(8 * 4, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, tokens):
        """Return the logits of tokens [examples, 8 rows, 8 columns]."""
        states, _ = self.memory(self.embedding(tokens).flatten(start_dim=2))
        return self.head(states[:, -1])


tokens, labels = (torch.from_numpy(array).long() for array in load_digits(return_X_y=True))
tokens = tokens.reshape(-1, 8, 8)
generator = torch.Generator().manual_seed(0)
order = torch.randperm(len(labels), generator=generator)
train, test = order[:300], order[300:]
wrong = labels[train].clone()
wrong[:60] = (wrong[:60] + torch.randint(1, 10, (60,), generator=generator)) % 10

networks = {}
for name, taught in (("right labels", labels[train]), ("a fifth wrong", wrong)):
    torch.manual_seed(0)
    network = RowReader()
    end = fit(network, tokens[train], taught, lr=0.005, batch_size=50, num_steps=400)
    networks[name] = TrainedModel(network, (tokens[train], taught))
    with torch.no_grad():
        fresh = (network(tokens[test]).argmax(dim=1) == labels[test]).float().mean()
    print(f"{name}: accuracy {end.history[-1].accuracy:.0%} on training examples, {fresh:.0%} on fresh ones")

# %%
# Tokens have no gradient, so there is no margin at the input; the embedding stands for it, and the reason is told.

margins = margin_distribution(networks["right labels"])
print(margins.layers, dict(margins.skipped))

# %%
# Sharpness is a question of units. The plain Hessian's trace changes when layers are rescaled against each other;
# the filter-normalized one (Li et al. 2018, arXiv 1712.09913, section 4) measures steps in norms of filters. Traces
# are estimated, and come with a standard error; adaptive sharpness (Kwon et al. 2021, arXiv 2102.11600, section 3) is
# a search.

names = ["hessian_trace", "filter_normalized_hessian_trace", "adaptive_sharpness", "sam_sharpness"]
frames = {name: measure_all(trained, names) for name, trained in networks.items()}
pd.concat(frames, names=["trained on"])[["value", "standard_error", "unit"]]

# %%
# All of them agree.

ratios = frames["a fifth wrong"]["value"] / frames["right labels"]["value"]
ax = ratios.plot.barh(figsize=(6, 2.5), xlabel="sharpness with wrong labels over that with right ones")
ax.axvline(1.0, color="black", linewidth=1)
ax.figure.tight_layout()
traces = [frame.loc["filter_normalized_hessian_trace"] for frame in frames.values()]
assert traces[1]["value"] - traces[0]["value"] > 3 * (traces[0]["standard_error"] + traces[1]["standard_error"])
assert (ratios > 1.2).all()
print(f"Learning wrong labels by heart ends in a minimum {ratios.min():.1f} to {ratios.max():.1f} times as sharp.")
plt.show()
