"""Hold labels without gold against gold, where it is known: what part of the questions get one, and how many are right.

    python -m scripts.check_labels --params '{"task": {...}, "pairs": {...}, "alpha": 1.0, "seed": 0}' \
        --rollouts data/demo/round1/rollouts.jsonl --questions data/demo/questions/round1.jsonl \
        --output results/demo/round1/labels.json

Output: {"questions", "with_gold", "ways": {WAY: [{"min_agreement", "labels", "coverage", "precision", "low", "high", "pairs",
"pair_precision"}]}}; the ways are votes of all, of the other style, of those whose sums hold (regime_w/method/labelled.py).
No training reads it: gold stands in this file alone where labels are withheld.
"""

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from regime_w.method.labelled import count_question, table
from regime_w.runtime.errors import run
from regime_w.runtime.parallel import over_rollouts
from regime_w.runtime.records import from_argument, iter_jsonl, scan_jsonl
from regime_w.runtime.seals import check, write_record
from regime_w.tasks.marks import cut
from regime_w.tasks.thinking import said
from regime_w.tasks.verifiers import open_verifier

log = logging.getLogger(__name__)

Counts = Counter[tuple[Any, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="task, pairs, alpha, seed")
    parser.add_argument("--rollouts", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="with their gold answers, where these are known")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    check(args.questions)
    questions = {row["id"]: row for row in iter_jsonl(args.questions, ("id", "gold_answer"))}
    open_verifier(args.params["task"]).check()
    counts: Counts = Counter()
    for part in over_rollouts(count_part, args.rollouts, "Held against gold", (args.params, questions)):
        counts.update(part)
    totals = {name: counts.pop((name,), 0) for name in ("questions", "with_gold")}
    ways = table(counts)
    write_record(args.output, {**totals, "ways": ways})
    log.info(f"Labels of {totals['with_gold']} of {totals['questions']} questions are held against gold: {args.output}")
    for name, rows in ways.items():
        log.info(f"{name}: {told(rows[0])}")


def count_part(shared: tuple[Path, tuple[dict[str, Any], dict[str, Any]]], part: tuple[int, int]) -> Counts:
    rollouts, (params, questions) = shared
    counts: Counts = Counter()
    verifier = open_verifier(params["task"])
    for _, record in scan_jsonl(rollouts, ("id", "trajectories"), part):
        counts[("questions",)] += 1
        question = questions.get(record["id"], {"gold_answer": None})
        gold = verifier.gold(question["gold_answer"], question)
        if gold is None:
            continue
        counts[("with_gold",)] += 1
        answers = [said(own["full_text"], own.get("answer_start", 0)) for own in record["trajectories"]]
        texts = [cut(answer) for answer in answers]
        grades = verifier.grade_all(texts, gold, question)
        right = [grade.correct or grade.answer == gold for grade in grades]
        ended = [len(text) == len(answer) for text, answer in zip(texts, answers, strict=True)]
        correct = [
            grade.correct and whole and own["finish_reason"] == "stop"
            for grade, whole, own in zip(grades, ended, record["trajectories"], strict=True)
        ]
        record["trajectories"] = [
            own if whole else own | {"finish_reason": "length"}
            for own, whole in zip(record["trajectories"], ended, strict=True)
        ]
        count_question(counts, record, right, correct, params["pairs"], params["alpha"], params["seed"])
    return counts


def told(row: dict[str, Any]) -> str:
    """A row of the table in words."""
    if row["precision"] is None:
        return "no label"
    pairs = f", {row['pair_precision']:.1%} of {row['pairs']} pairs" if row["pairs"] else ""
    return f"{row['coverage']:.1%} have a label, {row['precision']:.1%} of these are right{pairs}"


if __name__ == "__main__":
    run(main)
