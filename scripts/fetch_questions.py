"""Fetch training and evaluation questions, split the held-out part off, drop training questions found in evaluation,
add variants of training questions with other numbers.

    python -m scripts.fetch_questions --params '{"train": {...}, "eval": {...}, ...}' \
        --train train.jsonl --heldout heldout.jsonl --eval eval.jsonl --summary questions.json

Record: {"id": "train-00017", "question": "...", "answer": "rationale\n#### 18", "gold_answer": "18", "part": "sft"}
A variant's has "variant_of" besides; it stands in the part of the question that it varies.
"""

import argparse
import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from regime_w.questions.calculations import without_annotations
from regime_w.questions.corrections import corrections_of
from regime_w.questions.synthetic import generate
from regime_w.questions.variants import Template, read
from regime_w.runtime.compute import threads
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.parallel import in_order
from regime_w.runtime.progress import Progress
from regime_w.runtime.records import from_argument, iter_jsonl, sha256_file, write_json, write_jsonl
from regime_w.tasks.answers import gold_from_rationale, normalise

SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True, help="config section questions")
    for name in ("train", "heldout", "eval", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = args.params

    loaded = {name: load_source(name, params[name]) for name in ("train", "eval")}
    overlap = find_overlap(loaded["train"], loaded["eval"], params["overlap_ngram"])
    dropped = {i for i, entry in overlap.items() if entry["coverage"] >= params["overlap_drop"]}
    kept = [row for row in loaded["train"] if row["id"] not in dropped]
    heldout = [row for row in kept if drawn("heldout", row["id"], params["heldout_fraction"])]
    own = [row for row in kept if not drawn("heldout", row["id"], params["heldout_fraction"])]
    added = variants(own, params["variants"], params["train"]["seed"])
    train = [row | {"part": part_of(row, params["rollout_fraction"])} for row in (*own, *added)]

    write_jsonl(args.train, map(plain, train))
    write_jsonl(args.heldout, map(plain, heldout))
    write_jsonl(args.eval, map(plain, loaded["eval"]))
    evaluated = {_words(row["question"]) for row in loaded["eval"]}
    exact = len({words for row in loaded["train"] if (words := _words(row["question"])) in evaluated})
    summary = {
        "counts": {
            "train": len(train),
            "variants": len(added),
            "questions_varied": len({row["variant_of"] for row in added}),
            "parts": dict(Counter(row["part"] for row in train)),
            "heldout": len(heldout),
            "eval": len(loaded["eval"]),
        },
        **{name: describe(params[name]) for name in ("train", "eval")},
        "overlap": {
            "exact": exact,
            "ngram": params["overlap_ngram"],
            "questions_sharing_an_ngram": len(overlap),
            "drop_threshold": params["overlap_drop"],
            "dropped": sorted(dropped),
            "highest": sorted(overlap.values(), key=lambda entry: -entry["coverage"])[:SHOWN],
        },
    }
    write_json(args.summary, summary)
    print(
        f"{len(train)} training ({len(added)} of them variants), {len(heldout)} held-out, "
        f"{len(loaded['eval'])} evaluation questions; {exact} exact duplicates, "
        f"{len(dropped)} training questions dropped for overlap"
    )


def load_source(name: str, source: dict[str, Any]) -> list[dict[str, Any]]:
    """Question records of one source, in its order, answers still annotated; UserError names the line or id of a bad one."""
    if source["source"] == "synthetic":
        rows: Iterable[dict[str, Any]] = generate(source["n"] or 1000, source["split"], source["seed"])
    elif source["source"] == "file":
        rows = iter_jsonl(source["path"], required=("question", "answer"))
    else:
        rows = _from_hub(source)
    corrections = corrections_of(source["corrections"])
    records = [_record(name, number, row, corrections) for number, row in enumerate(rows)]
    if not records:
        raise UserError(f"questions.{name}: no questions found; check the source")
    if source["n"]:
        if len(records) < source["n"]:
            raise UserError(f"questions.{name}.n asks for {source['n']} questions, the source has {len(records)}")
        records = records[: source["n"]]
    counted = Counter(record["id"] for record in records)
    if twice := [identity for identity, count in counted.items() if count > 1]:
        raise UserError(f"questions.{name}: the id {twice[0]!r:.80} stands {counted[twice[0]]} times; ids must differ")
    unknown = set(corrections) - {record["id"] for record in records}
    if unknown and not source["n"]:
        raise UserError(f"questions.{name}.corrections names {sorted(unknown)[0]!r}, which is no question's id")
    return records


def _from_hub(source: dict[str, Any]) -> Iterable[dict[str, Any]]:
    from datasets import load_dataset

    try:
        return list(
            load_dataset(source["hub_id"], source["hub_config"], split=source["split"], revision=source["revision"])
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source['hub_id']}: cannot be had from the hub ({error}); "
            "without network set source: file and a path in the config"
        ) from None


def _record(name: str, number: int, row: dict[str, Any], corrections: dict[str, str]) -> dict[str, Any]:
    identity = str(row.get("id", f"{name}-{number:05d}"))
    answer = str(row["answer"]).strip()
    if identity in corrections:
        answer = _corrected(identity, answer, corrections[identity])
    gold = gold_from_rationale(answer)
    where = f"question {identity!r:.80} (number {number + 1} of questions.{name})"
    if normalise(gold) is None:
        raise UserError(f"{where}: no number after #### in its answer ({answer[-40:]!r})")
    question, rationales = str(row["question"]).strip(), row.get("rationales") or {}
    if not (identity and question):
        raise UserError(f"{where}: id and question must not be empty")
    if not (isinstance(rationales, dict) and all(isinstance(text, str) for text in rationales.values())):
        raise UserError(f"{where}: rationales must be texts by style")
    record: dict[str, Any] = {"id": identity, "question": question, "answer": answer, "gold_answer": gold}
    if identity in corrections:
        record["corrected"] = True
    return record | ({"rationales": rationales} if rationales else {})


def _corrected(identity: str, answer: str, correction: str) -> str:
    """The answer with its label replaced; `WAS -> IS` only where the label is WAS, so that no other question's is."""
    rationale, _, label = answer.rpartition("####")
    was, arrow, right = (part.strip() for part in correction.rpartition("->"))
    if arrow and normalise(label) != normalise(was):
        raise UserError(
            f"question {identity}: its label is {label.strip()!r}, corrections expects {was!r}; is this another data set?"
        )
    return f"{rationale.rstrip()}\n#### {right}"


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """The record without calculator annotations: they teach a model a notation that its own format does not have."""
    return row | {"answer": without_annotations(row["answer"]).strip()}


def variants(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Up to `count` records a question with other numbers (regime_w/questions/variants.py): each question's first, then each
    one's second, and so on, so that a prefix holds all questions alike.

    Questions with a corrected label, or with rationales by style, have none. UserError where no question has one.
    """
    templates: list[tuple[str, Template]] = []
    for row in rows if count else ():
        if not (row.get("corrected") or row.get("rationales")) and (found := read(row["question"], row["answer"])):
            templates.append((row["id"], found))
    progress = Progress(max(1, len(templates)), "Varied", unit="questions")
    varied = []
    for own in in_order(_vary, templates, threads(), (count, seed)):
        varied.append(own)
        progress.update(1)
    progress.close()
    made = []
    for number in range(1, count + 1):
        for (identity, _), own in zip(templates, varied, strict=True):
            if number not in own:
                continue
            question, answer = own[number]
            made.append(
                {
                    "id": f"{identity}-v{number}",
                    "question": question,
                    "answer": answer,
                    "gold_answer": gold_from_rationale(answer),
                    "variant_of": identity,
                }
            )
    if count and not made:
        raise UserError(
            "questions.variants: no question's answer writes out calculations (48/2 = 24) that say where its numbers go; "
            "set it to 0"
        )
    return made


def _vary(params: tuple[int, int], task: tuple[str, Template]) -> dict[int, tuple[str, str]]:
    """A question's variants by number, less those that are alike."""
    (count, seed), (identity, template) = params, task
    seen = {template.question}
    found = {}
    for number in range(1, count + 1):
        variant = template.vary(random.Random(f"{seed}:{identity}:{number}"))
        if variant is not None and variant[0] not in seen:
            seen.add(variant[0])
            found[number] = variant
    return found


def drawn(what: str, identity: str, fraction: float) -> bool:
    """By hash of the id, so that adding questions moves none between the parts."""
    return int(hashlib.sha256(f"{what}:{identity}".encode()).hexdigest()[:8], 16) / 2**32 < fraction


def part_of(row: dict[str, Any], rollout_fraction: float) -> str:
    """`rollouts` for this share of the questions, with their variants, else `sft` (`sft.part`, `generate.part`)."""
    return "rollouts" if drawn("rollouts", row.get("variant_of", row["id"]), rollout_fraction) else "sft"


def find_overlap(train: list[dict[str, Any]], evaluation: list[dict[str, Any]], n: int) -> dict[str, dict[str, Any]]:
    """For each training question that shares an n-gram of words with an evaluation question, the share of that
    question's n-grams that it covers at most ({id: {"train", "eval", "coverage"}})."""
    grams = {row["id"]: _ngrams(row["question"], n) for row in evaluation}
    owners: dict[tuple[str, ...], list[str]] = {}
    for identity, own in grams.items():
        for gram in own:
            owners.setdefault(gram, []).append(identity)
    found: dict[str, dict[str, Any]] = {}
    for row in train:
        shared: dict[str, int] = {}
        for gram in _ngrams(row["question"], n):
            for identity in owners.get(gram, ()):
                shared[identity] = shared.get(identity, 0) + 1
        if shared:
            best = max(shared, key=lambda identity: (shared[identity] / len(grams[identity]), identity))
            coverage = round(shared[best] / len(grams[best]), 4)
            found[row["id"]] = {"train": row["id"], "eval": best, "coverage": coverage}
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = _words(text)
    return {words[i : i + n] for i in range(len(words) - n + 1)}


def describe(source: dict[str, Any]) -> dict[str, Any]:
    """What questions.json says of a source: its hub id and revision, or its file with hash, and the licence."""
    keys = {"synthetic": ("split", "seed"), "file": ("path",), "hub": ("hub_id", "hub_config", "revision", "split")}
    described = {"source": source["source"], **{key: source[key] for key in keys[source["source"]]}}
    if source["source"] == "file":
        described["sha256"] = sha256_file(Path(source["path"]))
    return described | {"licence": source["licence"], "corrections": len(corrections_of(source["corrections"]))}


if __name__ == "__main__":
    run(main)
