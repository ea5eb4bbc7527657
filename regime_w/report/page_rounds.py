"""Sections on the rounds: rollouts, coherence, preference pairs, training."""

from collections.abc import Iterable
from typing import Any

from regime_w.report import figures
from regime_w.report.blocks import ROUND_FIGURES, Block, cell, estimate, figure, table, text, title, together
from regime_w.report.format import MINUS, NONE, duration, label, number, percent

FIRST_TRAININGS = 2  # that have plots whatever the number of rounds: SFT and the first round


def rollouts(summary: dict[str, Any]) -> Iterable[Block]:
    shown = list(summary["rollouts"])[-ROUND_FIGURES:]
    for name, found in summary["rollouts"].items():
        yield title(f"Rollouts of {label(name)}")
        f, seen, again = found["format"], found["seen_by_sft"], found["seen_by_rounds"]
        learnt = "" if seen is None else f", {seen:,} of which SFT was trained on"
        if again:
            learnt += f", {again:,} of which a round before asked too, with the same or other numbers"
        yield text(
            f"{found['trajectories']:,} trajectories of {found['questions']:,} questions{learnt}; correct "
            f"{percent(found['accuracy']['value'])}, majority {percent(found['majority']['value'])}, at least one correct "
            f"{percent(found['any_correct'])}; all arms agree on {percent(found['unanimous'])} of the questions. Well formed "
            f"{percent(f['well_formed'])}, no answer {percent(f['no_answer'])}, truncated {percent(f['truncated'])}."
        )
        for kind in ("arms", "styles"):
            if found[kind]:
                yield _arm_table(found[kind], kind)
        if name in shown:
            if found["arms"]:
                alt = ", ".join(f"{arm} {percent(own['accuracy']['value'])}" for arm, own in found["arms"].items())
                yield figure(
                    figures.arms(found["arms"], f"arms-{name}"),
                    f"Accuracy of each arm, {label(name)}",
                    f"Accuracy by arm: {alt}.",
                )
            counts = found["correct_per_question"]
            yield figure(
                figures.correct_per_question(counts, f"right-{name}"),
                "Questions by how many of their trajectories are right; the grey ends make no correctness pair",
                "Questions by number of correct trajectories: "
                + ", ".join(f"{n}: {count}" for n, count in counts.items()),
            )
        suspects = found["label_suspects"]
        yield text(
            f"Labels to look at: on {suspects['count']} questions all arms agree on another answer than gold. "
            f"math-verify reads {found['math_verify']['disagreements']} answers otherwise than this pipeline."
        )
        if kinds := found["faults"]["kinds"]:
            yield text(
                f"The verifier failed on {found['faults']['count']:,} trajectories, which count as wrong: "
                + ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
                + "."
            )
            yield _suspects("The verifier failed", found["faults"]["shown"], "what happened")
        yield from label_suspects(found)
        if found["math_verify"]["shown"]:
            yield _suspects("math-verify disagrees", found["math_verify"]["shown"])


def label_suspects(found: dict[str, Any]) -> Iterable[Block]:
    """The questions of a round on which all arms agree on another answer than gold."""
    if found["label_suspects"]["shown"]:
        yield _suspects("All arms agree, but not with gold", found["label_suspects"]["shown"])


def _arm_table(groups: dict[str, Any], kind: str) -> Block:
    rows = [
        [
            cell(name),
            *([cell(NONE if own["temperature"] is None else f"{own['temperature']:g}")] if kind == "arms" else []),
            cell(number(own["n"])),
            estimate(own["accuracy"]),
            cell(number(own["consistency"])),
            cell(number(own["reward_mean"])),
            *(cell(percent(own["format"][key])) for key in ("well_formed", "no_answer", "truncated")),
            cell(number(own["format"]["tokens_mean"], 0)),
        ]
        for name, own in groups.items()
    ]
    columns = ["arm", "temperature"] if kind == "arms" else ["style"]
    columns += ["trajectories", "correct", "consistency", "reward"]
    return table([*columns, "well formed", "no answer", "truncated", "tokens"], rows)


def _suspects(caption: str, cases: list[dict[str, Any]], said: str = "answer") -> Block:
    rows = [
        [cell(case["id"]), cell(case["question"]), cell(case["gold_answer"]), cell(case["answer"] or NONE)]
        for case in cases
    ]
    return table(["id", "question", "gold", said], rows, caption=f"{caption} (first {len(rows)})", left=2, folded=True)


def labels(summary: dict[str, Any]) -> Iterable[Block]:
    """What labels without gold are worth, held against gold where it is known."""
    if not summary["labels"]:
        return
    yield text(
        "Labels are not simply the gold answers here: what the page says of rollouts as correct is by the label. Below they are "
        "held against gold, which no training read. Coverage: share of the labels asked for that at least this share of the "
        "trajectories gives, ties none. Precision: share of these that are right. A pair is right where gold would make it too."
    )
    for name, found in summary["labels"].items():
        yield title(f"Labels of {label(name)}")
        yield text(f"Gold is known of {found['with_gold']:,} of {found['questions']:,} questions.")
        if not found["with_gold"]:
            continue
        rows = [
            [
                cell(way),
                cell(percent(row["min_agreement"])),
                cell(number(row["labels"])),
                cell(percent(row["coverage"])),
                cell(percent(row["precision"]), f"{percent(row['low'])} to {percent(row['high'])}"),
                cell(number(row["pairs"])),
                cell(NONE if row["pair_precision"] is None else percent(row["pair_precision"])),
            ]
            for way, own in found["ways"].items()
            for row in own
            if row["labels"]
        ]
        columns = ["labels by", "agreement at least", "labels", "coverage", "precision", "pairs", "right pairs"]
        yield table(columns, rows, left=1, folded=True, caption="Precision and coverage by agreement")
        firsts = "; ".join(
            f"{way} {percent(own[0]['coverage'])} covered, {percent(own[0]['precision'])} right"
            for way, own in found["ways"].items()
            if own[0]["labels"]
        )
        yield figure(
            figures.labels(found["ways"], f"labels-{name}"),
            f"Precision of labels over their coverage, {label(name)}; a dot a threshold of agreement",
            f"Precision over coverage; without a threshold: {firsts}.",
        )


def coherence(summary: dict[str, Any]) -> Iterable[Block]:
    rounds = {name: found for name, found in summary["rollouts"].items() if found["coherence"]}
    rows = [
        [
            cell(label(name)),
            cell(term),
            cell(number(use["mean"])),
            cell(number(use["auc"])),
            cell(number(use["auc_within"])),
            cell(number(use["length_correlation"])),
        ]
        for name, found in rounds.items()
        for term, use in found["coherence"].items()
    ]
    if not rows:
        return
    uses = table(["round", "term", "mean", "AUC", "AUC in a question", "correlation with length"], rows, left=2)
    plots = [
        figure(
            figures.calibration(found["calibration"], f"coherence-{name}"),
            f"Share correct by coherence, {label(name)}; a dot's area is its number of trajectories",
            "Share correct by coherence: "
            + ", ".join(
                f"{b['low']:.1f} to {b['high']:.1f}: {percent(b['accuracy'], 0)}" for b in found["calibration"]
            ),
        )
        for name, found in list(rounds.items())[-ROUND_FIGURES:]
        if found["calibration"]
    ]
    yield from together(uses, plots)
    rates = ", ".join(
        f"{label(name)} {number(found['coherence']['s_end']['mean'])}"
        for name, found in rounds.items()
        if "s_end" in found["coherence"]
    )
    yield text(
        f"Pairwise consistency rate (mean s_end, the share of pairs of trajectories with the same answer): {rates}. AUC: chance "
        f"that a correct trajectory has the higher coherence of two, 0.5 is a coin; in a question, it is averaged over questions "
        f"with right and wrong trajectories, which is what ranking pairs needs. The correlation is Spearman's."
    )


def examples(summary: dict[str, Any]) -> Iterable[Block]:
    """What the rounds trained on: preference pairs, or correct trajectories."""
    if summary["preferences"]:
        yield from _pairs(summary["preferences"])
    if summary["samples"]:
        yield _samples(summary["samples"])


def _samples(found: dict[str, dict[str, Any]]) -> Block:
    lines = {"questions": "questions", "with a correct trajectory": "questions_with_samples"}
    lines |= {"correct trajectories": "correct", "kept": "kept"}
    rows = [[cell(caption), *(cell(number(own[key])) for own in found.values())] for caption, key in lines.items()]
    reasons = dict.fromkeys(reason for own in found.values() for reason in own["dropped"])
    rows += [
        [
            cell(f"dropped: {reason.replace('_', ' ')}"),
            *(cell(number(own["dropped"][reason])) for own in found.values()),
        ]
        for reason in reasons
    ]
    rows.append([cell("mean tokens"), *(cell(number(own["tokens_mean"], 1)) for own in found.values())])
    return table(["samples for fine-tuning", *map(label, found)], rows, sortable=False)


def _pairs(found: dict[str, dict[str, Any]]) -> Iterable[Block]:
    names = list(found)
    lines: list[tuple[str, list[Any]]] = [
        (caption, [found[name].get(key) for name in names])
        for caption, key in (
            ("questions", "questions"),
            ("questions with pairs", "questions_with_pairs"),
            ("candidate pairs", "candidates"),
            ("kept", "kept"),
        )
    ]
    for group, word in (("kept_by_type", "kept"), ("dropped", "dropped"), ("no_pair_reasons", "no pair")):
        keys = dict.fromkeys(key for name in names for key in found[name].get(group) or {})
        lines += [
            (f"{word}: {key.replace('_', ' ')}", [(found[name].get(group) or {}).get(key, 0) for name in names])
            for key in keys
        ]
    lines += [
        (f"mean tokens of the {side} side", [found[name].get(f"{side}_tokens_mean") for name in names])
        for side in ("chosen", "rejected")
    ]
    lines.append(
        ("all arms agree, but not with gold", [len(found[name].get("unanimous_not_gold") or []) for name in names])
    )
    rows = [[cell(caption), *(cell(number(value, 1)) for value in values)] for caption, values in lines]
    counted, plots = table(["pairs", *map(label, names)], rows, sortable=False), []
    for name in names[-ROUND_FIGURES:]:
        kept, dropped = found[name].get("kept_by_type") or {}, found[name].get("dropped") or {}
        if any(kept.values()) or any(dropped.values()):
            counts = ", ".join(f"{key} {count}" for key, count in (kept | dropped).items() if count)
            plots.append(
                figure(
                    figures.pairs(kept, dropped, f"pairs-{name}"),
                    f"Candidate pairs of {label(name)}: kept by type, dropped by reason",
                    f"Candidate pairs: {counts}.",
                )
            )
    yield from together(counted, plots)


def training(summary: dict[str, Any]) -> Iterable[Block]:
    found = summary["training"]
    if not found:
        return
    keys = {
        "loss": "loss",
        "margin": "rewards/margins",
        "accuracy": "rewards/accuracies",
        "log p chosen": "logps/chosen",
    }
    rows = [
        [
            cell(label(name)),
            *(cell(number(record.get(key))) for key in ("examples", "steps", "tokens")),
            cell(duration(record.get("seconds"))),
            *(_change(record, key) for key in keys.values()),
            cell("none", tone="better") if not record["alarm"] else cell("fired", record["alarm"], "worse"),
        ]
        for name, record in found.items()
    ]
    yield table(["training", "examples", "steps", "tokens", "time", *keys, "alarm"], rows)
    yield text(
        "Curves from first to last logged step. Log-probabilities are sums over a completion, in nats; the alarm fires when "
        "that of the chosen side falls below its start on the same pairs, which is how DPO unlearns what it was shown."
    )
    with_curves = {name: record for name, record in found.items() if set(record["curves"]) - {"learning_rate"}}
    for place, (name, record) in enumerate(with_curves.items()):
        if FIRST_TRAININGS <= place < len(with_curves) - ROUND_FIGURES:
            continue
        ends = ", ".join(
            f"{key} {number(record['first'][key])} to {number(record['last'][key])}" for key in record["curves"]
        )
        yield figure(
            figures.training(record["curves"], f"training-{name}"), f"Training of {label(name)}", f"Curves: {ends}."
        )


def _change(record: dict[str, Any], key: str) -> dict[str, str]:
    if key not in record["first"]:
        return cell(NONE)
    return cell(f"{number(record['first'][key])} → {number(record['last'][key])}".replace("-", MINUS))
