"""What a comparison of measures says, in sentences."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from widemargin.prediction import Interval, MeasureScore, Score
from widemargin.report.comparison import Comparison
from widemargin.report.findings import interval_text, score_text

__all__ = ["comparison_verdict"]

S = TypeVar("S", MeasureScore, Score)

NUM_NAMED, NUM_COMPARED = 3, 2


def comparison_verdict(comparison: Comparison) -> list[str]:
    """Return what the networks say about the measures, the most telling first."""
    evaluation = comparison.evaluation
    if not evaluation.scores:
        return ["No column could be scored; the reasons stand at the end."]
    sentences = [_values(comparison), *_regressions(comparison), _order(comparison)]
    if evaluation.given:
        sentences.append(_beyond(comparison))
    return [sentence for sentence in sentences if sentence]


def _values(comparison: Comparison) -> str:
    ranked = _ranked(comparison.evaluation.scores, lambda score: score.grouped_kfold_r2)
    if not ranked:
        return ""
    named = [
        f"{comparison.label(score.name)} ({_with_interval(score.grouped_kfold_r2, score.grouped_kfold_r2_interval)}"
        f"{_on_fewer(score.num_networks, comparison)})"
        for score in ranked[:NUM_NAMED]
        if score.grouped_kfold_r2 is not None and score.grouped_kfold_r2 > 0
    ]
    if not named:
        return "No measure by itself predicts the gaps of left-out configurations better than the mean gap does."
    return f"By themselves, these predict the gaps of left-out configurations best (R²): {_listed(named)}."


def _regressions(comparison: Comparison) -> list[str]:
    """Say what regressions on several numbers reach, and which single measures do better than the first of them."""
    regressions = next(iter(comparison.regressions.values()), ())
    known = [score for score in regressions if score.grouped_kfold_r2 is not None]
    if not known:
        return []
    compared, others = known[:NUM_COMPARED], known[NUM_COMPARED:]
    best = _ranked(others, lambda score: score.grouped_kfold_r2)[:NUM_NAMED]
    reached = known[0].grouped_kfold_r2 or 0.0
    better = [
        comparison.label(score.name)
        for score in comparison.evaluation.scores
        if score.grouped_kfold_r2 is not None and score.grouped_kfold_r2 > reached
    ]
    first = f"“{known[0].name}”"
    return [
        f"Regressions on several numbers reach an R² of {'; '.join(map(_told, compared))}"
        + (f"; the best of all others, {'; '.join(map(_told, best))}." if best else "."),
        f"Single measures that predict better than {first}: {_shortened(better)}."
        if better
        else f"No single measure predicts better than {first}.",
    ]


def _told(score: Score) -> str:
    reached = _with_interval(score.grouped_kfold_r2, score.grouped_kfold_r2_interval)
    return f"{reached} (“{score.name}”, {_counted(score.num_features, 'number')})"


def _order(comparison: Comparison) -> str:
    evaluation, significant, turned = comparison.evaluation, comparison.significant, comparison.turned
    first = _ranked(significant, lambda score: None if score.kendall is None else abs(score.kendall))
    if not first:
        return "No measure orders the gaps better than chance would, tested all at once."
    top = first[0]
    told = (
        f"{len(significant)} of {_counted(len(evaluation.scores), 'measure')} "
        f"order{'s' * (len(significant) == 1)} the gaps better than chance would, best {comparison.label(top.name)} "
        f"(τ {_with_interval(top.kendall, top.kendall_interval)}{_on_fewer(top.num_ranked, comparison)})"
    )
    if turned:
        names = [comparison.label(score.name) for score in turned]
        goes = "goes against the direction that its" if len(turned) == 1 else "go against the direction that their"
        told += f"; {len(turned)} of them {goes} source expects: {_shortened(names)}"
    return f"{told}."


def _beyond(comparison: Comparison) -> str:
    given = " and ".join(name.replace("_", " ") for name in comparison.evaluation.given)
    one = "s" if len(comparison.evaluation.given) == 1 else ""
    best = _ranked(comparison.evaluation.scores, lambda score: score.partial_r2.value)[:NUM_NAMED]
    named = [
        f"{comparison.label(score.name)} ({_with_interval(score.partial_r2.value, score.partial_r2.interval)}"
        f"{_on_fewer(score.num_networks, comparison)})"
        for score in best
        if score.partial_r2.value is not None and score.partial_r2.value > 0
    ]
    if not named:
        return f"No measure explains any of what {given} leave{one} open."
    left_open = f"Of what {given} leave{one} open on left-out configurations"
    return f"{left_open}, the largest share is explained by {_listed(named)}."


def _ranked(scores: Sequence[S], value: Callable[[S], float | None]) -> list[S]:
    known = [(found, score) for score in scores if (found := value(score)) is not None]
    return [score for _, score in sorted(known, key=lambda each: -each[0])]


def _with_interval(value: float | None, interval: Interval | None) -> str:
    return score_text(value) + ("" if interval is None else f", {interval_text(interval)}")


def _on_fewer(num_networks: int, comparison: Comparison) -> str:
    num_all = comparison.evaluation.num_networks
    return f"; on {num_networks} of {num_all} networks" if num_networks < num_all else ""


def _counted(num: int, what: str) -> str:
    return f"{num} {what}{'s' * (num != 1)}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _shortened(names: Sequence[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
