"""How far are my training examples from the decision boundary?
============================================================

A network that is right on every training example may be right by a wide margin or by a narrow one. This measures
by how much, at the input and in hidden layers, for a small Network-in-Network on 300 handwritten digits.
"""

import matplotlib.pyplot as plt
import torch

from widemargin import TrainedModel, margin_distribution
from widemargin.data import load
from widemargin.figures import draw_margin_density, draw_order_statistics, margin_densities, order_statistics
from widemargin.networks import build
from widemargin.training import fit

data = load("digits", num_train=300)
options = {"width": 0.125, "strides": (1, 2, 2), "batch_norm": False}
network = build("nin", num_classes=10, input_shape=data.input_shape, seed=0, **options)
fit(network, data.train_inputs, data.train_labels, lr=0.005, batch_size=32, num_steps=300)

# %%
# One pass, forward and backward, gives the distances at all layers (Jiang et al. 2019, arXiv 1810.00113, equation
# 3). Each layer's are divided by the root of its total variation (section 3.2), so that layers can be compared.

before = [parameter.clone() for parameter in network.parameters()]
margins = margin_distribution(TrainedModel(network, (data.train_inputs, data.train_labels)))
assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))  # only borrowed
print(f"{margins.num_misclassified} of 300 training examples are misclassified.")

# %%
# The densities tell whether there is a crowd at the boundary (the line at 0), the box plots are the signature: two
# fences, two quartiles and the median of each layer, 20 numbers that predict the generalization gap.

densities = margin_densities(margins)
figure, axes = plt.subplots(1, 5, figsize=(14, 2.6), layout="constrained")
for ax, density in zip(axes, densities, strict=False):
    draw_margin_density(ax, density)
draw_order_statistics(axes[-1], order_statistics(margins))
for name, value in margins.signature().items():
    print(f"{name:28} {value:.4f}")

# %%
# Margins are normalized for a reason. Multiply one convolution by 10 and divide the next by 10: no output changes,
# and no number of the signature does.

signature = margins.signature()
with torch.no_grad():
    for parameter in network.blocks[1].conv2.parameters():
        parameter.mul_(10)
    network.blocks[1].conv3.get_submodule("0").weight.div_(10)
rescaled = margin_distribution(TrainedModel(network, (data.train_inputs, data.train_labels))).signature()
assert all(abs(rescaled[name] / value - 1) < 1e-3 for name, value in signature.items())
print("Rescaling layers against each other changed none of the 20 numbers.")
plt.show()
