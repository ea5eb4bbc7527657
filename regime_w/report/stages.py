"""Numbers of the stages: training curves with alarms, and time, tokens, GPU use and cost."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CURVES = ("loss", "learning_rate", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
PAPERWORK = ("log_history", "preflight", "alarm")


def training(record: dict[str, Any]) -> dict[str, Any]:
    """Curves ({"loss": [[step, value], ...]}), first and last values, and the alarm of one training."""
    # The closing entry (train_runtime) carries metrics too, of what was left after the last logged step: a pair or two.
    history = [
        entry
        for entry in record.get("log_history") or []
        if isinstance(entry.get("step"), int | float) and "train_runtime" not in entry
    ]
    curves = {
        name: points
        for name in CURVES
        if (points := [[e["step"], float(e[name])] for e in history if e.get(name) is not None])
    }
    return {
        **{key: value for key, value in record.items() if key not in PAPERWORK},
        "alarm": record.get("alarm"),
        "first": {name: points[0][1] for name, points in curves.items()},
        "last": {name: points[-1][1] for name, points in curves.items()},
        "curves": curves,
    }


def usage(
    files: list[tuple[Path, dict[str, Any]]], tokens: dict[tuple[str, str], int], gpu_hour_usd: float, run: str
) -> dict[str, Any]:
    """Time, GPU use and cost by stage and in total. `tokens` by (stage, part): (`generate`, `round1`)."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path, record in files:
        stage = str(record.get("stage") or path.name.partition(".")[0])
        groups.setdefault((stage, part_of(path, stage, run)), []).append(record)
    rows = [_stage(key, jobs, tokens.get(key), gpu_hour_usd) for key, jobs in groups.items()]
    rows.sort(key=lambda row: (row["started"] or "", row["stage"], row["part"]))
    records = [record for _, record in files]
    spans = _spans(records)
    summed = ("jobs", "seconds", "cpu_seconds", "gpu_seconds", "energy_wh", "usd")
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in summed}
    total["tokens"] = sum(row["tokens"] or 0 for row in rows)
    total["elapsed_seconds"] = _covered(spans) if spans else total["seconds"]
    if spans:
        total |= {
            "started": spans[0][0].isoformat(),
            "ended": max(end for _, end in spans).isoformat(timespec="seconds"),
        }
    return {
        "gpu_hour_usd": gpu_hour_usd,
        "stages": rows,
        "total": total,
        "hosts": sorted({str(record["host"]) for record in records if record.get("host")}),
        "gpus": sorted({str(gpu["name"]) for record in records for gpu in record.get("gpus") or [] if gpu.get("name")}),
    }


def part_of(path: Path, stage: str, run: str) -> str:
    """The round or model that a job worked for, from its record's path below the run; empty for a job that runs once.

    Of an evaluation SET/MODEL, or SET alone where one job asked all models.
    """
    parts = path.parts
    below = parts[parts.index(run) + 1 :] if run in parts[:-1] else parts
    if stage == "evaluate" and stage in below[:-1]:
        return "/".join((*below[below.index(stage) + 1 : -1], path.name.partition(".")[0]))
    for piece in reversed(below):
        if match := re.match(r"round\d+(?![\w-])", piece):
            return match[0]
    stem = path.name.partition(".")[0]
    return "" if stem == stage else stem


def _stage(key: tuple[str, str], jobs: list[dict[str, Any]], tokens: int | None, gpu_hour_usd: float) -> dict[str, Any]:
    stage, part = key
    seconds = sum(job.get("seconds") or 0.0 for job in jobs)
    gpu_seconds = sum(job.get("gpu_seconds") or 0.0 for job in jobs)
    gpus = [(gpu, job.get("seconds") or 0.0) for job in jobs for gpu in job.get("gpus") or []]
    spans = _spans(jobs)
    elapsed = _covered(spans) if spans else seconds
    weight = sum(time for gpu, time in gpus if gpu.get("mean_utilisation") is not None)
    used = sum(gpu["mean_utilisation"] * time for gpu, time in gpus if gpu.get("mean_utilisation") is not None)
    return {
        "stage": stage,
        "part": part,
        "jobs": len(jobs),
        "seconds": seconds,
        "elapsed_seconds": elapsed,
        "cpu_seconds": sum(job.get("cpu_seconds") or 0.0 for job in jobs),
        "peak_memory_mb": max((job.get("peak_memory_mb") or 0 for job in jobs), default=0),
        "gpu_seconds": gpu_seconds,
        "gpu_utilisation": used / weight if weight else None,
        "gpu_memory_mb": max((gpu.get("max_memory_mb") or 0 for gpu, _ in gpus), default=0) or None,
        "energy_wh": sum(gpu.get("energy_wh") or 0.0 for gpu, _ in gpus),
        "usd": gpu_seconds / 3600 * gpu_hour_usd,
        "tokens": tokens,
        "tokens_per_second": tokens / elapsed if tokens and elapsed else None,
        "started": spans[0][0].isoformat() if spans else None,
    }


def _spans(jobs: list[dict[str, Any]]) -> list[tuple[datetime, datetime]]:
    """Start and end of each job that says when it started, by start."""
    starts = [(_time(job.get("started")), job.get("seconds") or 0.0) for job in jobs]
    return sorted((start, start + timedelta(seconds=seconds)) for start, seconds in starts if start)


def _covered(spans: list[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one job ran: jobs side by side count once, a pause between them not at all."""
    covered, until = 0.0, spans[0][0]
    for start, end in spans:
        covered += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return covered


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
