"""Writes the tables of docs/ from the records beside them, between their marks.

    python -m docs.tables            # rewrites README.md, docs/method.md, docs/results.md and docs/studies/*.md
    python -m docs.tables --check    # exit status 1 where a page is not what its records give

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of `TABLES`. Answers whose texts are kept
are graded again first; of the first studies each question's scores are kept instead.
"""

import argparse
import json
import lzma
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from regime_w.method.pairs import similarity_of
from regime_w.method.statistics import holm
from regime_w.method.sums import holds
from regime_w.report.evaluation import Settings, model_row, scores
from regime_w.report.inputs import note_sums
from regime_w.report.marks import markdown_table, put_tables, tables_of
from regime_w.runtime.records import read_json, write_text
from regime_w.tasks.verifiers import open_verifier
from scripts.benchmark.benchmark_report import dpo_flops, joined, mfu, peak_of
from scripts.evaluate import graded as answer

DOCS = Path(__file__).resolve().parent
# Thresholds that the method page shows; `labels.json` has them all.
LABEL_AGREEMENTS = {
    "vote": (0, 0.5, 0.75),
    "vote, marked": (),
    "vote, sums hold": (0, 0.5, 0.75),
    "cross_style": (0, 0.75),
    "cross_style, sums hold": (0.75,),
    "random": (0,),
}
PAGES = [DOCS.parent / "README.md", DOCS / "method.md", DOCS / "results.md", *sorted((DOCS / "studies").glob("*.md"))]
RUN = Settings(level=0.95, n_boot=10_000, seed=0)
STUDY = Settings(level=0.95, n_boot=20_000, seed=0)
NUMBER = open_verifier({"verifier": "number", "timeout": 10})
MODELS = {"base": "base", "sft": "SFT", "round1": "round 1", "round2": "round 2"}

QWEN_COLUMNS = {
    "greedy": "greedy",
    "mean of 8": "mean",
    "mean of 8, flexible": "flexible_mean",
    "pass@8": "pass",
    "samples cut off": "truncated",
}

Rows = list[list[str]]
Row = dict[str, Any]


# Records


def lines(path: str) -> list[Row]:
    """Of a compressed JSONL file below docs/results."""
    with lzma.open(DOCS / "results" / path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@cache
def records(name: str, *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Records of docs/results/{name} by the values of `keys`, graded again."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in lines(f"{name}/records.jsonl.xz"):
        found.setdefault(tuple(row.pop(key) for key in keys), []).append(graded(row))
    return found


def graded(row: Row) -> Row:
    """An evaluation record with its answers read from their texts again."""

    def again(out: Row) -> Row:
        made = {name: out[name] for name in ("text", "num_tokens", "finish_reason")}
        return answer(made, out["seed"], NUMBER.grade(out["text"], row["gold_answer"]))

    graded_row = row | {"greedy": again(row["greedy"]), "samples": [again(out) for out in row["samples"]]}
    note_sums(graded_row)
    return graded_row


@cache
def of_study(name: str, part: str) -> dict[str, list[Row]]:
    """Records of a study's recipes on `heldout` or `eval` questions."""
    return {recipe: rows for (where, recipe), rows in records(name, "part", "recipe").items() if where == part}


@cache
def kept(name: str) -> Row:
    """What docs/results/{name} keeps instead of texts: `scores` by part, recipe and measure, a value a question of `ids`."""
    [found] = lines(f"{name}/scores.json.xz")
    return found


@cache
def scores_of(name: str, part: str) -> dict[str, dict[str, list[float]]]:
    """Each recipe's scores by measure, a value a question; from texts where they are kept."""
    if (DOCS / "results" / name / "records.jsonl.xz").is_file():
        return {recipe: scores(rows) for recipe, rows in of_study(name, part).items()}
    return {recipe: found for recipe, found in kept(name)["scores"][part].items() if ", round" not in recipe}


@cache
def benchmark(name: str) -> Row:
    return read_json(DOCS / "results/benchmark" / f"{name}.json")


# Models and recipes


def share(measure: Row) -> str:
    return f"{100 * measure['value']:.1f} % ({100 * measure['low']:.1f} to {100 * measure['high']:.1f})"


def points(found: Row, sign: str = "+") -> str:
    difference, low, high = (f"{100 * found[key]:{sign}.1f}" for key in ("difference", "low", "high"))
    return f"{difference} ({low} to {high})"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def model_cells(name: str, found: Row, columns: tuple[str, ...]) -> list[str]:
    well_formed = 100 * found["format"]["greedy"]["well_formed"]
    return [name, *(share(found[column]) for column in columns), share(found["pass"]["8"]), f"{well_formed:.1f} %"]


def row_of_scores(of: dict[str, list[float]], settings: Settings) -> Row:
    """What `model_cells` needs, from scores of 8 samples a question."""
    found: Row = {measure: settings.mean(values) for measure, values in of.items()}
    return found | {"pass": {"8": found["pass"]}, "format": {"greedy": {"well_formed": mean(of["well_formed"])}}}


def run_table(rows: dict[str, Row]) -> str:
    """The models of one run."""
    columns = ["model", "greedy", "mean of 8", "majority of 8", "pass@8", "well formed"]
    cells = [model_cells(MODELS[name], row, ("greedy", "mean", "majority")) for name, row in rows.items()]
    return markdown_table(columns, cells)


def demo() -> str:
    return run_table({model: model_row(model, rows, RUN) for (model,), rows in records("demo", "model").items()})


def first_run() -> str:
    return run_table({model: row_of_scores(of, RUN) for model, of in scores_of("smollm2", "eval").items()})


def heldout(name: str, k: int) -> tuple[list[str], Rows]:
    """Columns and rows of a study's recipes on held-out questions, best first."""
    of = scores_of(name, "heldout")
    rows = []
    for recipe in sorted(of, key=lambda recipe: -mean(of[recipe]["mean"])):
        cells = [recipe, *(share(STUDY.mean(of[recipe][measure])) for measure in ("mean", "greedy", "pass"))]
        for other in ("sft", "dpo"):
            found = STUDY.difference(of[recipe]["mean"], of[other]["mean"])
            cells.append("" if recipe == other else points(found))
        rows.append(cells)
    return ["recipe", f"mean of {k}, held out", "greedy", f"pass@{k}", "against sft", "against dpo"], rows


def heldout_table(name: str, k: int) -> Callable[[], str]:
    return lambda: markdown_table(*heldout(name, k))


def evaluation_table(name: str, recipes: list[str] | None = None) -> Callable[[], str]:
    """The recipes that were read on the evaluation questions."""

    def made() -> str:
        if "report" in (kept(name) if not (DOCS / "results" / name / "records.jsonl.xz").is_file() else {}):
            rows = kept(name)["report"]["evaluation"]["rows"]
        elif (DOCS / "results" / name / "records.jsonl.xz").is_file():
            rows = {recipe: model_row(recipe, found, STUDY) for recipe, found in of_study(name, "eval").items()}
        else:
            rows = {recipe: row_of_scores(of, STUDY) for recipe, of in scores_of(name, "eval").items()}
        columns = ["recipe", "mean of 8", "greedy", "majority of 8", "pass@8", "well formed"]
        wanted = recipes or list(rows)
        return markdown_table(
            columns, [model_cells(name, rows[name], ("mean", "greedy", "majority")) for name in wanted]
        )

    return made


def differences(name: str, comparisons: list[tuple[str, str, str, str]]) -> Callable[[], str]:
    """Differences that a study's text quotes: (measure, part, recipe, other), part `both` for held-out and evaluation questions.

    p values as they are and Holm-adjusted for the rows of the table.
    """

    def made() -> str:
        found = []
        for measure, part, recipe, other in comparisons:
            parts = ("heldout", "eval") if part == "both" else (part,)
            ours, theirs = (
                [value for own in parts for value in scores_of(name, own)[which][measure]] for which in (recipe, other)
            )
            found.append(STUDY.difference(ours, theirs))
        adjusted = holm([row["p"] for row in found])
        titles = {"heldout": "held out", "eval": "evaluation", "both": "both"}
        rows = [
            [recipe, other, measure, titles[part], points(row), p_value(row["p"]), p_value(p)]
            for (measure, part, recipe, other), row, p in zip(comparisons, found, adjusted, strict=True)
        ]
        return markdown_table(["recipe", "against", "measure", "questions", "points", "p", "p, Holm"], rows)

    return made


# Single studies


def wrong_sums(outs: list[Row]) -> str:
    return f"{100 * sum(not holds(out['text']) for out in outs) / len(outs):.1f} %"


def split_heldout() -> str:
    right = read_json(DOCS / "results/demo_split/right_in_rollouts.json")
    columns, rows = heldout("demo_split", 8)
    rows = [[row[0], f"{right[row[0]]} %" if row[0] in right else "", *row[1:]] for row in rows]
    return markdown_table([columns[0], "right in the rollouts", *columns[1:]], rows)


def calculations_heldout() -> str:
    columns, rows = heldout("demo_calculations", 8)
    for row in rows:
        found = of_study("demo_calculations", "heldout")[row[0]]
        row += [wrong_sums([r["greedy"] for r in found]), wrong_sums([out for r in found for out in r["samples"]])]
    return markdown_table([*columns, "wrong sum, greedy", "sampled"], rows)


def near_copies() -> str:
    """Right trajectories of the third study beside GSM8K's own rationales."""
    alike: dict[str, list[float]] = {"rollouts": [], "heldout": []}
    for row in lines("smollm2_study_3/correct_texts.jsonl.xz"):
        alike[row["part"]].append(similarity_of(row["gold"], row["text"]))
    names = {"rollouts": "rollouts of SFT's own questions", "heldout": "held-out questions"}
    rows = [
        [
            said,
            str(len(alike[part])),
            f"{mean(value > 0.9 for value in alike[part]):.0%}".replace("%", " %"),
            f"{median(alike[part]):.2f}",
        ]
        for part, said in names.items()
    ]
    return markdown_table(["right answers to", "texts", "more than 0.9 alike with the rationale", "median"], rows)


def sums_of_study_4() -> str:
    rows = []
    for recipe in (
        "sft_originals",
        "sft",
        "sft_4_epochs",
        "sft_8_epochs",
        "sft_all_4_epochs",
        "dpo",
        "rejection_sampling",
    ):
        outs = [out for row in of_study("smollm2_study_4", "heldout")[recipe] for out in row["samples"]]
        others = [out for out in outs if holds(out["text"])]
        right = [f"{100 * sum(out['correct'] for out in part) / len(part):.1f} %" for part in (outs, others)]
        rows.append([recipe, right[0], wrong_sums(outs), right[1]])
    return markdown_table(
        ["recipe, held-out questions", "mean of 16", "answers with a wrong sum", "right, of the others"], rows
    )


def rollouts_of_study_4() -> str:
    found = read_json(DOCS / "results/smollm2_study_4/right_in_rollouts.json")
    names = {
        "dpo": "questions that SFT did not learn",
        "dpo_seen": "SFT's own",
        "dpo_new_numbers": "SFT's own, with new numbers",
    }
    rows = [
        [f"{said} (`{name}`)", f"{found[name]['right']} %", f"{found[name]['pairs']:,} of {found[name]['questions']:,}"]
        for name, said in names.items()
    ]
    return markdown_table(["rollouts of", "right", "pairs, of so many questions"], rows)


def second_round_of_study_5() -> str:
    of = scores_of("smollm2_study_5", "heldout")
    found = read_json(DOCS / "results/smollm2_study_5/right_in_rollouts.json")
    rows = [[policy, f"{rate} %", f"{100 * mean(of[policy]['mean']):.1f} %"] for policy, rate in found.items()]
    return markdown_table(["policy", "right on the second round's questions", "mean of 16, held out"], rows)


def demo_labels() -> str:
    """Labels without gold against gold, by way and by the agreement that is asked for."""
    rows = [
        [
            way,
            f"{of['min_agreement']:g}" if of["min_agreement"] else "none",
            f"{100 * of['coverage']:.1f} %",
            share({**of, "value": of["precision"]}),
            f"{of['pairs']:,}",
            f"{100 * of['pair_precision']:.1f} %",
        ]
        for way, found in read_json(DOCS / "results/demo/labels.json")["ways"].items()
        for of in found
        if of["min_agreement"] in LABEL_AGREEMENTS[way]
    ]
    return markdown_table(["labels by", "agreement at least", "coverage", "precision", "pairs", "right pairs"], rows)


def variants_by_hand() -> str:
    """Variants that were read by hand, and what was wrong with them."""
    read = read_json(DOCS / "results/labels/variants.json")
    found = [len(read[key]) for key in ("false", "false_as_their_question", "implausible")]
    head = ["variants made", "read", "false by the variation", "false as their question is", "implausible"]
    return markdown_table(head, [[f"{read['variants']:,}", str(len(read["ids"])), *map(str, found)]])


def qwen_coder() -> str:
    """Every model on every evaluation set, from each question's scores."""
    sets = {"platinum": "GSM8K Platinum", "svamp": "SVAMP", "math500": "MATH-500", "aqua": "AQuA"}
    rows = [
        [said, MODELS[model], *(share(RUN.mean(found[measure])) for measure in QWEN_COLUMNS.values())]
        for name, said in sets.items()
        for model, found in kept("qwen_coder")["scores"][name].items()
    ]
    return markdown_table(["questions", "model", *QWEN_COLUMNS], rows)


def qwen_coder_second_run() -> str:
    """What each sampling job of the second run did on its card."""
    rows = [
        [
            of["job"],
            f"{of['trajectories']:,}",
            f"{of['tokens'] / of['seconds']:,.0f}",
            f"{of['engine_start_s']:.0f} s",
            f"{of['seconds']:.0f} s",
        ]
        for of in read_json(DOCS / "results/qwen_coder/second_run.json")["sampling"]
    ]
    return markdown_table(["job", "trajectories", "tokens/s", "engines start", "sampling"], rows)


def qwen_coder_differences() -> str:
    """Round 1 against the start: mean of 8 and pass@8, p values Holm-adjusted for the rows."""
    found = []
    for name, of in kept("qwen_coder")["scores"].items():
        for measure, said in (("mean", "mean of 8"), ("flexible_mean", "mean of 8, flexible"), ("pass", "pass@8")):
            found.append((name, said, RUN.difference(of["round1"][measure], of["base"][measure])))
    adjusted = holm([row["p"] for *_, row in found])
    rows = [[name, said, points(row), p_value(p)] for (name, said, row), p in zip(found, adjusted, strict=True)]
    return markdown_table(["questions", "measure", "points", "p, Holm"], rows)


def wrong_sums_by_hand() -> str:
    found = read_json(DOCS / "results/labels/sums.json")
    called = found["called_wrong"]
    by_hand = sum(one["wrong_by_hand"] for one in called)
    heads = ["rationales", "sums read", "called wrong", "of these wrong by hand"]
    return markdown_table(
        heads, [[f"{found['questions']['rows']:,}", f"{found['sums_read']:,}", str(len(called)), str(by_hand)]]
    )


# Speed


def until_tail(mode: Row) -> str:
    """GPU utilisation."""
    return f"{mode['steady']['utilisation']:.0f} %"


def dpo_share(training: Row, seconds: float, part: float) -> float:
    """Share of an H100's peak, Abel-7B's shape with an adapter of rank 64 on all its 7 x 32 layers: this part of a training
    in so many seconds."""
    weights, embedding, lora = 7_241_732_096, 32_000 * 4096, 32 * 64 * 81_920
    flops = dpo_flops(weights - embedding, lora, 32, 4096, training["tokens"], training["preflight"]["mean_length"])
    return mfu(part * flops, seconds, 1, peak_of("NVIDIA H100 80GB HBM3"))


def speed() -> str:
    run = benchmark("one_run")
    modes, dpo = run["modes"], run["dpo"]
    jobs = {row["phase"]: row for row in run["phases"]}
    one, full = modes["pipeline"], modes["full"]
    merges = [jobs[name] for name in ("merge", "merge_dpo")]
    (evaluation,) = run["evaluations"].values()
    question = modes["one_question"]["tokens_per_second"]
    rows = [
        ["rollouts, 500 x 8, engine ready", f"{one['seconds']:.1f} s, {one['tokens_per_second']:,.0f} tokens/s"],
        [
            "the whole rollout job, cold and warm compile cache",
            f"{one['job_seconds']:.1f} and {jobs['generate']['seconds']:.1f} s",
        ],
        ["times the tokens/s of one question a vLLM call, eager", f"{one['tokens_per_second'] / question:.1f}"],
        ["GPU utilisation until the tail", until_tail(one)],
        [
            "7,473 x 8",
            f"{full['tokens_per_second']:,.0f} tokens/s, "
            f"{100 * full['tokens_per_second'] / one['steady']['tokens_per_second']:.0f} % of the steady rate, "
            f"{full['peak_memory_mb'] / 1024:.1f} GiB of host memory",
        ],
        ["small model, 2,200 x 8", f"{modes['small']['tokens_per_second']:,.0f} tokens/s"],
        [
            "merge of a 7B LoRA, disk to disk, verified",
            " and ".join(f"{job['seconds']:.1f}" for job in merges)
            + f" s, {max(job['peak_memory_mb'] for job in merges) / 1024:.1f} GiB",
        ],
        [
            "DPO, share of the card's peak",
            f"{100 * dpo['step_mfu']:.0f} % in the median step; {100 * dpo['mfu']:.0f} % with the step that compiles",
        ],
        ["DPO, 1,500 pairs", f"{dpo['seconds']:.0f} s; whole job {dpo['job_seconds']:.0f} s"],
        ["evaluation, 1,209 greedy and k = 8, engine ready", f"{evaluation['seconds']:.1f} s"],
        ["phases 2 to 5, every start counted", f"{sum(job['seconds'] for job in jobs.values()) / 60:.1f} minutes"],
    ]
    return markdown_table(["what", "measured"], rows)


def ways() -> str:
    alone, question, own = benchmark("one_run")["comparison"][:3]
    rows = []
    for way, row, took, ratio in (
        (
            "one trajectory at a time, transformers (sample: 8 trajectories)",
            alone, f"{alone['seconds'] / 60:.0f} min, extrapolated", "1",
        ),
        (
            "one question (8 requests) a call, vLLM eager, its own scheduler (sample: 8 questions)",
            question, f"{question['seconds'] / 60:.0f} min, extrapolated", f"{question['speed_up_one_at_a_time']:.1f}",
        ),
        ("this pipeline, engine ready", own, f"{own['seconds']:.1f} s", f"{own['speed_up_one_at_a_time']:.0f}"),
    ):  # fmt: skip
        rate = f"{row['tokens_per_second']:,.{1 if row is alone else 0}f}"
        rows.append([way, rate, took, ratio, f"{row['utilisation']:.0f} %"])
    return markdown_table(["way", "tokens/s", "for 500 x 8", "ratio", "GPU utilisation"], rows)


def phases() -> str:
    rows = benchmark("one_run")["phases"]
    cells = [
        [
            row["label"], f"{row['seconds']:.1f}", f"{row['peak_memory_mb'] / 1024:.1f}",
            "CPU" if row["utilisation"] is None else f"{row['utilisation']:.0f} %",
        ]
        for row in rows
    ]  # fmt: skip
    cells.append(["together", f"{sum(row['seconds'] for row in rows):.0f}", "", ""])
    return markdown_table(["job of the phases", "seconds", "host memory, GiB", "GPU utilisation"], cells)


def places() -> str:
    found = benchmark("side_by_side")["places given away together"]
    names = {
        "one by one": "one by one",
        "a 32nd": "a 32nd together",
        "a 32nd, cold": "a 32nd together, the cold job before them",
        "a 16th": "a 16th together",
    }
    rows = [
        [said, f"{mode['tokens_per_second']:,.0f}", f"{mode['steady']['tokens_per_second']:,.0f}", until_tail(mode)]
        for said, mode in ((said, found[name]) for name, said in names.items())
    ]
    return markdown_table(["free places are given away", "tokens/s", "steady", "GPU utilisation until the tail"], rows)


def compiling() -> str:
    rows = []
    for name, training in benchmark("side_by_side")["compiled layers"].items():
        lengths = {"preflight": {"mean_length": training["mean_length"]}}
        of_peak = dpo_share(training | lengths, training["step_seconds"], 64 / training["examples"])
        rows.append(
            [
                name, f"{training['step_seconds']:.2f} s, {100 * of_peak:.0f} % of the peak", f"{training['seconds']:.1f} s",
                f"{training['job_seconds']:.1f} s", f"{training['gpu_memory_mb'] / 1024:.1f} GiB",
            ]
        )  # fmt: skip
    columns = ["768 pairs, one machine, one after the other", "the median step", "training", "whole job", "GPU memory"]
    return markdown_table(columns, rows)


def two_gpus() -> str:
    modes = joined(benchmark("side_by_side")["two GPUs"])
    rows = []
    for label, name, each in (
        ("one GPU, 1,500 x 8", "full", ""),
        ("two GPUs, a shard each, 1,500 x 8", "full_shards", " each"),
        ("two GPUs, tensor parallel, 500 x 8", "tensor_parallel", ""),
    ):
        found = modes[name]
        rows.append(
            [
                label, f"{found['made']:,}", f"{found['tokens_per_second']:,.0f}", f"{found['seconds']:.1f} s",
                f"{found['utilisation']:.0f} %", f"{found['job_seconds']:.0f} s, {found['compile_cache']}",
                f"{found['peak_memory_mb'] / 1024:.1f} GiB{each}",
            ]
        )  # fmt: skip
    columns = ["way", "trajectories", "tokens/s", "engine ready to done", "GPU utilisation", "whole job", "host memory"]
    return markdown_table(columns, rows)


TABLES: dict[str, Callable[[], str]] = {
    "labels sums": wrong_sums_by_hand,
    "labels variants": variants_by_hand,
    "demo": demo,
    "demo_recipes heldout": heldout_table("demo_study", 8),
    "demo_recipes evaluation": evaluation_table("demo_study"),
    "demo_split heldout": split_heldout,
    "demo_split differences": differences(
        "demo_split",
        [
            ("mean", "heldout", "dpo_8_epochs", "sft_8_epochs"),
            ("mean", "heldout", "dpo_8_epochs_seen", "sft_8_epochs"),
            ("mean", "heldout", "dpo_8_epochs", "dpo_8_epochs_seen"),
        ],
    ),
    "demo_calculations heldout": calculations_heldout,
    "demo_calculations differences": differences(
        "demo_calculations",
        [
            ("greedy", "heldout", "calculations_4", "dpo"),
            ("mean", "heldout", "calculations_4", "dpo"),
            ("mean", "heldout", "calculations_1_rounds_2", "rounds_2"),
            ("mean", "heldout", "calculations_4_rounds_2", "rounds_2"),
            ("greedy", "heldout", "calculations_1_rounds_2", "rounds_2"),
            ("greedy", "heldout", "calculations_4_rounds_2", "rounds_2"),
            ("mean", "heldout", "calculations_2", "calculations_2_nll"),
            ("greedy", "heldout", "calculations_2", "calculations_2_nll"),
        ],
    ),
    "smollm2 first run": first_run,
    "smollm2_1 heldout": heldout_table("smollm2_study", 16),
    "smollm2_1 evaluation": evaluation_table("smollm2_study"),
    "smollm2_2 heldout": heldout_table("smollm2_study_2", 16),
    "smollm2_2 evaluation": evaluation_table("smollm2_study_2"),
    "smollm2_3 heldout": heldout_table("smollm2_study_3", 16),
    "smollm2_3 near copies": near_copies,
    "smollm2_4 heldout": heldout_table("smollm2_study_4", 16),
    "smollm2_4 evaluation": evaluation_table("smollm2_study_4"),
    "smollm2_4 rollouts": rollouts_of_study_4,
    "smollm2_4 sums": sums_of_study_4,
    "smollm2_4 differences": differences(
        "smollm2_study_4",
        [
            ("mean", "heldout", "dpo", "sft"),
            ("mean", "heldout", "dpo_seen", "sft"),
            ("mean", "heldout", "dpo_new_numbers", "sft"),
            ("mean", "heldout", "dpo", "dpo_seen"),
            ("mean", "heldout", "dpo", "dpo_new_numbers"),
            ("mean", "eval", "rounds_2_sft_4", "sft_4_epochs"),
            ("mean", "eval", "rounds_2_sft_4", "rejection_sampling_sft_4"),
            ("mean", "heldout", "rounds_2_sft_4", "sft_4_epochs"),
            ("mean", "heldout", "rounds_2_sft_4", "rejection_sampling_sft_4"),
            ("mean", "heldout", "dpo", "rejection_sampling"),
            ("mean", "heldout", "rounds_3", "rejection_sampling_rounds_3"),
            ("mean", "eval", "sft_all_4_epochs", "rounds_2_sft_4"),
            ("mean", "heldout", "sft_all_4_epochs", "sft_8_epochs"),
            ("mean", "heldout", "dpo_sft_all", "sft_all"),
            ("mean", "heldout", "loss_sft_1", "dpo"),
        ],
    ),
    "smollm2_5 heldout": heldout_table("smollm2_study_5", 16),
    "smollm2_5 evaluation": evaluation_table("smollm2_study_5"),
    "smollm2_5 chosen": evaluation_table(
        "smollm2_study_5", ["sft", "sft_all_4_epochs", "dpo", "rejection_sampling", "rejection_sampling_lr_3e-4"]
    ),
    "smollm2_5 second round": second_round_of_study_5,
    "smollm2_5 differences": differences(
        "smollm2_study_5",
        [
            ("mean", "eval", "dpo", "sft"),
            ("mean", "heldout", "dpo", "sft"),
            ("pass", "eval", "dpo", "sft"),
            ("greedy", "eval", "dpo", "sft"),
            ("mean", "eval", "rejection_sampling", "sft"),
            ("mean", "both", "dpo", "rejection_sampling"),
            ("mean", "both", "dpo", "rejection_sampling_lr_3e-4"),
            ("mean", "both", "dpo", "sft_all_4_epochs"),
            ("mean", "heldout", "lr_4e-4_rounds_1", "rounds_1"),
            ("mean", "heldout", "lr_4e-4", "lr_4e-4_rounds_1"),
            ("mean", "both", "lr_4e-4_rollouts_15200", "lr_4e-4_rounds_1"),
            ("mean", "both", "sft", "sft_no_sums"),
            ("mean", "heldout", "calculations_2_rounds_1", "rounds_1"),
        ],
    ),
    "demo labels": demo_labels,
    "qwen_coder": qwen_coder,
    "qwen_coder differences": qwen_coder_differences,
    "qwen_coder second_run": qwen_coder_second_run,
    "speed": speed,
    "ways": ways,
    "phases": phases,
    "places": places,
    "compiling": compiling,
    "two GPUs": two_gpus,
}


def page(path: Path) -> str:
    """The page with its tables made from the records."""
    text = path.read_text(encoding="utf-8")
    return put_tables(text, {name: TABLES[name]() for name in tables_of(text)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    old = [(path, text) for path in PAGES if (text := page(path)) != path.read_text(encoding="utf-8")]
    for path, text in old:
        print(f"{path.relative_to(DOCS.parent)}: not what its records give")
        if not args.check:
            write_text(path, text)
    sys.exit(bool(old and args.check))


if __name__ == "__main__":
    main()
