"""Why does training find good minima, when there are bad ones?
============================================================

The same network, trained twice on the same 200 points of a swiss roll. Once as usual; once *poisoned*: correct
answers on fresh points are punished (Huang et al. 2019, arXiv 1906.03291). Both are right on every
training example.
"""

import matplotlib.pyplot as plt
import torch

from widemargin import TrainedModel, basin_radii, loss_surface
from widemargin.data import swiss_roll
from widemargin.figures import draw_decision_regions, draw_loss_surface, draw_radii, loss_range
from widemargin.landscape import decision_regions
from widemargin.networks import SWISS_ROLL_HIDDEN, build
from widemargin.training import Poison, train_stack

data = swiss_roll()
options = {"hidden": SWISS_ROLL_HIDDEN, "one_logit": True, "initialization": "glorot"}
names = ("good minimum", "bad minimum")
networks = [build("mlp", num_classes=2, input_shape=data.input_shape, seed=seed, **options) for seed in range(2)]
poison = [None, Poison.of(data, 0.1, num_examples=200)]
train, test = (data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)
train_stack(networks, *train, lr=0.0058, num_steps=2000, schedule="steps", gradient_clipping=8.0, poison=poison)
minima = [TrainedModel(network, train) for network in networks]

# %%
# Training accuracy is the same. Test accuracy is not.


@torch.no_grad()
def accuracy(network, inputs, labels):
    """Return the share of right answers of a network with one logit, that of the second class."""
    return ((network(inputs).squeeze(1) > 0) == labels).float().mean().item()


found = [(accuracy(network, *train), accuracy(network, *test)) for network in networks]
for name, (known, fresh) in zip(names, found, strict=True):
    print(f"{name}: {known:.0%} on training examples, {fresh:.0%} on test examples")

# %%
# The bad minimum's regions cut narrowly around the training points.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, name, minimum in zip(axes, names, minima, strict=True):
    draw_decision_regions(ax, decision_regions(minimum), has_legend=False).set_title(name)

# %%
# Weights that give such regions cannot be moved far: the loss rises at once. Steps are in units of the norms of
# filters (Li et al. 2018, arXiv 1712.09913, section 4), colors are shared.

surfaces = [loss_surface(minimum, num_points=31, reach=0.3) for minimum in minima]
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, name, surface in zip(axes, names, surfaces, strict=True):
    draw_loss_surface(ax, surface, between=loss_range(*surfaces)).set_title(name)

# %%
# How far, along random directions, until the loss exceeds .1? In thousands of dimensions a volume goes with the
# radius to that power, so that what looks like a factor of a few is what keeps training out of the bad minimum.

radii = [basin_radii(minimum, cutoffs=(0.1,), num_directions=50) for minimum in minima]
ax = plt.figure(figsize=(6, 3), layout="constrained").subplots()
for name, found_radii, color in zip(names, radii, ("#4477aa", "#ee6677"), strict=True):
    draw_radii(ax, found_radii, 0.1, label=name, color=color)
ax.legend()

good, bad = (each.mean(0.1).value for each in radii)
assert [known for known, _ in found] == [1.0, 1.0]
assert found[0][1] > found[1][1] + 0.1
assert good > 2 * bad
print(f"Both minima fit all training examples; the good one's basin is {good / bad:.1f} times as wide.")
plt.show()
