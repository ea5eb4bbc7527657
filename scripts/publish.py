"""Publish the chosen model on the hub: merged model, adapters, report, and what it was trained on as a data set.

    python -m scripts.publish --params '{"hub_id": "me/model", "private": true, "pairs": true, "asked": {...}}' \\
        --card '{...}' --config '{...}' --inputs '{"models": {...}, ...}' --output results/demo/published.json

--inputs: files and folders by what they are.
    models          folder of each model, base first, the published one last
    adapters        folder of each adapter, by the model that it was merged to
    examples        preferences.jsonl or samples.jsonl of each round
    evaluations     answers of each model to each set, {SET: {MODEL: FILE}}
    report          html, md, json, config

The data set goes first and the model last, whose card names them. The output is written when all three are there; after a
failure the same command sends what is missing.
"""

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from regime_w.report.hub_cards import adapter_card, model_card, pairs_card
from regime_w.report.inputs import given
from regime_w.report.publication import adapter_files, check_chain, check_report, model_files, report_files
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.hub import open_hub, send
from regime_w.runtime.log import say_last
from regime_w.runtime.records import from_argument, write_json
from regime_w.runtime.seals import check_all

log = logging.getLogger(__name__)

INPUTS = ("models", "adapters", "examples", "evaluations", "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--params", type=from_argument, required=True, help="hub_id, private, pairs; asked: by training"
    )
    parser.add_argument("--card", type=from_argument, required=True, help="what the model was made from")
    parser.add_argument("--config", type=from_argument, required=True, help="the report's whole configuration")
    parser.add_argument("--inputs", type=from_argument, required=True, help="JSON, or @FILE; see above")
    parser.add_argument("--output", type=Path, required=True, help="what was published, with commits and hashes")
    args = parser.parse_args()
    params, facts, config = args.params, args.card, args.config
    if not params["hub_id"]:
        raise UserError("publish.hub_id is not set; name the model's repository, say publish: {hub_id: me/my-model}")
    hub = open_hub()
    found = given(args.inputs, INPUTS, ["models", "evaluations", "report"])
    models, adapters, examples = found["models"], found["adapters"], found.get("examples", {})
    log.info(f"Checking {facts['model']} of {facts['run']}: files, chain and report")
    manifests = check_chain(models, adapters, params["asked"], config)
    check_all(examples.values())
    summary = check_report(found["report"], manifests, found["evaluations"], config)

    model, private = params["hub_id"], params["private"]
    sent: dict[str, Any] = {}
    if params["pairs"] and examples:
        name = f"{model}-pairs"
        files: dict[str, Path | bytes] = {f"{number}/{path.name}": path for number, path in examples.items()}
        files["README.md"] = pairs_card(facts, name, examples).encode()
        sent[name] = send(hub, name, files, private, "dataset", ["round*/*"])
    name = f"{model}-lora"
    base = facts["base"]["hub_id"] if facts["base"]["source"] == "hub" else None
    files = adapter_files(adapters, base) | {"README.md": adapter_card(facts, name, summary).encode()}
    sent[name] = send(hub, name, files, private, replaces=["sft/*", "round*/*"])
    files = model_files(models[facts["model"]]) | report_files(found["report"])
    files["README.md"] = model_card(facts, model, summary, config).encode()
    sent[model] = send(hub, model, files, private, replaces=["*.safetensors", "*.safetensors.index.json", "report/*"])
    record = {"run": facts["run"], "model": facts["model"], "config_hash": facts["config_hash"], "repositories": sent}
    write_json(args.output, record)
    say_last(f"Published: {', '.join(reversed(sent))} on {hub.endpoint}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    run(main)
