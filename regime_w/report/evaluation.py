"""Numbers of the evaluation: a row a model with intervals, paired comparisons, flipped answers.

Strict: the gold answer in a marked place (`####`, `Answer:`, `\\boxed{}`) of a text that ended by itself. Flexible: the
gold answer wherever it stands, a truncated text included; a gain in strict alone is a gain in format. Majority: what is
expected of the most frequent strict answer, one of several that tie being drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regime_w.method.statistics import (
    mcnemar_exact,
    minimum_detectable_effect,
    paired_bootstrap,
    pass_at_k,
    wilson,
)
from regime_w.method.votes import is_marked, is_right, majority_right
from regime_w.tasks.thinking import said

Row = dict[str, Any]
Numbers = NDArray[Any]
POWER = 0.8
WELL_FORMED, FALLBACK, NO_ANSWER, TRUNCATED = 1, 2, 4, 8


class Settings:
    """Confidence level, resamples and seed of every interval and test."""

    def __init__(self, level: float, n_boot: int, seed: int) -> None:
        self.level, self.n_boot, self.seed = level, n_boot, seed
        self.alpha = round(1 - level, 12)

    def mean(self, values: ArrayLike) -> dict[str, float]:
        """Mean over questions: Wilson's interval for a share, the bootstrap's for anything finer."""
        array = np.asarray(values, dtype=float)
        if np.isin(array, (0.0, 1.0)).all():
            low, high = wilson(int(array.sum()), array.size, self.level)
            return {"value": float(array.mean()), "low": low, "high": high}
        found = paired_bootstrap(array, np.zeros_like(array), self.n_boot, self.seed, self.level)
        return {"value": found.diff, "low": found.lo, "high": found.hi}

    def difference(self, a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
        found = paired_bootstrap(a, b, self.n_boot, self.seed, self.level)
        return {"difference": found.diff, "low": found.lo, "high": found.hi, "p": found.p}


def model_row(name: str, rows: list[Row], settings: Settings) -> dict[str, Any]:
    """All numbers of one model; shares in 0 to 1, lengths in tokens."""
    samples = len(rows[0]["samples"])
    right = [sum(out["correct"] for out in row["samples"]) for row in rows]
    sizes = sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})
    return {
        "name": name,
        "n": len(rows),
        "k": samples,
        "greedy": settings.mean(_greedy(rows)),
        "mean": settings.mean(_mean(rows)),
        "majority": settings.mean(_majority(rows)),
        "pass": {str(k): settings.mean([pass_at_k(samples, count, k) for count in right]) for k in sizes},
        "flexible": settings.mean(_flexible(rows)),
        "flexible_mean": settings.mean(_flexible_mean(rows)),
        "format": {
            "greedy": format_of_all([row["greedy"] for row in rows]),
            "sampled": format_of_all([out for row in rows for out in row["samples"]]),
        },
        "styles": {
            style: {
                "n": len(own),
                "greedy": settings.mean(_greedy(own)),
                "mean": settings.mean(_mean(own)),
                "flexible": settings.mean(_flexible(own)),
                "tokens": format_of_all([row["greedy"] for row in own])["tokens_mean"],
            }
            for style, own in sorted(_by_style(rows).items())
        },
        "length_quantiles": [
            float(value) for value in np.quantile([row["greedy"]["num_tokens"] for row in rows], np.linspace(0, 1, 51))
        ],
    }


def format_of(out: Row) -> int:
    """How an answer is written, as the sum of the flags above."""
    ended = out["finish_reason"] == "stop"
    return (
        WELL_FORMED * (is_marked(out) and ended)
        + FALLBACK * (out["extraction"] == "fallback")
        + NO_ANSWER * (out["answer"] is None)
        + TRUNCATED * (out["finish_reason"] == "length")
    )


def format_of_all(outs: Sequence[Row]) -> dict[str, Any]:
    """`answer_format`, the share of answers that write out a wrong sum, the tokens of a reasoning model's thought, and the
    number of answers on which the verifier failed."""
    found = answer_format(
        np.array([format_of(out) for out in outs], dtype=np.uint8),
        np.array([out["num_tokens"] for out in outs]),
        np.array([bool(out["correct"]) for out in outs]),
    )
    thought = [out.get("thinking_tokens", 0) for out in outs]
    return found | {
        "wrong_sum": sum(out["wrong_sum"] for out in outs) / len(outs),
        "thinking_mean": float(np.mean(thought)),
        "faults": sum("fault" in out for out in outs),
    }


def answer_format(form: Numbers, tokens: Numbers, correct: Numbers) -> dict[str, Any]:
    """Shares of well-formed, unmarked, missing and truncated answers, and lengths in tokens; an entry an answer, see
    `format_of`."""
    n, right = len(tokens), correct.astype(bool)
    flags = {"well_formed": WELL_FORMED, "fallback": FALLBACK, "no_answer": NO_ANSWER, "truncated": TRUNCATED}
    return {
        "n": n,
        **{name: int(np.count_nonzero(form & flag)) / n for name, flag in flags.items()},
        "tokens_mean": float(tokens.mean()),
        "tokens_median": float(np.median(tokens)),
        "tokens_p95": float(np.quantile(tokens, 0.95)),
        "tokens_max": int(tokens.max()),
        "tokens_correct": float(tokens[right].mean()) if right.any() else None,
        "tokens_wrong": float(tokens[~right].mean()) if not right.all() else None,
        "tokens_total": int(tokens.sum(dtype=np.int64)),
    }


def comparisons(models: dict[str, list[Row]], settings: Settings) -> list[dict[str, Any]]:
    """Each model against the base, SFT and the model before it (once where these are the same)."""
    names, found = list(models), []
    for index, name in enumerate(names[1:], 1):
        against = {names[0]: ["base"]}
        if "sft" in names[1:index]:
            against.setdefault("sft", []).append("sft")
        against.setdefault(names[index - 1], []).append("before")
        found += [compare(name, models[name], other, models[other], as_, settings) for other, as_ in against.items()]
    return found


def compare(name: str, rows: list[Row], other: str, others: list[Row], relation: list[str], settings: Settings) -> Row:
    """Paired tests of `name` against `other`: exact McNemar on greedy answers, bootstrap over questions on mean of k."""
    greedy = discordant(_greedy(rows), _greedy(others), settings)
    discordance = (greedy["gained"] + greedy["lost"]) / len(rows)
    mean = settings.difference(_mean(rows), _mean(others))
    return {
        "model": name,
        "against": other,
        "relation": relation,
        "n": len(rows),
        "greedy": greedy,
        "mean": mean | {"outcome": outcome(mean, settings.alpha)},
        "flexible": discordant(_flexible(rows), _flexible(others), settings),
        "discordance": discordance,
        "minimum_detectable_effect": minimum_detectable_effect(len(rows), discordance, POWER, settings.level),
        "identical_texts": sum(a["greedy"]["text"] == b["greedy"]["text"] for a, b in zip(rows, others, strict=True)),
    }


def outcome(test: dict[str, float], alpha: float) -> str:
    """`better`, `worse` or `unchanged`: what the test allows to say."""
    if test["p"] >= alpha or not test["difference"]:
        return "unchanged"
    return "better" if test["difference"] > 0 else "worse"


def flips(rows: list[Row], others: list[Row], shown: int) -> dict[str, Any]:
    """Greedy answers that turned right (`gained`) and wrong (`lost`), with up to `shown` texts each, spread evenly."""
    found: dict[str, Any] = {}
    for kind, right in (("gained", True), ("lost", False)):
        turned = [
            (row, other)
            for row, other in zip(rows, others, strict=True)
            if row["greedy"]["correct"] is not other["greedy"]["correct"] and bool(row["greedy"]["correct"]) is right
        ]
        count = min(shown, len(turned))
        picked = [turned[index * len(turned) // count] for index in range(count)]
        found[kind] = {"count": len(turned), "shown": [_flip(row, other) for row, other in picked]}
    return found


def _flip(row: Row, other: Row) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("id", "question", "gold_answer")},
        "before": _shown(other["greedy"]),
        "after": _shown(row["greedy"]),
    }


def _shown(out: Row) -> dict[str, Any]:
    kept = ("answer", "extraction", "finish_reason", "num_tokens")
    return {
        "text": said(out["text"], out.get("answer_start", 0)),
        **{name: out[name] for name in kept},
        "thinking_tokens": out.get("thinking_tokens", 0),
    }


def discordant(ours: Sequence[int], theirs: Sequence[int], settings: Settings) -> Row:
    """Exact McNemar test of two models' right (1) and wrong (0) answers to the same questions."""
    gained = sum(a > b for a, b in zip(ours, theirs, strict=True))
    lost = sum(a < b for a, b in zip(ours, theirs, strict=True))
    found = settings.difference(ours, theirs) | {"gained": gained, "lost": lost, "p": mcnemar_exact(gained, lost)}
    return found | {"outcome": outcome(found, settings.alpha)}


def scores(rows: list[Row]) -> dict[str, list[float]]:
    """A value a question for each metric: greedy and majority right or wrong, mean of k, pass@k (any of k right)."""
    return {
        "greedy": [float(right) for right in _greedy(rows)],
        "mean": _mean(rows),
        "majority": _majority(rows),
        "pass": [float(any(out["correct"] for out in row["samples"])) for row in rows],
    }


def _greedy(rows: list[Row]) -> list[int]:
    return [int(row["greedy"]["correct"]) for row in rows]


def _mean(rows: list[Row]) -> list[float]:
    return [sum(out["correct"] for out in row["samples"]) / len(row["samples"]) for row in rows]


def _flexible(rows: list[Row]) -> list[int]:
    return [int(is_right(row["greedy"], row["gold_answer"])) for row in rows]


def _flexible_mean(rows: list[Row]) -> list[float]:
    return [sum(is_right(out, row["gold_answer"]) for out in row["samples"]) / len(row["samples"]) for row in rows]


def _majority(rows: list[Row]) -> list[float]:
    return [majority_right(row["samples"], row["gold_answer"]) for row in rows]


def _by_style(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("style") or "plain", []).append(row)
    return groups
