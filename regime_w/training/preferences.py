"""Preference pairs of a whole rollouts file, in TRL's format, coherence pairs and all pairs capped, and their counts."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regime_w.method.draws import over_total, turn
from regime_w.method.pairs import (
    CALCULATION,
    REASONS,
    build_pairs,
    no_pair_reason,
    over_coherence_share,
    rank_coherence,
)
from regime_w.method.votes import unanimous_not_gold
from regime_w.runtime.errors import UserError
from regime_w.runtime.parallel import over_rollouts
from regime_w.runtime.records import scan_jsonl, to_line
from regime_w.runtime.seals import new_records, read_seal
from regime_w.tasks.prompts import Form, form_of, style_trained

DIGITS = 6  # of weights
ROW = ("id", "question", "gold_answer", "trajectories")


class Made(NamedTuple):
    """What decides whether a pair stays, and what it counts for."""

    question: int
    pair_type: str
    tokens: tuple[int, int]  # of the chosen and the rejected side, 0 in a calculation pair
    draw: int  # its question's, see over_total
    weight: float | None


class Part(NamedTuple):
    """The pairs of a part of the rollouts, and what the summary needs to know. Pairs may have to go later."""

    lines: list[bytes]
    pairs: list[Made]  # of each line
    ranked: list[tuple[int, float, int]]  # the coherence pairs among `lines`, see rank_coherence
    otherwise: dict[int, str]  # why a question has no pair, should all its coherence pairs go and it have no other
    counts: Counter[str]
    unanimous: list[Any]


def build(rollouts: Path, params: dict[str, Any], forms: dict[str, Form], output: Path) -> dict[str, Any]:
    """Write the pairs of all questions in their order, coherence pairs and all pairs capped; returns the counts for
    preferences.json.

    `forms`: `text_forms` of the prompts.

    candidates = kept + dropped, questions = those with pairs + no_pair_reasons. UserError where there is no pair.
    """
    source = read_seal(rollouts)
    counts = Counter[str]()
    pairs: list[Made] = []
    ranked: list[tuple[int, float, int]] = []
    otherwise: dict[int, str] = {}
    unanimous: list[Any] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as all_pairs:
        for part in over_rollouts(build_part, rollouts, "Paired", (params, forms)):
            questions = counts["questions"]
            ranked += ((rank, margin, len(pairs) + index) for rank, margin, index in part.ranked)
            pairs += (pair._replace(question=questions + pair.question) for pair in part.pairs)
            otherwise |= {questions + question: reason for question, reason in part.otherwise.items()}
            unanimous += part.unanimous
            counts.update(part.counts)
            all_pairs.writelines(part.lines)

        over = over_coherence_share(ranked, len(pairs) - len(ranked), params["pairs"]["coherence_share"])
        left = [index for index in range(len(pairs)) if index not in over]
        beyond = over_total(
            [(pairs[index].question, pairs[index].draw) for index in left], params["pairs"]["max_pairs"]
        )
        kept = [index for place, index in enumerate(left) if place not in beyond]
        counts.update({"dropped: coherence_share": len(over), "dropped: max_pairs": len(beyond)})
        with_pairs = {pairs[index].question for index in kept}
        counts.update(
            f"without: {otherwise.get(question, 'filtered')}"
            for question in {pair.question for pair in pairs} - with_pairs
        )
        report = summarise(counts, [pairs[index] for index in kept], unanimous)
        if not kept:
            raise UserError(no_pairs(report))
        margins = [weight for index in kept if (weight := pairs[index].weight) is not None]
        if margins and not any(margins):
            raise UserError(
                "labels.weight margin: no pair's sides differ in votes, so that none has a weight; set it to none"
            )
        all_pairs.seek(0)
        wanted = set(kept)
        lines = (line for index, line in enumerate(all_pairs) if index in wanted)
        with new_records(output, source.made_from | {"rollouts": source.sha256}) as file:
            file.writelines(weighted(lines, margins) if params["pairs"].get("weight") == "margin" else lines)
    return report


def weighted(lines: Iterable[bytes], margins: Sequence[float]) -> Iterator[bytes]:
    """The pairs with weights whose mean is 1: margins over their mean, 1 for pairs that have none. `margins` are all there are."""
    mean = sum(margins) / len(margins) if margins else 1.0
    for line in lines:
        pair = json.loads(line)
        yield to_line(pair | {"weight": 1.0 if pair["weight"] is None else round(pair["weight"] / mean, DIGITS)})


def build_part(shared: tuple[Path, tuple[dict[str, Any], dict[str, Form]]], part: tuple[int, int]) -> Part:
    rollouts, (params, forms) = shared
    built = Part([], [], [], {}, Counter(), [])
    counts = built.counts
    for question, (_, row) in enumerate(scan_jsonl(rollouts, ROW, part)):
        pairs, dropped = build_pairs(row, params["pairs"], params["seed"])
        ranked = rank_coherence(pairs)
        built.ranked.extend((rank, margin, len(built.lines) + index) for rank, margin, index in ranked)
        if not pairs:
            counts[f"without: {no_pair_reason(row, params['pairs'])}"] += 1
        elif len(ranked) == len(pairs):
            built.otherwise[question] = no_pair_reason(row, params["pairs"])
        counts["questions"] += 1
        counts["labelled otherwise"] += "label_source" in row
        counts.update({f"dropped: {reason}": count for reason, count in dropped.items()})
        draw = turn(params["seed"], row["id"])
        for pair in pairs:
            tokens = (pair["chosen_tokens"] or 0, pair["rejected_tokens"] or 0)
            built.pairs.append(Made(question, pair["pair_type"], tokens, draw, pair.get("weight")))
        built.lines.extend(to_line(with_prompt(pair, row["question"], forms, params["pairs"])) for pair in pairs)
        if unanimous_not_gold(row):
            built.unanimous.append(row["id"])
    return built


def with_prompt(
    example: dict[str, Any], question: str, forms: dict[str, Form], settings: dict[str, Any]
) -> dict[str, Any]:
    """A pair or sample with the prompt that it is trained with, and what that is made from again as token ids."""
    style = style_trained(example["style"], settings["train_prompt"])
    prompt = form_of(forms, style, f"question {example['id']}").text(question)
    return {"prompt": prompt, **example, "question": question, "prompt_style": style}


def summarise(counts: Counter[str], kept: Sequence[Made], unanimous: list[Any]) -> dict[str, Any]:
    """The content of preferences.json."""
    dropped = {name: counts[f"dropped: {name}"] for name in REASONS}
    types = Counter(pair.pair_type for pair in kept)
    whole = len(kept) - types[CALCULATION]
    chosen, rejected = (sum(pair.tokens[side] for pair in kept) for side in (0, 1))
    reasons = ("all_correct", "all_wrong", "filtered", *(["no_label"] if counts["labelled otherwise"] else []))
    return {
        "questions": counts["questions"],
        "questions_with_pairs": len({pair.question for pair in kept}),
        "candidates": len(kept) + sum(dropped.values()),
        "kept": len(kept),
        "kept_by_type": {name: types[name] for name in ("correctness", "coherence", CALCULATION)},
        "dropped": dropped,
        "no_pair_reasons": {name: counts[f"without: {name}"] for name in reasons},
        "chosen_tokens_mean": round(chosen / whole, 1) if whole else None,
        "rejected_tokens_mean": round(rejected / whole, 1) if whole else None,
        "unanimous_not_gold": unanimous,
    }


def no_pairs(report: dict[str, Any]) -> str:
    """Why there is nothing to train on, and what to do about it."""
    reasons = report["no_pair_reasons"]
    counted = ", ".join(f"{count} {name}" for name, count in report["dropped"].items() if count) or "none dropped"
    most = max(reasons, key=lambda name: reasons[name])
    advice = {
        "all_correct": "ask harder or more questions (generate.n_samples), or raise the arms' temperatures",
        "all_wrong": "the policy solves none: train SFT longer, raise generate.max_new_tokens, or ask easier questions",
        "filtered": "loosen min_margin, max_similarity or max_length_ratio under pairs, or raise generate.max_new_tokens",
        "no_label": "lower labels.min_agreement, or loosen labels.filter",
    }[most]
    unlabelled = f", {reasons['no_label']} without a label" if "no_label" in reasons else ""
    return (
        f"no preference pair from {report['questions']} questions: {reasons['all_correct']} all correct, "
        f"{reasons['all_wrong']} all wrong, {reasons['filtered']} with all candidates dropped{unlabelled}; "
        f"{report['candidates']} candidates ({counted}); {advice}"
    )
