"""What is published of a run, and whether it all belongs together: models, adapters, report and config.

    check_chain(models, adapters, asked, config)            # manifests, from the base model to the published one
    check_report(report, models, evaluations, config)       # the report is of these models, answers and this config
    files = model_files(folder) | report_files(...)         # {place in the repository: file, or its content}

All raise UserError. Cards are written by regime_w/report/hub_cards.py.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regime_w.models.manifests import MANIFEST, load_manifest
from regime_w.report.render import render
from regime_w.report.summary import plain
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import read_json, sha256_file

RERUN = "run snakemake again, which makes it anew"
BASE_KEYS = ("source", "hub_id", "revision", "path", "licence")

Content = Path | bytes
Manifests = dict[str, dict[str, Any]]


def check_chain(
    models: Mapping[str, Path], adapters: Mapping[str, Path], asked: Mapping[str, Any], config: dict[str, Any]
) -> Manifests:
    """The manifests of the models, all files verified, from the base on; UserError where a link is another's.

    `models`, `adapters`: folders by name, in their order, each adapter under the model that it was merged to; `asked`: the
    parameters that each training has by the config, None for an adapter made elsewhere.
    """
    found = {name: load_manifest(folder)[1] for name, folder in models.items()}
    first = next(iter(models))
    for key in BASE_KEYS:
        if (ours := found[first]["made_from"].get(key)) != config["base_model"][key]:
            raise UserError(
                f"{models[first]}: was made with base_model.{key} {ours!r}, the config has"
                f" {config['base_model'][key]!r}; {RERUN}"
            )
    before = first
    for name, folder in adapters.items():
        manifest = load_manifest(folder)[1]
        made = manifest["made_from"]
        if made.get("policy", made.get("base")) != found[before]["fingerprint"]:
            raise UserError(f"{folder}: was trained on another model than {models[before]}; {RERUN}")
        if asked[name] is not None and made.get("params") != asked[name]:
            raise UserError(f"{folder}: was trained with other settings than the config's; {RERUN}")
        merged = found[name]["made_from"]
        if (merged.get("base"), merged.get("adapter")) != (found[before]["fingerprint"], manifest["fingerprint"]):
            raise UserError(f"{models[name]}: was not merged from {models[before]} and {folder}; {RERUN}")
        before = name
    return found


def check_report(
    report: Mapping[str, Path],
    manifests: Manifests,
    evaluations: Mapping[str, Mapping[str, Path]],
    config: dict[str, Any],
) -> dict[str, Any]:
    """The report's numbers; UserError unless its three forms are one, and of this config, these models and these answers."""
    summary = read_json(report["json"])
    where = summary.get("provenance", {}) if isinstance(summary, dict) else {}
    if not where or summary.get("run") != config["run"] or where.get("config") != plain(config):
        raise UserError(f"{report['json']}: is the report of another config than this one; {RERUN}")
    for name, manifest in manifests.items():
        if where["models"].get(name, {}).get("fingerprint") != manifest["fingerprint"]:
            raise UserError(f"{report['json']}: is about another model {name} than the one that is here; {RERUN}")
    hashes = {entry["name"]: entry["sha256"] for entry in where["inputs"]}
    for set_, files in evaluations.items():
        for model, path in files.items():
            if hashes.get(f"evaluation {set_}/{model}") != sha256_file(path):
                raise UserError(f"{path}: is not what {report['json']} was made from; {RERUN}")
    html, md = render(summary)
    for form, text in (("html", html), ("md", md)):
        if report[form].read_bytes() != text.encode("utf-8", "replace"):
            raise UserError(f"{report[form]}: does not say what {report['json']} does; remove it, then {RERUN}")
    return summary


def model_files(folder: Path) -> dict[str, Content]:
    """The files that a folder's manifest lists, by name, but for its card."""
    return {name: folder / name for name in read_json(folder / MANIFEST)["files"] if name != "README.md"}


def report_files(report: Mapping[str, Path]) -> dict[str, Content]:
    """The report in all its forms and the config."""
    return {f"report/{path.name}": path for path in report.values()}


def adapter_files(adapters: Mapping[str, Path], base: str | None) -> dict[str, Content]:
    """Each adapter in a folder of its name; that of its base is no longer this machine's."""
    found: dict[str, Content] = {}
    for name, folder in adapters.items():
        found |= {f"{name}/{file}": path for file, path in model_files(folder).items()}
        config = read_json(folder / "adapter_config.json") | {"base_model_name_or_path": base}
        found[f"{name}/adapter_config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    return found
