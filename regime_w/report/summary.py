"""All numbers of the report as one plain dict: what eval_report.json holds and the page shows."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regime_w.report import evaluation, rollouts, stages, voting
from regime_w.report.inputs import check_rollouts, read_evaluations, read_object
from regime_w.report.provenance import provenance
from regime_w.report.readings import Readings
from regime_w.report.verdict import verdict
from regime_w.runtime.records import iter_jsonl
from regime_w.runtime.seals import read_record

ROLLOUT = ("question", "gold_answer", "trajectories")

Files = dict[str, Path]
Summary = dict[str, Any]


def summarise(
    params: dict[str, Any],
    *,
    evaluations: dict[str, Files],
    questions: Path | None = None,
    rollouts_: Files | None = None,
    labels: Files | None = None,
    preferences: Files | None = None,
    samples: Files | None = None,
    trainings: Files | None = None,
    manifests: Files | None = None,
    usage: list[Path] | None = None,
    config: dict[str, Any] | None = None,
    note: Callable[[], dict[str, Readings]] | None = None,
) -> dict[str, Any]:
    """Read everything and compute; parts whose files are not given are empty. UserError for unusable files.

    `evaluations` is by set and model. What is said of models at the top is of the first set; `other_sets` has the same of
    each further one. `note` notes who has read each set's questions, this report too, once its files are found sound
    (regime_w/report/readings.py).
    """
    settings = evaluation.Settings(params.get("level", 0.95), params.get("n_boot", 10_000), params.get("seed", 0))
    counted = read_record(questions) if questions else {}
    sets = {
        name: of_set(
            files,
            counted.get("eval", {}).get(name, {}),
            settings,
            params.get("gallery", 5),
            params.get("coherence"),
            manifests,
        )
        for name, files in evaluations.items()
    }
    (first, primary), *others = sets.items()
    models = primary["models"]
    check_rollouts(rollouts_ or {}, manifests or {})
    rounds = {}
    for name, path in (rollouts_ or {}).items():
        if found := rollouts.summarise(iter_jsonl(path, ROLLOUT), settings):
            part = counted.get("parts", {}).get(name, {})
            rounds[name] = found | {key: part.get(key) for key in ("seen_by_sft", "seen_by_rounds")}
    trained = {name: stages.training(read_object(path)) for name, path in (trainings or {}).items()}
    tokens: dict[tuple[str, str], int] = {}
    for name, own in sets.items():
        by_model = {m["name"]: sum(f["tokens_total"] for f in m["format"].values()) for m in own["models"]}
        tokens |= {("evaluate", f"{name}/{model}"): count for model, count in by_model.items()}
        tokens["evaluate", name] = sum(by_model.values())  # of one job for all models
    tokens |= {("generate", name): found["format"]["tokens_total"] for name, found in rounds.items()}
    tokens |= {
        (training_stage(name, samples or {}), "" if name == "sft" else name): record["tokens"]
        for name, record in trained.items()
        if record.get("tokens")
    }
    groups: dict[str, Files] = {
        "evaluation": {f"{name}/{model}": path for name, files in evaluations.items() for model, path in files.items()},
        "rollouts": rollouts_ or {},
        "labels": labels or {},
        "preferences": preferences or {},
        "samples": samples or {},
        "training": trainings or {},
        "manifest": manifests or {},
    }
    inputs = {"questions": questions} if questions else {}
    inputs |= {f"{group} {name}": path for group, files in groups.items() for name, path in files.items()}
    summary = {
        "run": str(params.get("run", "run")),
        "title": str(params.get("title", "Preference optimisation report")),
        "readings": note() if note else {},
        "settings": {
            "rounds": params.get("rounds"),
            "level": settings.level,
            "alpha": settings.alpha,
            "n_boot": settings.n_boot,
            "seed": settings.seed,
            "k": primary["k"],
            "temperature": params.get("temperature"),
            "power": evaluation.POWER,
        },
        "verdict": verdict(models, primary["comparisons"], trained, rounds, dict(others), primary["collapses"]),
        "set": first,
        **primary,
        "other_sets": dict(others),
        "rollouts": rounds,
        "labels": {name: read_record(path) for name, path in (labels or {}).items()},
        "preferences": {name: read_record(path) for name, path in (preferences or {}).items()},
        "samples": {name: read_record(path) for name, path in (samples or {}).items()},
        "training": trained,
        "questions": counted,
        "usage": stages.usage(
            [(path, read_record(path)) for path in usage or []],
            tokens,
            params.get("gpu_hour_usd", 0.0),
            str(params.get("run", "")),
        ),
        "provenance": provenance(inputs, {name: read_object(path) for name, path in (manifests or {}).items()}, config),
    }
    return plain(summary)


def of_set(
    files: Files,
    told: Summary,
    settings: evaluation.Settings,
    gallery: int,
    coherence: Summary | None = None,
    manifests: Files | None = None,
) -> Summary:
    """What all models answered on one evaluation set; `told` is what questions/summary.json says of it."""
    rows = read_evaluations(files, told.get("left_out", ()), coherence, manifests or {})
    models = [evaluation.model_row(name, own, settings) for name, own in rows.items()]
    compared = evaluation.comparisons(rows, settings)
    return {
        "k": models[0]["k"],
        "left_out": len(told.get("left_out", ())),
        "models": models,
        "comparisons": compared,
        "votes": voting.votes(rows, settings),
        "collapses": voting.collapses(rows, compared, settings),
        "flips": [
            {"model": c["model"], "against": c["against"]}
            | evaluation.flips(rows[c["model"]], rows[c["against"]], gallery)
            for c in compared
            if "before" in c["relation"] or (c["model"] == models[-1]["name"] and "base" in c["relation"])
        ],
    }


def training_stage(name: str, samples: Files) -> str:
    """The rule that trained SFT or a round."""
    return "train_sft" if name == "sft" else "train_rft" if name in samples else "train_dpo"


def plain(value: Any) -> Any:
    """Only what JSON and UTF-8 can hold: NaN and infinity become null, lone surrogates question marks."""
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
