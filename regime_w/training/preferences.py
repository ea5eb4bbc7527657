"""Preference pairs of a whole rollouts file, in TRL's format, coherence pairs capped, and their counts."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Part(NamedTuple):
    """The pairs of a part of the rollouts, and what the summary needs to know. Coherence pairs may have to go later."""

    lines: list[bytes]
    ranked: list[tuple[int, float, int]]  # the coherence pairs among `lines`, see rank_coherence
    coherent: list[tuple[int, int, int]]  # of each of these: question, tokens of the chosen and of the rejected side
    otherwise: dict[int, str]  # why a question has no pair, should all its coherence pairs go and it have no other
    counts: Counter[str]
    unanimous: list[Any]
    margins: list[float]  # weights of the pairs, before they are divided by their mean


def build(rollouts: Path, params: dict[str, Any], forms: dict[str, Form], output: Path) -> dict[str, Any]:
    """Write the pairs of all questions in their order, coherence pairs capped; returns the counts for preferences.json.

    `forms`: `text_forms` of the prompts.

    candidates = kept + dropped, questions = those with pairs + no_pair_reasons. UserError where there is no pair.
    """
    source = read_seal(rollouts)
    counts = Counter[str]()
    ranked: list[tuple[int, float, int]] = []
    coherent: list[tuple[int, int, int]] = []
    otherwise: dict[int, str] = {}
    unanimous: list[Any] = []
    margins: list[float] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output.parent) as all_pairs:
        for part in over_rollouts(build_part, rollouts, "Paired", (params, forms)):
            questions, pairs = counts["questions"], counts["pairs"]
            ranked += ((rank, margin, pairs + index) for rank, margin, index in part.ranked)
            coherent += ((questions + question, chosen, rejected) for question, chosen, rejected in part.coherent)
            otherwise |= {questions + question: reason for question, reason in part.otherwise.items()}
            unanimous += part.unanimous
            margins += part.margins
            counts.update(part.counts)
            all_pairs.writelines(part.lines)

        over = over_coherence_share(ranked, counts["pairs"] - len(ranked), params["pairs"]["coherence_share"])
        only_coherent = len(otherwise)
        for (*_, index), (question, chosen, rejected) in zip(ranked, coherent, strict=True):
            if index in over:
                counts["chosen_tokens"] -= chosen
                counts["rejected_tokens"] -= rejected
            else:
                otherwise.pop(question, None)
        counts["with pairs"] += only_coherent - len(otherwise)
        counts.update(f"without: {reason}" for reason in otherwise.values())
        counts["dropped: coherence_share"] = len(over)
        report = summarise(counts, len(ranked) - len(over), unanimous)
        if not report["kept"]:
            raise UserError(no_pairs(report))
        if margins and not any(margins):
            raise UserError(
                "labels.weight margin: no pair's sides differ in votes, so that none has a weight; set it to none"
            )
        all_pairs.seek(0)
        kept = (line for index, line in enumerate(all_pairs) if index not in over)
        with new_records(output, source.made_from | {"rollouts": source.sha256}) as file:
            file.writelines(weighted(kept, margins) if params["pairs"].get("weight") == "margin" else kept)
    return report


def weighted(lines: Iterable[bytes], margins: Sequence[float]) -> Iterator[bytes]:
    """The pairs with weights whose mean is 1: margins over their mean, 1 for pairs that have none. `margins` are all there are."""
    mean = sum(margins) / len(margins) if margins else 1.0
    for line in lines:
        pair = json.loads(line)
        yield to_line(pair | {"weight": 1.0 if pair["weight"] is None else round(pair["weight"] / mean, DIGITS)})


def build_part(shared: tuple[Path, tuple[dict[str, Any], dict[str, Form]]], part: tuple[int, int]) -> Part:
    rollouts, (params, forms) = shared
    built = Part([], [], [], {}, Counter(), [], [])
    counts = built.counts
    for question, (_, row) in enumerate(scan_jsonl(rollouts, ROW, part)):
        pairs, dropped = build_pairs(row, params["pairs"], params["seed"])
        ranked = rank_coherence(pairs)
        built.ranked.extend((rank, margin, len(built.lines) + index) for rank, margin, index in ranked)
        for *_, index in ranked:
            built.coherent.append((question, pairs[index]["chosen_tokens"], pairs[index]["rejected_tokens"]))
        if not pairs:
            counts[f"without: {no_pair_reason(row, params['pairs'])}"] += 1
        elif len(ranked) == len(pairs):
            built.otherwise[question] = no_pair_reason(row, params["pairs"])
        else:
            counts["with pairs"] += 1
        counts["questions"] += 1
        counts["labelled otherwise"] += "label_source" in row
        counts["pairs"] += len(pairs)
        counts.update({f"dropped: {reason}": count for reason, count in dropped.items()})
        whole = [pair for pair in pairs if pair["pair_type"] != CALCULATION]
        counts["calculations"] += len(pairs) - len(whole)
        for side in ("chosen_tokens", "rejected_tokens"):
            counts[side] += sum(pair[side] for pair in whole)
        built.margins.extend(pair["weight"] for pair in pairs if pair.get("weight") is not None)
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


def summarise(counts: Counter[str], coherent: int, unanimous: list[Any]) -> dict[str, Any]:
    """The content of preferences.json, `coherent` of whose kept pairs are coherence pairs."""
    dropped = {name: counts[f"dropped: {name}"] for name in REASONS}
    kept = counts["pairs"] - dropped["coherence_share"]
    calculations = counts["calculations"]
    whole = kept - calculations
    reasons = ("all_correct", "all_wrong", "filtered", *(["no_label"] if counts["labelled otherwise"] else []))
    return {
        "questions": counts["questions"],
        "questions_with_pairs": counts["with pairs"],
        "candidates": kept + sum(dropped.values()),
        "kept": kept,
        "kept_by_type": {"correctness": whole - coherent, "coherence": coherent, CALCULATION: calculations},
        "dropped": dropped,
        "no_pair_reasons": {name: counts[f"without: {name}"] for name in reasons},
        "chosen_tokens_mean": round(counts["chosen_tokens"] / whole, 1) if whole else None,
        "rejected_tokens_mean": round(counts["rejected_tokens"] / whole, 1) if whole else None,
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
