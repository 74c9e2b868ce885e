"""How much lower will accuracy be on fresh data?
==============================================

A regression fitted on networks whose generalization gap is known predicts the gap of others from their margins.
Here 48 small networks are trained on digits of which none to half have a wrong label, and the gap is predicted for
a share of wrong labels that the regression has not seen.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from widemargin import GapPredictor, TrainedModel, margin_distribution
from widemargin.data import load
from widemargin.networks import build
from widemargin.prediction import kfold_r2, left_out_predictions
from widemargin.training import train_stack


@torch.no_grad()
def accuracy(network, inputs, labels):
    """Return the share of right answers."""
    return (network(inputs).argmax(dim=1) == labels).float().mean().item()


# %%
# Eight networks at a time are trained in one computation; they differ in seed, learning rate and weight decay.

rows = []
for share_wrong in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
    data = load("digits", num_train=200, label_corruption=share_wrong)
    train, shape = (data.train_inputs, data.train_labels), data.input_shape
    networks = [build("mlp", num_classes=10, input_shape=shape, seed=seed, hidden=(32, 32, 32)) for seed in range(8)]
    decays = [0.0, 0.0, 0.1, 0.1, 1.0, 1.0, 2.0, 2.0]
    train_stack(networks, *train, lr=[0.003, 0.01] * 4, weight_decay=decays, num_steps=200, seed=range(8))
    for network in networks:
        signature = margin_distribution(TrainedModel(network, train)).signature()
        known = accuracy(network, *train)
        gap = known - accuracy(network, data.test_inputs, data.test_labels)
        rows.append({**signature, "share wrong": share_wrong, "train accuracy": known, "gap": gap})
zoo = pd.DataFrame(rows)
zoo[["share wrong", "train accuracy", "gap"]].groupby("share wrong").mean().round(3)

# %%
# Each share of wrong labels is left out of the fit in turn. R² is the share of the gaps' variance that the
# predictions for it explain; training accuracy alone is the baseline, for it is known anyhow.

signatures = zoo.filter(like="/")
gaps, shares = zoo["gap"].to_numpy(), zoo["share wrong"].to_numpy()
predictor = GapPredictor(regularization="ridge")
by_margins = kfold_r2(predictor, signatures, gaps, groups=shares).value
by_accuracy = kfold_r2(GapPredictor("identity"), zoo[["train accuracy"]], gaps, groups=shares).value
print(f"R² on a share of wrong labels that was left out: {by_margins:.2f} with margins, {by_accuracy:.2f} without")

# %%
# A prediction for each network, made without any network trained on as many wrong labels.

predicted = left_out_predictions(predictor, signatures, gaps, groups=shares)
ax = plt.figure(figsize=(5, 4), layout="constrained").subplots()
points = ax.scatter(gaps, predicted, c=shares, cmap="viridis")
ax.axline((0.2, 0.2), slope=1, color="grey", linewidth=1)
ax.set(xlabel="generalization gap", ylabel="predicted, share left out")
ax.figure.colorbar(points, label="share of wrong labels")

# %%
# One network of the zoo, with the interval in which the gap of such a network lies nine times in ten.

lower, upper = predictor.fit(signatures[1:], gaps[1:]).predict_interval(signatures[:1])
print(f"Network 0: a gap of {gaps[0]:.2f}, predicted to lie from {lower[0]:.2f} to {upper[0]:.2f}.")
assert by_margins > max(by_accuracy, 0.5)
assert np.corrcoef(gaps, predicted)[0, 1] > 0.8
print(f"Margins explain {by_margins:.0%} of the variance of gaps on shares of wrong labels never seen.")
plt.show()
