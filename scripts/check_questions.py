"""Hold the parts and the evaluation sets against each other, and sum up all questions of a run: what the reports read.

    python -m scripts.check_questions --params '{"overlap_ngram": 8, "overlap_drop": 0.5, "sft_known": true}' \
        --sets data/demo/questions/eval/platinum.jsonl --set-summaries data/demo/questions/eval/platinum.json \
        --train data/demo/questions/train.jsonl --heldout data/demo/questions/heldout.jsonl \
        --train-summary data/demo/questions/train.json \
        --parts data/demo/questions/sft.jsonl data/demo/questions/round1.jsonl --output data/demo/questions/summary.json

Training questions that stood in evaluation were dropped when they were fetched. A set that came later retrains nothing:
its questions that stand in the training data are named here (`left_out`), and the reports leave them out.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from regime_w.questions.overlap import Texts
from regime_w.runtime.errors import run
from regime_w.runtime.records import from_argument, iter_jsonl
from regime_w.runtime.seals import check_all, read_record, require_same, write_record

log = logging.getLogger(__name__)

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="overlap_ngram, overlap_drop, sft_known")
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="SET.jsonl of each evaluation set")
    parser.add_argument("--set-summaries", type=Path, nargs="+", required=True, help="SET.json of each")
    parser.add_argument(
        "--train", type=Path, nargs="*", default=[], help="all training questions, where the run has any"
    )
    parser.add_argument("--train-summary", type=Path, nargs="*", default=[])
    parser.add_argument("--heldout", type=Path, nargs="*", default=[])
    parser.add_argument("--parts", type=Path, nargs="*", default=[], help="sft.jsonl, round1.jsonl, ...")
    parser.add_argument("--given", type=Path, nargs="*", default=[], help="what an import noted of another tool's work")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    check_all([*args.sets, *args.heldout])
    for train in check_all(args.train):
        for part in check_all(args.parts):
            require_same(part, "train", train.path, train.sha256)
    evaluation = Texts(params["overlap_ngram"])
    sets = {path.stem: list(iter_jsonl(path, ("id", "question"))) for path in args.sets}
    for name, rows in sets.items():
        for row in rows:
            evaluation.add(name, row)
    parts = {path.stem: list(iter_jsonl(path, ("id", "question"))) for path in args.parts}
    known = dict.fromkeys(
        row["question"] for path in (*args.train, *args.heldout) for row in iter_jsonl(path, ("id", "question"))
    )
    known |= dict.fromkeys(row["question"] for rows in parts.values() for row in rows)
    taken = {key for text in known for key in evaluation.all_close(text, params["overlap_drop"])}
    told = {path.stem: read_record(path) for path in args.set_summaries}
    summary: dict[str, Any] = {
        "parts": count_parts(parts, params["sft_known"]),
        "train": {key: value for path in args.train_summary for key, value in read_record(path).items()},
        "eval": {
            name: told[name]
            | {
                "left_out": [row["id"] for row in rows if (name, row["id"]) in taken],
                "in_other_sets": in_others(name, rows, evaluation, params["overlap_drop"]),
            }
            for name, rows in sets.items()
        },
    }
    for path in args.given:
        summary["start"] = read_record(path)["taken_from"]
    write_record(args.output, summary)
    shown = ", ".join(f"{len(rows)} {name}" for name, rows in (parts | sets).items())
    log.info(f"Questions: {shown} -> {args.output}")
    for name, own in summary["eval"].items():
        if own["left_out"]:
            log.info(
                f"{name}: {len(own['left_out'])} of its questions stand in the training data, which was fetched before this set; "
                "the reports leave them out. To train without them instead: snakemake --forcerun fetch_questions"
            )


def count_parts(parts: dict[str, list[Row]], sft_known: bool) -> dict[str, Any]:
    """Questions and variants of each part; of a round also those that SFT, or a round before, was given.

    A variant with other numbers is another question than the one it varies for SFT, the same one for rounds.
    """
    sft = {row["id"] for row in parts.get("sft", [])}
    before: set[Any] = set()
    counts: dict[str, Any] = {}
    for name, rows in parts.items():
        counts[name] = {"questions": len(rows), "variants": sum("variant_of" in row for row in rows)}
        if name != "sft":
            counts[name]["seen_by_sft"] = sum(row["id"] in sft for row in rows) if sft_known else None
            counts[name]["seen_by_rounds"] = sum(row.get("variant_of", row["id"]) in before for row in rows)
            before |= {row.get("variant_of", row["id"]) for row in rows}
    return counts


def in_others(name: str, rows: list[Row], evaluation: Texts, threshold: float) -> dict[str, int]:
    """How many questions of a set each other set has, too."""
    counts: dict[str, int] = {}
    for row in rows:
        for other in {other for other, _ in evaluation.all_close(row["question"], threshold)} - {name}:
            counts[other] = counts.get(other, 0) + 1
    return counts


if __name__ == "__main__":
    run(main)
