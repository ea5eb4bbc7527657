"""The evaluation report: one self-contained HTML page (no network, no scripts), the same in Markdown and JSON.

    python -m scripts.eval_report --params '{"run": "demo", "level": 0.95, "n_boot": 10000, ...}' \\
        --config '{...}' --questions data/demo/questions/summary.json \\
        --evaluations demo/base=data/demo/answers/demo/base.jsonl demo/sft=data/demo/answers/demo/sft.jsonl \\
        --rollouts round1=data/demo/round1/rollouts.jsonl --preferences round1=data/demo/round1/preferences.json \\
        --training sft=checkpoints/demo/sft_lora/training.json --manifests base=checkpoints/demo/base/manifest.json \\
        --usage benchmarks/demo/*.usage.json --html eval_report.html --md eval_report.md --json eval_report.json

Only --evaluations is needed, SET/MODEL=FILE in the order of sets and models: the first model is the base, the first set
the one that the headline is about. What is not given is left out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from regime_w.report.inputs import by_set, named_files
from regime_w.report.render import render, terminal
from regime_w.report.summary import plain, summarise
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.records import expand, from_argument, write_json, write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params",
        type=from_argument,
        required=True,
        help="run, level, n_boot, seed, temperature, gpu_hour_usd, gallery, title",
    )
    parser.add_argument("--config", help="the run's whole configuration: JSON, or @FILE or FILE, YAML or JSON")
    parser.add_argument("--questions", type=Path, help="questions/summary.json")
    named = {
        "evaluations": "answers of each model to each set, named SET/MODEL, in order, the base first",
        "rollouts": "rollouts.jsonl of each round",
        "preferences": "preferences.json of each round of DPO",
        "samples": "samples.json of each round of rejection sampling",
        "training": "training.json of SFT and each round",
        "manifests": "manifest.json of each model",
    }
    for option, text in named.items():
        parser.add_argument(
            f"--{option}", nargs="*", action="extend", default=[], metavar="NAME=FILE", help=text,
            required=option == "evaluations",
        )  # fmt: skip
    parser.add_argument(
        "--usage", type=Path, nargs="+", action="extend", default=[], help="usage records of the stages"
    )
    for option in ("html", "md", "json"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--config-output", type=Path, help="write the configuration here as YAML")
    args = parser.parse_args()

    files = {option: named_files(getattr(args, option), f"--{option}") for option in named}
    config = read_config(args.config) if args.config else None
    summary = summarise(
        args.params,
        evaluations=by_set(files["evaluations"], "--evaluations"),
        questions=args.questions,
        rollouts_=files["rollouts"],
        preferences=files["preferences"],
        samples=files["samples"],
        trainings=files["training"],
        manifests=files["manifests"],
        usage=expand(args.usage),
        config=config,
    )
    html, md = render(summary)
    write_text(args.html, html)
    write_text(args.md, md)
    write_json(args.json, summary)
    if args.config_output:
        write_text(args.config_output, yaml.safe_dump(plain(config or {}), sort_keys=False, allow_unicode=True))
    print(f"{terminal(summary)}\n\nReport: {args.html}\n        {args.md}\n        {args.json}")


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
