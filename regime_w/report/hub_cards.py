"""Cards of what is published: the model with its evaluation, its adapters, the pairs that it was trained on.

Metadata are huggingface_hub's: ModelCardData with an EvalResult for each set and metric, DatasetCardData.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from regime_w.models.cards import Facts, body, licence, load_model, metadata, name_of, told
from regime_w.report.format import interval

METRICS = {
    "greedy": "accuracy of greedy answers",
    "mean": "mean accuracy of {k} samples",
    "majority": "majority of {k}",
}


def model_card(facts: Facts, repository: str, summary: dict[str, Any], config: dict[str, Any]) -> str:
    """README.md of the merged model; its evaluation is the report's."""
    data = ModelCardData(**metadata(facts, "model"), eval_results=results(facts, summary, config))
    text = body(facts, "model", load_model(repository, facts["code"]), evaluation_section(facts, summary))
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def adapter_card(facts: Facts, repository: str, summary: dict[str, Any]) -> str:
    """README.md of the adapters, a folder each, which are merged one after the other."""
    data = ModelCardData(**metadata(facts, "adapter"))
    text = body(facts, "adapter", load_adapters(facts, repository), evaluation_section(facts, summary))
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def pairs_card(facts: Facts, repository: str, examples: Mapping[str, Path]) -> str:
    """README.md of the data set: a configuration a round."""
    data = DatasetCardData(
        pretty_name=f"{name_of(facts)}: what its rounds were trained on",
        tags=["regime-w", "preference", "dpo"],
        **dataset_licence(facts),
        configs=[
            {"config_name": name, "data_files": f"{name}/{path.name}"} for name, path in examples.items()
        ],
    )  # fmt: skip
    rows = [f"| {name} | {path.name} |" for name, path in examples.items()]
    first = next(iter(examples))
    sources = [
        f"- {each['hub_id'] or each['file'] or 'the generator'}: {each['licence'] or 'licence not stated'}"
        for each in facts["data"]
    ]
    text = [
        f"# What {name_of(facts)} was trained on",
        "Trajectories of the policy of each round. `preferences.jsonl` has pairs in TRL's standard format (`prompt`, `chosen`,"
        " `rejected`), `samples.jsonl` a prompt and a correct trajectory.",
        "\n".join(["| configuration | file |", "|---|---|", *rows]),
        f'```python\nfrom datasets import load_dataset\n\nrows = load_dataset("{repository}", "{first}", split="train")\n```',
        "## Licence\n\nThe questions are these, with their licences:\n\n" + "\n".join(sources),
        f"## Limits\n\nThe texts are a model's own, wrong ones among them. SHA-256 of the config: `{facts['config_hash']}`.",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"


def dataset_licence(facts: Facts) -> dict[str, Any]:
    """The data set's metadata where all questions have one licence."""
    names = {each["licence"] for each in facts["data"]}
    return dict(licence(names.pop())) if len(names) == 1 else {}


def load_adapters(facts: Facts, repository: str) -> str:
    """Python that merges the published adapters into the base, in their order."""
    base, trust = facts["base"], ", trust_remote_code=True" if facts["code"] else ""
    name = base["hub_id"] if base["source"] == "hub" else "PATH/OF/THE/BASE"
    revision = f', revision="{base["revision"]}"' if base["source"] == "hub" and base["revision"] else ""
    steps = [each["name"] for each in facts["trainings"]]
    return (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{name}"{revision}, dtype="auto"{trust})\n'
        f"for step in {steps}:\n"
        f'    model = PeftModel.from_pretrained(model, "{repository}", subfolder=step).merge_and_unload()'
    )


def sets_of(summary: dict[str, Any]) -> dict[str, Any]:
    return {summary["set"]: summary, **summary["other_sets"]}


def results(facts: Facts, summary: dict[str, Any], config: dict[str, Any]) -> list[EvalResult]:
    """An entry of the model-index for each set and metric, in percent; its interval stands among the metric's arguments."""
    found = []
    for name, own in sets_of(summary).items():
        source = config["questions"]["eval"][name]
        row = next(model for model in own["models"] if model["name"] == facts["model"])
        for metric, label in METRICS.items():
            share = row[metric]
            found.append(
                EvalResult(
                    task_type="text-generation",
                    dataset_type=source["hub_id"] or name,
                    dataset_name=name,
                    dataset_config=source["hub_config"],
                    dataset_split=source["split"],
                    dataset_revision=source["revision"],
                    metric_type="accuracy",
                    metric_name=label.format(k=row["k"]),
                    metric_value=percent(share["value"]),
                    metric_args={
                        "low": percent(share["low"]),
                        "high": percent(share["high"]),
                        "level": summary["settings"]["level"],
                        "questions": row["n"],
                    },
                )
            )
    return found


def percent(share: float) -> float:
    return round(100 * share, 2)


def evaluation_section(facts: Facts, summary: dict[str, Any]) -> str:
    """A table for each set: every model up to the published one, each share with its interval."""
    level = summary["settings"]["level"]
    parts = [
        f"## Evaluation\n\nAccuracy in percent, with {level:.0%} intervals. The whole report: `report/` of the model."
    ]
    for name, own in sets_of(summary).items():
        k = own["models"][0]["k"]
        head = " | ".join(label.format(k=k) for label in METRICS.values())
        rows = [f"### {name}\n", f"| model | questions | {head} |", "|---|---|" + "---|" * len(METRICS)]
        for row in own["models"]:
            cells = " | ".join(f"{100 * row[metric]['value']:.1f} ({interval(row[metric])})" for metric in METRICS)
            rows.append(f"| {row['name']} | {row['n']} | {cells} |")
            if row["name"] == facts["model"]:
                break
        parts.append("\n".join(rows))
    return "\n\n".join([*parts, f"This is the model after {told(facts['model'])}."])
