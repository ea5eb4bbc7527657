"""Log what the report says of each model to trackers, through accelerate's own: a step a model, base first.

log_evaluation(summary, {"to": ["tensorboard"], "project": "regime-w", "run": "demo/evaluation", "folder": "..."})
"""

import logging
from typing import Any

from regime_w.runtime.trackers import failed, prepare

log = logging.getLogger(__name__)

METRICS = ("greedy", "mean", "majority")


def evaluation_points(summary: dict[str, Any]) -> list[dict[str, float]]:
    """For each model, in the report's order, {SET/METRIC: share in 0 to 1} with the ends of its interval."""
    sets = {summary["set"]: summary["models"]} | {name: own["models"] for name, own in summary["other_sets"].items()}
    points = []
    for step, _ in enumerate(summary["models"]):
        found = {}
        for name, models in sets.items():
            for metric in METRICS:
                for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                    found[f"{name}/{metric}{suffix}"] = models[step][metric][end]
        points.append(found)
    return points


def log_evaluation(summary: dict[str, Any], tracking: dict[str, Any]) -> None:
    """Log the points, and which step is which model. A tracker that fails is told and passed over.

    UserError where one is not installed.
    """
    if not tracking.get("to"):
        return
    prepare(tracking)
    points = evaluation_points(summary)
    steps = {f"step_{step}": model["name"] for step, model in enumerate(summary["models"])}
    for name in tracking["to"]:
        try:
            tracker = open_tracker(name, tracking)
            tracker.start()
            tracker.store_init_configuration(steps)
            for step, values in enumerate(points):
                tracker.log(values, step=step)
            tracker.finish()
        except (Exception, SystemExit) as error:
            log.warning(failed(name, error))


def open_tracker(name: str, tracking: dict[str, Any]) -> Any:
    """One of accelerate's trackers, not yet started; their first argument is a run for TensorBoard and a project for others."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        return kind(tracking["run"], logging_dir=f"{tracking['folder']}/tensorboard")
    run = {"run_name" if name == "mlflow" else "name": tracking["run"]}
    return kind(tracking["project"], **run)
