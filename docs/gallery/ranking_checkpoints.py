"""Which of two checkpoints was trained on wrong labels?
=====================================================

Two networks are right on every example that they were trained on. One of them learned 30 % of its labels by heart,
because they were wrong. Training accuracy cannot tell; margins can, and no test example is needed.
"""

import matplotlib.pyplot as plt
import torch

from widemargin import TrainedModel, margin_distribution, rank
from widemargin.data import load
from widemargin.figures import draw_margin_density, margin_densities
from widemargin.networks import build
from widemargin.training import fit

clean = load("digits", num_train=300)
corrupted = load("digits", num_train=300, label_corruption=0.3)
checkpoints = {}
for name, data in (("checkpoint A", corrupted), ("checkpoint B", clean)):
    network = build("mlp", num_classes=10, input_shape=data.input_shape, seed=0, hidden=(64, 64, 64))
    end = fit(network, data.train_inputs, data.train_labels, lr=0.005, batch_size=32, num_steps=600)
    checkpoints[name] = TrainedModel(network, (data.train_inputs, data.train_labels))
    print(f"{name}: accuracy {end.history[-1].accuracy:.0%} on its training data")

# %%
# A checkpoint with its training data is all that ``rank`` takes. Without a predictor it goes by margins alone, and
# says how little that is: of pairs of networks it gets 50 to 66 in 100 right, when they differ in all sorts of
# things.

ranking = rank(checkpoints)
for place in ranking.networks:
    print(f"{place.name}: score {place.score:.2f}, training accuracy {place.train_accuracy:.0%}")
print(f"Probability of this order: {ranking.probabilities[0, 1]:.2f}")
print(*ranking.caveats, sep="\n")

# %%
# The margins it goes by, in the last hidden layer: where labels were learned by heart, the boundary has to pass
# close by.

ax = plt.figure(figsize=(6, 3), layout="constrained").subplots()
for name, trained in checkpoints.items():
    draw_margin_density(ax, margin_densities(margin_distribution(trained))[-1], label=name)
ax.legend()

# %%
# Fresh digits confirm it.

accuracies = {}
for name, trained in checkpoints.items():
    with torch.no_grad():
        accuracies[name] = (trained.model(clean.test_inputs).argmax(dim=1) == clean.test_labels).float().mean().item()
best, worst = (place.name for place in ranking.networks)
assert (best, worst) == ("checkpoint B", "checkpoint A")
assert accuracies[best] > accuracies[worst] + 0.1
shares = f"{accuracies[best]:.0%} of fresh digits, {worst} on {accuracies[worst]:.0%}"
print(f"{best} was ranked first, and is right on {shares}.")
plt.show()
