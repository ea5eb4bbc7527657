"""Fetch the training questions: drop those that stand in evaluation, hold a part out, add variants with other numbers.

    python -m scripts.fetch_questions --params '{"train": [{...}], "heldout_fraction": 0.05, ...}' \
        --evaluation data/demo/questions/evaluation.jsonl --train data/demo/questions/train.jsonl \
        --heldout data/demo/questions/heldout.jsonl --summary data/demo/questions/train.json

Record: {"id": "train-00017", "question": "...", "answer": "rationale\n#### 18", "gold_answer": "18", "part": "sft"}
A variant has "variant_of" besides, a row whose text stands before it "same_text_as"; both stand in the part of the
question that they name. What SFT and each round take of a part: scripts/split_questions.py.
"""

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from regime_w.method.draws import in_share
from regime_w.questions.mixture import load_all
from regime_w.questions.overlap import Texts, described, find_overlap, too_close, whole_text
from regime_w.questions.rows import double, plain
from regime_w.questions.varying import make_variants
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import from_argument, iter_jsonl
from regime_w.runtime.seals import check, write_jsonl, write_record
from regime_w.tasks.verifiers import open_verifier

log = logging.getLogger(__name__)

Row = dict[str, Any]
# What becomes of a row whose text stands before it.
DOUBLES = {"identical": "dropped", "contradicting": "dropped", "other_rationale": "kept"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="config section questions, but eval; task")
    parser.add_argument(
        "--gold", choices=["required", "optional"], default="required", help="whether a row must have one"
    )
    parser.add_argument("--evaluation", type=Path, required=True, help="texts of all evaluation sets")
    for name in ("train", "heldout", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    loaded, sources = load_all(
        "questions.train", params["train"], open_verifier(params["task"]), args.gold == "optional"
    )
    rows, dropped = once(loaded)
    evaluation = Texts(params["overlap_ngram"])
    check(args.evaluation)
    for row in iter_jsonl(args.evaluation, ("set", "id", "question")):
        evaluation.add(row["set"], row)
    rows, overlap = without(rows, evaluation, params["overlap_drop"])
    heldout = [row for row in rows if "same_text_as" not in row and is_heldout(row, params)]
    rows = [row for row in rows if not is_heldout(row, params)]
    held = Texts(params["overlap_ngram"])
    for row in heldout:
        held.add("heldout", row)
    rows, near = without(rows, held, params["overlap_drop"])
    added = make_variants(rows, params["variants"], params["train"][0]["seed"])
    added, lost = new_texts(added, rows, [evaluation, held], params["overlap_drop"])
    if not rows:
        raise UserError(
            f"questions.train: all {len(loaded)} questions stand in evaluation or were held out; is it the data of evaluation?"
        )
    train = [row | {"part": part_of(row, params["rollout_fraction"])} for row in (*rows, *added)]

    write_jsonl(args.train, map(plain, train))
    write_jsonl(args.heldout, map(plain, heldout))
    overlaps = {
        "evaluation": described(overlap, evaluation, params["overlap_drop"]),
        "heldout": described(near, held, params["overlap_drop"]),
    }
    summary = {
        "counts": {
            "train": len(train),
            "variants": len(added),
            "questions_varied": len({row["variant_of"] for row in added}),
            "parts": dict(Counter(row["part"] for row in train)),
            "heldout": len(heldout),
            "without_rationale": sum("answer" not in row for row in train),
            "without_gold": sum(row["gold_answer"] is None for row in train),
        },
        "sources": sources,
        "doubles": dropped | {"variants_dropped": lost},
        "overlap": overlaps,
    }
    write_record(args.summary, summary)
    log.info(
        f"{len(train)} training ({len(added)} of them variants), {len(heldout)} held-out questions; dropped: "
        f"{len(overlaps['evaluation']['dropped'])} that overlap with evaluation ({overlaps['evaluation']['same_text']} by "
        f"their whole text), {len(overlaps['heldout']['dropped'])} with held-out questions"
    )
    bad = sum(source["bad_rows"]["count"] for source in sources)
    if bad or any(dropped.values()):
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in dropped.items())
        log.info(f"{bad} bad rows passed over; texts that stand in the data again: {kinds}")


def once(rows: list[Row]) -> tuple[list[Row], dict[str, int]]:
    """The rows, each that repeats a text noted as such; dropped are those that add no rationale or contradict the first."""
    first: dict[str, Row] = {}
    counts = Counter[str]()
    kept = []
    for row in rows:
        before = first.setdefault(whole_text(row["question"]), row)
        if before is row:
            kept.append(row)
            continue
        kind = double(row, before)
        counts[kind] += 1
        if kind == "other_rationale":
            kept.append(row | {"same_text_as": before["id"]})
    return kept, {f"{kind}_{done}": counts[kind] for kind, done in DOUBLES.items()}


def without(rows: list[Row], known: Texts, threshold: float) -> tuple[list[Row], dict[str, Any]]:
    """The rows that are not too close to a known question, and what all of them share with those."""
    found = find_overlap(rows, known)
    return [row for row in rows if not (row["id"] in found and too_close(found[row["id"]], threshold))], found


def is_heldout(row: Row, params: Row) -> bool:
    """Rows without a gold answer can rank nothing and stay with the others."""
    identity = str(row.get("same_text_as", row["id"]))
    return row["gold_answer"] is not None and in_share("heldout", identity, params["heldout_fraction"])


def new_texts(added: list[Row], rows: list[Row], known: list[Texts], threshold: float) -> tuple[list[Row], int]:
    """The variants that are no other question of the data, and how many are one."""
    seen = {whole_text(row["question"]) for row in rows}
    kept = []
    for row in added:
        text = whole_text(row["question"])
        close = (found for texts in known if (found := texts.best(row["question"])))
        if text not in seen and not any(too_close(found, threshold) for found in close):
            seen.add(text)
            kept.append(row)
    return kept, len(added) - len(kept)


def part_of(row: Row, rollout_fraction: float) -> str:
    """`rollouts` for this share of the questions, with their variants, else `sft` (`sft.part`, `generate.part`)."""
    identity = str(row.get("variant_of", row.get("same_text_as", row["id"])))
    return "rollouts" if in_share("rollouts", identity, rollout_fraction) else "sft"


if __name__ == "__main__":
    run(main)
