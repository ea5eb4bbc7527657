"""The evaluation report: one self-contained HTML page (no network), the same in Markdown and JSON.

    python -m scripts.eval_report --params '{"run": "demo", "level": 0.95, "n_boot": 10000, ...}' \\
        --config '{...}' --inputs '{"evaluations": {"demo": {"base": "data/demo/answers/demo/base.jsonl"}}, ...}' \\
        --html eval_report.html --md eval_report.md --json eval_report.json

--inputs: files and folders by what they are. Only `evaluations` is needed, by set and model in their order: the first model
is the base, the first set the one that the headline is about. What is not given is left out.
    questions                         questions/summary.json
    evaluations                       answers of each model to each set, {SET: {MODEL: FILE}}
    models                            folder of each model
    rollouts, preferences, samples    rollouts.jsonl, preferences.json, samples.json of each round that has them
    labels                            labels.json of each round whose labels are not simply the gold answers
    adapters                          folder of SFT's adapter and of each round's
    usage                             usage records of the stages
"""

import argparse
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from regime_w.models.manifests import MANIFEST, listed
from regime_w.report.inputs import given
from regime_w.report.readings import note_readings
from regime_w.report.render import render, terminal
from regime_w.report.summary import plain, summarise
from regime_w.report.tracking import log_evaluation
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.log import say_last
from regime_w.runtime.records import from_argument, write_json, write_text

log = logging.getLogger(__name__)

INPUTS = ("questions", "evaluations", "rollouts", "labels", "preferences", "samples", "adapters", "models", "usage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        type=from_argument,
        required=True,
        help="run, level, n_boot, seed, temperature, coherence, gpu_hour_usd, gallery, title",
    )
    parser.add_argument("--config", help="the run's whole configuration: JSON, or @FILE or FILE, YAML or JSON")
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    for option in ("html", "md", "json"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--viewer", type=Path, help="page to read trajectories in, in the folder of --html")
    parser.add_argument("--readings", type=Path, help="folder in which the readings of evaluation sets are counted")
    parser.add_argument("--config-output", type=Path, help="write the configuration here as YAML")
    parser.add_argument("--tracking", type=from_argument, default={}, help="to (trackers), project, run, folder")
    args = parser.parse_args()

    found = given(args.inputs, INPUTS, ["evaluations"])
    config = read_config(args.config) if args.config else None
    summary = summarise(
        args.params,
        evaluations=found["evaluations"],
        questions=found.get("questions"),
        rollouts_=found.get("rollouts"),
        labels=found.get("labels"),
        preferences=found.get("preferences"),
        samples=found.get("samples"),
        trainings={name: listed(folder, "training.json") for name, folder in found.get("adapters", {}).items()},
        manifests={name: folder / MANIFEST for name, folder in found.get("models", {}).items()},
        usage=found.get("usage"),
        config=config,
        note=partial(note_readings, found["evaluations"], args.readings, args.params["run"], "eval_report")
        if args.readings
        else None,
    )
    html, md = render(summary, args.viewer.name if args.viewer else None)
    write_text(args.html, html)
    write_text(args.md, md)
    write_json(args.json, summary)
    if args.config_output:
        write_text(args.config_output, yaml.safe_dump(plain(config or {}), sort_keys=False, allow_unicode=True))
    log_evaluation(summary, args.tracking)
    log.info(f"Report: {args.html}")
    say_last(f"{terminal(summary)}\n\nReport: {args.html}\n        {args.md}\n        {args.json}")


def read_config(text: str) -> dict[str, Any]:
    """The configuration from JSON text, or from a YAML or JSON file, named with or without @."""
    text = text.removeprefix("@")
    try:
        # JSON as JSON: YAML 1.1 reads 1e-05 as a text.
        config = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else yaml.safe_load(Path(text).read_text(encoding="utf-8"))
        )
    except FileNotFoundError:
        raise UserError(f"--config: {text} does not exist") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--config: not YAML or JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"--config: a mapping was expected, found {type(config).__name__}")
    return config


if __name__ == "__main__":
    run(main)
