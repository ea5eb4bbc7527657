"""The benchmark's figures of one run on one machine: the guide's comparison table, and every stage on its own.

    python -m scripts.benchmark.benchmark_report --params '{...}' --inputs '{"base": "checkpoints/benchmark/base", ...}' \
        --html benchmark_report.html --md benchmark_report.md --json benchmark_report.json

--inputs: files and folders by what they are: base and adapter (of DPO), pairs (preferences.json), modes (records), and by name
modes_usage, usage (of the pipeline's jobs) and evaluations.

Each figure says whether it was measured, or extrapolated from a sample. Ratios are of figures of this run alone.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from regime_w.config.benchmark_modes import COMPARED, MODES, SLOW
from regime_w.models.adapters import ADAPTER_WEIGHTS
from regime_w.models.manifests import MANIFEST
from regime_w.models.weights import safetensors_shapes
from regime_w.report.blocks import Block, cell, table, text
from regime_w.report.format import NONE, dollars, duration, number
from regime_w.report.inputs import given
from regime_w.report.provenance import provenance
from regime_w.report.render import fill
from regime_w.runtime.errors import run
from regime_w.runtime.log import say_last
from regime_w.runtime.records import from_argument, read_json, read_jsonl, write_json, write_text
from regime_w.runtime.seals import check, read_record

log = logging.getLogger(__name__)

# What the guide itself states (8 GPUs at 10 USD an hour); not measured here, and in no ratio.
GUIDE = {
    "GPU utilisation": ("5-20%", "90%+"),
    "runtime": ("2-4 hours", "15-40 minutes"),
    "speed-up": ("1x", "5-10x"),
    "batching": ("sequential", "8 trajectories a question"),
    "cost": ("$20-40", "$2.50-6.70"),
}
# Dense bfloat16 TFLOP/s of NVIDIA's data sheets; the first name that fits counts.
PEAKS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989.4, "H200": 989.4, "A100": 312, "L40S": 362, "RTX 4090": 165}
PHASES = {
    "merge": "merge of the SFT adapter",
    "generate": "rollouts",
    "score_rollouts": "scores",
    "check_rollouts": "checks",
    "pairs": "pairs",
    "train_dpo": "DPO",
    "merge_dpo": "merge of the DPO adapter",
    "evaluate": "evaluation of the trained model",
}

INPUTS = ("base", "adapter", "pairs", "modes", "modes_usage", "usage", "evaluations")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=from_argument, required=True)
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    for option in ("html", "md", "json"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    args = parser.parse_args()
    found = given(args.inputs, INPUTS, INPUTS)
    base, training = read_json(found["base"] / MANIFEST), read_json(found["adapter"] / "training.json")
    measured = {record["mode"]: record for record in map(read_record, found["modes"])}
    for mode, path in found["modes_usage"].items():
        job = read_record(path)
        measured[mode] |= {"job_seconds": job["seconds"], "peak_memory_mb": job["peak_memory_mb"]}
    usage = {name: read_record(path) for name, path in found["usage"].items()}
    price = args.params["gpu_hour_usd"]
    modes = joined(measured)
    summary: dict[str, Any] = {
        "run": args.params["run"],
        "title": "Benchmark",
        "params": args.params,
        "model": base["made_from"],
        "modes": modes,
        "comparison": comparison(modes, args.params["trajectories"], price),
        "phases": phases(usage, price),
        "dpo": dpo(found, args.params, base, training, usage["train_dpo"]),
        "pairs": read_record(found["pairs"]),
        "evaluations": {
            model: evaluation(path, usage[f"evaluate-{model}"]) for model, path in found["evaluations"].items()
        },
        "provenance": provenance({}, {"base": base}, None),
    }
    summary["verdict"] = verdict(summary)
    html, md = fill(summary, sections(summary))
    write_text(args.html, html)
    write_text(args.md, md)
    write_json(args.json, summary)
    log.info(f"Report: {args.html}")
    say_last(f"{summary['verdict']['headline']}\n{summary['verdict']['sentence']}\n\nReport: {args.html}")


def joined(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The modes, the shards of one mode as one: they ran each on its own GPU, so the slowest one counts."""
    modes: dict[str, dict[str, Any]] = {}
    for name, record in measured.items():
        mode, dash, _ = name.partition("-")
        if not dash:
            modes[name] = record
            continue
        whole = modes.setdefault(mode, {**record, "mode": mode, "steady": None, "tail": None, "parts": []})
        whole["parts"].append(record)
    for whole in modes.values():
        if parts := whole.get("parts"):
            for key in ("made", "tokens", "requests", "gpu_count", "engines"):
                whole[key] = sum(part[key] for part in parts)
            for key in ("seconds", "start_seconds", "job_seconds", "peak_memory_mb"):
                whole[key] = max(part[key] for part in parts)
            used = [part["utilisation"] for part in parts if part["utilisation"] is not None]
            whole["utilisation"] = sum(used) / len(used) if used else None
            whole["tokens_per_second"] = whole["tokens"] / whole["seconds"]
    return modes


def extrapolate(record: dict[str, Any], trajectories: int, tokens: float) -> tuple[float, str]:
    """Seconds for `trajectories` of `tokens` in all at the record's rate, and `measured` or `extrapolated`."""
    if record["made"] == trajectories:
        return record["seconds"], "measured"
    return tokens / record["tokens_per_second"], "extrapolated"


def cost(seconds: float, gpus: int, gpu_hour_usd: float) -> float:
    """US dollars for `gpus` GPUs held for `seconds`."""
    return seconds / 3600 * gpus * gpu_hour_usd


def comparison(modes: dict[str, dict[str, Any]], trajectories: int, gpu_hour_usd: float) -> list[dict[str, Any]]:
    """A row a mode: time of all trajectories with the engine ready, against the slower modes of this run."""
    whole = modes.get("pipeline")
    rows: list[dict[str, Any]] = []
    for mode in COMPARED:
        row: dict[str, Any] = {"mode": mode, "label": MODES[mode].label, "kind": "not measured"}
        if record := modes.get(mode):
            # The same work for all: the tokens of the mode that did all of it.
            tokens = whole["tokens"] * trajectories / whole["made"] if whole else record["tokens_mean"] * trajectories
            seconds, kind = extrapolate(record, trajectories, tokens)
            row |= {
                "kind": kind,
                "sample": record["made"],
                "seconds": seconds,
                "start_seconds": record["start_seconds"],
                "tokens_per_second": record["tokens_per_second"],
                "utilisation": record["utilisation"],
                "utilisation_until_tail": (record["steady"] or {}).get("utilisation"),
                "gpus": record["gpu_count"],
                "usd": cost(seconds + record["start_seconds"], record["gpu_count"], gpu_hour_usd),
            }
        rows.append(row)
    for against in SLOW:
        slow = next(row for row in rows if row["mode"] == against)
        for row in rows:
            if "seconds" in row and "seconds" in slow:
                row[f"speed_up_{against}"] = slow["seconds"] / row["seconds"]
    return rows


def phases(usage: dict[str, dict[str, Any]], gpu_hour_usd: float) -> list[dict[str, Any]]:
    """Phases 2 to 5 of the guide as jobs: whole processes, start-up counted; of jobs side by side the longest."""
    rows = []
    for phase, label in PHASES.items():
        jobs = [job for name, job in usage.items() if name.partition("-")[0] == phase]
        if phase == "evaluate":
            jobs = [usage[name] for name in usage if name.startswith("evaluate-round")][-1:]
        gpus = [gpu for job in jobs for gpu in job["gpus"]]
        rows.append(
            {
                "phase": phase,
                "label": label,
                "jobs": len(jobs),
                "seconds": max(job["seconds"] for job in jobs),
                "peak_memory_mb": max(job["peak_memory_mb"] for job in jobs),
                "utilisation": sum(gpu["mean_utilisation"] for gpu in gpus) / len(gpus) if gpus else None,
                "gpu_memory_mb": max((gpu["max_memory_mb"] for gpu in gpus), default=None),
                "usd": sum(cost(job["gpu_seconds"], 1, gpu_hour_usd) for job in jobs),
            }
        )
    return rows


def dpo_flops(weights: float, lora: float, layers: int, hidden: int, tokens: float, sequence: float) -> float:
    """Model floating-point operations of LoRA DPO on `tokens` in sequences of `sequence` tokens.

    A forward pass is 2 operations a weight and token, the gradient of the activations 2 more; that of the weights (2) falls
    to the adapter alone. Policy forward and backward 4 x weights + 6 x lora, reference forward 2 x weights. Causal attention:
    2 x layers x hidden x sequence a forward pass, twice that backward. Recomputation and padding do not count.
    After Chowdhery et al. 2022 (PaLM), appendix B, which has it for full training. `weights`: those in matrix products.
    """
    return tokens * (6 * weights + 6 * lora + 8 * layers * hidden * sequence)


def mfu(flops: float, seconds: float, gpus: int, peak_tflops: float) -> float:
    """Model FLOP utilisation, a share: operations of the model over what the GPUs could do at their peak."""
    return flops / (seconds * gpus * peak_tflops * 1e12)


def peak_of(gpu: str) -> float | None:
    return next((peak for name, peak in PEAKS.items() if name in gpu), None)


def dpo(
    found: dict[str, Any],
    settings: dict[str, Any],
    base: dict[str, Any],
    training: dict[str, Any],
    usage: dict[str, Any],
) -> dict[str, Any]:
    config = read_json(found["base"] / "config.json")
    embedding = 0 if config.get("tie_word_embeddings") else config["vocab_size"] * config["hidden_size"]
    shapes = safetensors_shapes(found["adapter"] / ADAPTER_WEIGHTS).values()
    lora = sum(rows * columns for rows, columns in shapes)
    length = training["preflight"]["mean_length"]
    flops = dpo_flops(
        base["made_from"]["weights"] - embedding,
        lora,
        config["num_hidden_layers"],
        config["hidden_size"],
        training["tokens"],
        length,
    )
    params = read_json(found["adapter"] / MANIFEST)["made_from"]["params"]["dpo"]
    step_flops = flops * params["batch_size"] / (training["examples"] * params["epochs"])
    gpus = usage["gpus"]
    peak = settings["peak_tflops"] or (peak_of(gpus[0]["name"]) if gpus else None)

    def share(done: float, seconds: float | None, tflops: float | None) -> float | None:
        return mfu(done, seconds, len(gpus), tflops) if gpus and seconds and tflops else None

    return {
        "pairs": training["examples"],
        "mean_length": length,
        "tokens": training["tokens"],
        "lora_weights": lora,
        "seconds": training["seconds"],
        "job_seconds": usage["seconds"],
        "tokens_per_second": training["tokens"] / training["seconds"],
        "flops": flops,
        "gpus": len(gpus),
        "peak_tflops": peak,
        "mfu": share(flops, training["seconds"], peak),
        "step_seconds": training["step_seconds"],
        "step_mfu": share(step_flops, training["step_seconds"], peak),
        "share_of_matmul": share(flops, training["seconds"], base["made_from"].get("matmul_tflops")),
        "gpu_memory_mb": max((gpu["max_memory_mb"] for gpu in gpus), default=None),
        "model_mb": 2 * base["made_from"]["weights"] / 2**20,
    }


def evaluation(path: Path, usage: dict[str, Any]) -> dict[str, Any]:
    """Size and times of one model's evaluation; the engine's own times are beside its journal."""
    check(path)
    rows = read_jsonl(path, required=("greedy", "samples"))
    outs = [out for row in rows for out in (row["greedy"], *row["samples"])]
    timing = path.with_suffix(".journal") / f"{path.stem}.timing.json"
    found = read_json(timing) if timing.is_file() else {}
    # A job that went on after a kill timed only its own part.
    whole = found.get("made") == len(outs)
    return {
        "questions": len(rows),
        "k": len(rows[0]["samples"]),
        "tokens": sum(out["num_tokens"] for out in outs),
        "seconds": found["seconds"] if whole else None,
        "start_seconds": found.get("start_seconds"),
        "job_seconds": usage["seconds"],
    }


def verdict(summary: dict[str, Any]) -> dict[str, Any]:
    rows = {row["mode"]: row for row in summary["comparison"]}
    ours, model = rows["pipeline"], summary["model"]
    gpu = model.get("gpu")
    size = f"{summary['params']['questions']:,} x {summary['params']['arms']}"
    sentence = f"{model['weights']:,} random weights (shape: {model['shape']})"
    sentence += f" on {gpu}." if gpu else ", no GPU: toy size, which shows only that every part runs."
    if "seconds" in ours:
        headline = f"{size} trajectories in {duration(ours['seconds'])}, {ours['tokens_per_second']:,.0f} tokens/s"
    else:
        headline = f"{size} trajectories were not measured"
    ratios = [
        f"{ours[key]:,.0f} times as fast as {MODES[against].label}"
        for against in SLOW
        if (key := f"speed_up_{against}") in ours
    ]
    missing = [MODES[mode].label for mode in MODES if mode not in summary["modes"]]
    notes = ["Extrapolated times are for the same tokens at the rate of the sample; all ratios are within this run."]
    if missing:
        notes.append(f"Not measured here: {'; '.join(missing)}.")
    return {"status": "unchanged", "headline": headline, "sentence": sentence, "reasons": ratios, "notes": notes}


def sections(summary: dict[str, Any]) -> list[dict[str, Any]]:
    made = [
        ("overview", "Comparison", _overview(summary)),
        ("generation", "Generation", _generation(summary)),
        ("phases", "Phases 2 to 5", _phases(summary)),
        ("dpo", "DPO", _dpo(summary)),
        ("evaluation", "Evaluation", _evaluation(summary)),
        ("provenance", "Provenance", _provenance(summary)),
    ]
    return [{"id": identity, "title": title, "blocks": blocks} for identity, title, blocks in made]


def _overview(summary: dict[str, Any]) -> list[Block]:
    found = [row for row in summary["comparison"] if "seconds" in row]
    total, arms = summary["params"]["trajectories"], summary["params"]["arms"]

    def guide(metric: str) -> list[dict[str, str]]:
        return [cell(value) for value in GUIDE.get(metric, (NONE, NONE))]

    rows = []
    for metric in ("GPU utilisation", "runtime", "speed-up", "batching", "tokens/s", "engine start", "GPUs", "cost"):
        name = f"{metric}, {summary['params']['questions']:,} x {arms}" if metric == "runtime" else metric
        rows.append([cell(name), *(_compared(metric, row, total) for row in found), *guide(metric)])
    columns = ["", *(row["label"] for row in found), "guide: original", "guide: vLLM, 8 GPUs"]
    return [
        table(columns, rows, sortable=False),
        text(
            "Runtime is with the engine ready; cost is for runtime and engine start at "
            f"{dollars(summary['params']['gpu_hour_usd'])} a GPU-hour. The guide's columns are what it states, not "
            "measured here. GPU utilisation is NVML's: the share of time in which some kernel ran."
        ),
    ]


def _compared(metric: str, row: dict[str, Any], total: int) -> dict[str, str]:
    extrapolated = row["kind"] == "extrapolated"
    note = f"extrapolated from {row['sample']:,} of {total:,}" if extrapolated else "measured"
    if metric == "GPU utilisation":
        until = row["utilisation_until_tail"]
        return cell(_percent(row["utilisation"]), "" if until is None else f"{until:.0f}% until the tail")
    if metric == "runtime":
        return cell(duration(row["seconds"]), note)
    if metric == "speed-up":
        ratios = [(row.get(f"speed_up_{mode}"), MODES[mode].label) for mode in SLOW]
        said = [f"{ratio:,.1f}x {label}" for ratio, label in ratios if ratio is not None]
        return cell(said[0] if said else NONE, "; ".join(said[1:]))
    if metric == "batching":
        return cell(MODES[row["mode"]].batching)
    if metric == "tokens/s":
        return cell(number(row["tokens_per_second"], 0), "measured")
    if metric == "engine start":
        return cell(duration(row["start_seconds"]), "measured")
    if metric == "GPUs":
        return cell(number(row["gpus"]))
    return cell(dollars(row["usd"]), note) if row["gpus"] else cell(NONE)


def _generation(summary: dict[str, Any]) -> list[Block]:
    modes = summary["modes"]
    rows = []
    for mode, way in MODES.items():
        if not (record := modes.get(mode)):
            continue
        steady, tail = record["steady"] or {}, record["tail"] or {}
        rows.append(
            [
                cell(way.label, f"{record['engine']}, {record['engines']} engine(s), {record['gpu_count']} GPU(s)"),
                cell(number(record["made"]), f"of {record['requests']:,}"),
                cell(number(record["tokens_mean"], 1), f"prompt {record['prompt_tokens_mean']:.0f}"),
                cell(duration(record["start_seconds"]), record["compile_cache"] or ""),
                cell(duration(record["seconds"])),
                cell(number(record["tokens_per_second"], 0)),
                cell(number(steady.get("tokens_per_second"), 0)),
                cell(
                    _percent(record["utilisation"]), f"steady {_percent(steady.get('utilisation'))}" if steady else ""
                ),
                cell(duration(tail.get("seconds")), f"use {_percent(tail.get('utilisation'))}" if tail else ""),
                cell(duration(tail.get("cost_seconds"))),
                cell(duration(record["job_seconds"]), f"{record['peak_memory_mb'] / 1024:.1f} GiB host memory"),
            ]
        )
    columns = ["mode", "trajectories", "tokens each", "engine start", "time", "tokens/s", "steady", "GPU use", "tail"]
    columns += ["tail costs", "whole job"]
    lines = [
        "All figures of this table are measured. The tail begins when no request waits for a place any more; what it costs "
        "is the time beyond all tokens at the steady rate, taken between a quarter of the requests and the tail. Cold says "
        "that vLLM compiled something in this job, warm that all was there.",
        "Requests end at lengths drawn beforehand from a log-normal distribution, since random weights never end a text; "
        f"prompts are random words. Lengths: {json.dumps(summary['params']['random_lengths'])}, at most "
        f"{summary['params']['max_new_tokens']} tokens.",
    ]
    for mode, way in MODES.items():
        if way.against and mode in modes and way.against in modes:
            ratio = modes[mode]["tokens_per_second"] / modes[way.against]["tokens_per_second"]
            lines.append(f"{way.label} against {MODES[way.against].label}: {ratio:.2f}x the tokens/s.")
    return [table(columns, rows), *map(text, lines)]


def _phases(summary: dict[str, Any]) -> list[Block]:
    rows = [
        [
            cell(row["label"], f"{row['jobs']} jobs side by side" if row["jobs"] > 1 else ""),
            cell(duration(row["seconds"])),
            cell(f"{row['peak_memory_mb'] / 1024:.1f} GiB"),
            cell(_percent(row["utilisation"])),
            cell(NONE if row["gpu_memory_mb"] is None else f"{row['gpu_memory_mb'] / 1024:.1f} GiB"),
            cell(dollars(row["usd"])),
        ]
        for row in summary["phases"]
    ]
    total = sum(row["seconds"] for row in summary["phases"])
    usd = sum(row["usd"] for row in summary["phases"])
    rows.append([cell("total"), cell(duration(total)), *[cell(NONE)] * 3, cell(dollars(usd))])
    return [
        table(["job", "time", "host memory", "GPU use", "GPU memory", "cost"], rows, marked=len(rows) - 1, total=True),
        text(
            "Measured: whole jobs from process start to the file in place, imports, engine starts and checks included; "
            "Snakemake's own second or two between jobs is not. The merges read, write and verify on disk. The pairs are "
            "made of random texts, half of them with the right answer, since random weights answer nothing right."
        ),
    ]


def _dpo(summary: dict[str, Any]) -> list[Block]:
    d = summary["dpo"]
    rows = [
        ("pairs (random texts)", number(d["pairs"])),
        ("mean tokens of prompt and longer completion", number(d["mean_length"], 0)),
        ("training", duration(d["seconds"])),
        ("whole job", duration(d["job_seconds"])),
        ("tokens/s", number(d["tokens_per_second"], 0)),
        ("model FLOPs", f"{d['flops']:.3g}"),
        ("peak of the data sheet, TFLOP/s a GPU", number(d["peak_tflops"], 0)),
        ("model FLOP utilisation, all of the training", _percent(d["mfu"] and 100 * d["mfu"])),
        ("the median step", duration(d["step_seconds"])),
        ("model FLOP utilisation of that step, with mean lengths", _percent(d["step_mfu"] and 100 * d["step_mfu"])),
        (
            "share of what one large matrix product reaches here",
            _percent(d["share_of_matmul"] and 100 * d["share_of_matmul"]),
        ),
        ("GPU memory at most", NONE if d["gpu_memory_mb"] is None else f"{d['gpu_memory_mb'] / 1024:.1f} GiB"),
        ("the model's weights, once", f"{d['model_mb'] / 1024:.1f} GiB"),
    ]
    return [
        table(["DPO", "measured"], [[cell(name), cell(value)] for name, value in rows], sortable=False),
        text(
            "Model FLOPs = tokens x (6 x weights + 6 x LoRA weights + 8 x layers x hidden x sequence): policy forward (2) and "
            "gradient of activations (2), reference forward (2), weight gradients for the adapter alone, causal attention. "
            "Weights are those in matrix products. Padding and recomputation do not count (Chowdhery et al. 2022, PaLM, "
            "appendix B)."
        ),
    ]


def _evaluation(summary: dict[str, Any]) -> list[Block]:
    rows = [
        [
            cell(model),
            cell(f"{found['questions']:,}", f"greedy and {found['k']} samples"),
            cell(number(found["tokens"])),
            cell(duration(found["start_seconds"])),
            cell(duration(found["seconds"])),
            cell(duration(found["job_seconds"])),
        ]
        for model, found in summary["evaluations"].items()
    ]
    columns = ["model", "questions", "tokens", "engine start", "engine ready to done", "whole job"]
    return [table(columns, rows), text("All measured.")]


def _provenance(summary: dict[str, Any]) -> list[Block]:
    p, model = summary["provenance"], summary["model"]
    facts = [
        ("GPU", model.get("gpu", NONE)),
        ("one matrix product, TFLOP/s", number(model.get("matmul_tflops"), 0)),
        ("model", f"{model['shape']}, {model['weights']:,} random weights"),
        ("git commit", p["git"]["commit"] if p["git"] else NONE),
        ("python", p["python"]),
        ("platform", p["platform"]),
        *p["versions"].items(),
    ]
    return [table(["fact", "value"], [[cell(name), cell(value)] for name, value in facts], left=2, sortable=False)]


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}%"


if __name__ == "__main__":
    run(main)
