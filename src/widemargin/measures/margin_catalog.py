"""What the catalogue says of measures of margins."""

from widemargin.measures.feature_measures import (
    constrained_margin,
    davies_bouldin,
    davies_bouldin_mixup,
    gradient_normalized_k_variance_margin,
    k_variance_margin,
    mixup_accuracy,
    mixup_margin,
)
from widemargin.measures.margin_measures import (
    input_margin,
    inverse_margin,
    normalized_margin,
    normalized_margin_first_quartile,
    output_margin,
    spectrally_normalized_margin,
)
from widemargin.measures.measure import Measure

__all__ = ["MARGIN_MEASURES"]

MARGIN_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="output_margin",
        family="margins",
        function=output_margin,
        sign=-1,
        unit="logits",
        formula="median over examples of f_y − max_{k≠y} f_k",
        idea="How far the score of the right class is ahead of the next. A network that is sure of most "
        "examples should change its mind less often on new ones.",
        misleads="It grows with the scale of the logits alone. Among networks that fit their training data to "
        "different degrees it follows the training accuracy, and large margins go with large gaps.",
        reference="Jiang et al. 2019, arXiv 1810.00113, section 3",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
    Measure(
        name="inverse_margin",
        family="margins",
        function=inverse_margin,
        sign=1,
        unit="1/logits²",
        formula="1/γ², γ the 10 % quantile of f_y − max_{k≠y} f_k",
        idea="The part of a margin bound that does not depend on the weights. A quantile stands for the "
        "smallest margin, which a single odd example would decide.",
        misleads="Where more than 10 % of the training examples are misclassified γ is negative, and its square "
        "says nothing of that. Like all raw margins it follows the scale of the logits.",
        reference="Jiang et al. 2020, arXiv 1912.02178, appendix C",
        uses=("outputs",),
        is_scale_invariant=True,
    ),
    Measure(
        name="spectrally_normalized_margin",
        family="margins",
        function=spectrally_normalized_margin,
        sign=-1,
        unit="",
        formula="median over examples of (f_y − max_{k≠y} f_k) / (R ‖X‖_F / n), R = Π‖A‖₂ "
        "(Σ(‖(A−M)ᵀ‖₂,₁/‖A‖₂)^⅔)^{3/2}",
        idea="The output margin in units of how far the network can stretch its inputs at most. Dividing by "
        "that makes margins of networks with different weights comparable.",
        misleads="Products of norms multiply the slack of every layer, so depth and width change it by orders of "
        "magnitude without any change in generalization.",
        reference="Bartlett, Foster, Telgarsky 2017, arXiv 1706.08498, section 2",
        uses=("outputs", "spectral_complexity", "input_norm"),
    ),
    Measure(
        name="input_margin",
        family="margins",
        function=input_margin,
        sign=-1,
        unit="input units",
        formula="median over examples of (f_y − f_j) / ‖∇ₓ(f_y − f_j)‖₂, j = argmax_{k≠y} f_k",
        idea="How far an example can move in input space before its class changes, to first order. A new "
        "example is to an old one what a small move is.",
        misleads="Most directions in input space are noise that no example ever moves in. Among networks of "
        "different training accuracy it follows that.",
        reference="Jiang et al. 2019, arXiv 1810.00113, equation 3",
        uses=("margins",),
        is_scale_invariant=True,
    ),
    Measure(
        name="normalized_margin",
        family="margins",
        function=normalized_margin,
        sign=-1,
        unit="natural logarithm",
        formula="mean over hidden layers of log median of d / √ν, ν the total variation of the layer's activations",
        idea="Distances to the decision boundary in hidden layers, in units of how much activations vary "
        "there. What varies little beside its distance from the boundary is classified safely.",
        misleads="Only correctly classified examples count, so a network that fits few of them can look good.",
        reference="Jiang et al. 2019, arXiv 1810.00113, sections 3.2 and 3.3",
        uses=("margins",),
        is_scale_invariant=True,
    ),
    Measure(
        name="normalized_margin_first_quartile",
        family="margins",
        function=normalized_margin_first_quartile,
        sign=-1,
        unit="natural logarithm",
        formula="mean over hidden layers of log lower quartile of d / √ν",
        idea="The normalized margin of the quarter of the training examples that lies nearest to the boundary. "
        "Those are the ones that new examples resemble when they are misclassified.",
        misleads="Only correctly classified examples count; wrong labels that were learned by heart lie in this "
        "quarter.",
        reference="Jiang et al. 2019, arXiv 1810.00113, sections 3.2 and 3.3",
        uses=("margins",),
        is_scale_invariant=True,
    ),
    Measure(
        name="k_variance_margin",
        family="margins",
        function=k_variance_margin,
        sign=-1,
        unit="",
        formula="median of f_y − max_{k≠y} f_k over Σ_c p_c W₁(half_c, half′_c) Lip_c, mean over hidden layers",
        idea="The output margin in units of how much it can change between two random halves of a class, by "
        "the cost of carrying the features of one to those of the other. Classes that are tight for their "
        "margin are learned well.",
        misleads="The cost falls slowly with the size of the halves, so values of different sample sizes or "
        "numbers of classes cannot be compared. The Lipschitz constant is that of the steepest example "
        "met.",
        reference="Chuang et al. 2021, arXiv 2106.03314",
        uses=("margins", "class_spreads", "outputs"),
        is_scale_invariant=True,
    ),
    Measure(
        name="gradient_normalized_k_variance_margin",
        family="margins",
        function=gradient_normalized_k_variance_margin,
        sign=-1,
        unit="",
        formula="median of (f_y − f_j) / ‖∇(f_y − f_j)‖₂ over Σ_c p_c W₁(half_c, half′_c), mean over hidden layers",
        idea="The distance to the decision boundary in a hidden layer in units of how far two random halves of "
        "a class lie apart there. Each example's own gradient takes the place of one Lipschitz constant "
        "for all.",
        misleads="As for the k-variance margin, values of different sample sizes cannot be compared; distances are "
        "of first order.",
        reference="Chuang et al. 2021, arXiv 2106.03314",
        uses=("margins", "class_spreads"),
        is_scale_invariant=True,
    ),
    Measure(
        name="constrained_margin",
        family="margins",
        function=constrained_margin,
        sign=-1,
        unit="input units",
        formula="median of (f_y − f_j) / ‖Pᵀ∇ₓ(f_y − f_j)‖₂, P the principal components up to the elbow of variances",
        idea="How far an example can move before its class changes, in the directions in which the data varies "
        "most. Unlike other directions in input space, these lead to examples that can be met.",
        misleads="Distances are of first order where the paper takes repeated steps, and the number of components "
        "follows from the sample: compare networks trained on the same data only.",
        reference="Mouton, Theunissen, Davel 2023, arXiv 2308.15466",
        uses=("features",),
        is_scale_invariant=True,
    ),
    Measure(
        name="mixup_accuracy",
        family="margins",
        function=mixup_accuracy,
        sign=-1,
        unit="share",
        formula="share of pairs of one class y with argmax f((x + x′)/2) = y",
        idea="Whether the network gives the mean of two examples of a class that class too. What was learned "
        "by heart holds at the examples alone, what was understood between them as well.",
        misleads="A network that was trained with mixup is judged by what it was told. Among networks of different "
        "training accuracy it follows that in part.",
        reference="Natekar and Sharma 2020, arXiv 2012.02775",
        uses=("mixup_margins",),
        is_scale_invariant=True,
    ),
    Measure(
        name="mixup_margin",
        family="margins",
        function=mixup_margin,
        sign=-1,
        unit="",
        formula="median of the normalized margin d / √ν at (x + x′)/2, x and x′ of one class, in the first hidden "
        "layer",
        idea="The signed normalized margin between training examples rather than at them. It keeps to what "
        "mixup accuracy counts, but tells a narrow escape from a safe one.",
        misleads="As for mixup accuracy; and a median hides how bad the misclassified half is.",
        reference="Natekar and Sharma 2020, arXiv 2012.02775",
        uses=("mixup_margins",),
        is_scale_invariant=True,
    ),
    Measure(
        name="davies_bouldin",
        family="margins",
        function=davies_bouldin,
        sign=1,
        unit="",
        formula="mean over classes i of max_{j≠i} (s_i + s_j) / ‖c_i − c_j‖₂ in the first hidden layer, c_i "
        "means, s_i mean distances from there",
        idea="How wide classes are in feature space for the distance between their means. Features that "
        "separate the classes into tight clusters leave the layers behind little to learn by heart.",
        misleads="Wide layers and small samples raise it, because the mean of few examples is uncertain. In the "
        "last layers it tells how well the training data is fitted, which large gaps need too.",
        reference="Natekar and Sharma 2020, arXiv 2012.02775; Davies and Bouldin 1979",
        uses=("features",),
        is_scale_invariant=True,
    ),
    Measure(
        name="davies_bouldin_mixup",
        family="margins",
        function=davies_bouldin_mixup,
        sign=1,
        unit="",
        formula="Davies–Bouldin index × (1 − mixup accuracy)",
        idea="Classes that are spread out, and a network that errs between their examples. The product won the "
        "competition on predicting generalization in 2020.",
        misleads="It is 0 as soon as no mixture of the sample is misclassified, and then orders nothing.",
        reference="Natekar and Sharma 2020, arXiv 2012.02775",
        uses=("features", "mixup_margins"),
        is_scale_invariant=True,
    ),
)
