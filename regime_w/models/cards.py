"""Model cards (README.md): what a model or adapter was made from, how it is loaded, its licence and its limits.

    text = card(facts, "adapter")       # facts: regime_w/config/lineage.py

The one in a folder says nothing of an evaluation, which comes after it; the published one does (regime_w/report/hub_cards.py).
Metadata are huggingface_hub's ModelCardData.
"""

import re
from typing import Any, Literal

METHODS = {
    "sft": "Supervised fine-tuning (LoRA, TRL's SFTTrainer) on worked solutions",
    "rejection_sampling": "Rejection-sampling fine-tuning (LoRA, TRL's SFTTrainer) on the policy's own correct trajectories",
    "dpo": "Direct preference optimisation (LoRA, TRL's DPOTrainer) on pairs of the policy's own trajectories",
}
TAGS = {"sft": ["sft"], "rejection_sampling": ["sft", "rejection-sampling"], "dpo": ["dpo"]}
# Licences that the hub knows by these names; any other stands there as `other`, by its own name.
LICENCES = frozenset(
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0"
    " gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 unlicense openrail bigscience-openrail-m gemma llama2 llama3 llama3.1 llama3.2"
    " llama3.3 odc-by odbl".split()
)
SOURCES = {
    "tiny": "A Llama of about a million weights that this pipeline trained from scratch",
    "local": "A model from a folder of its maker's own machine",
    "gguf": "A model from a GGUF file",
}

Facts = dict[str, Any]
Kind = Literal["model", "adapter"]


def card(facts: Facts, kind: Kind) -> str:
    """README.md of a merged model's folder or an adapter's; without facts it says where to look."""
    from huggingface_hub import ModelCardData

    if not facts:
        data = ModelCardData(library_name="transformers" if kind == "model" else "peft")
        return f"---\n{data.to_yaml()}\n---\n\n# Made by hand\n\n`manifest.json` lists what it was made from.\n"
    load = load_model("PATH/OF/THIS/FOLDER") if kind == "model" else load_adapter(facts)
    return f"---\n{ModelCardData(**metadata(facts, kind)).to_yaml()}\n---\n\n{body(facts, kind, load)}"


def metadata(facts: Facts, kind: Kind) -> dict[str, Any]:
    """Arguments of ModelCardData but for the evaluation."""
    base, methods = facts["base"], [each["method"] for each in facts["trainings"]]
    found: dict[str, Any] = {
        "model_name": name_of(facts),
        "library_name": "transformers" if kind == "model" else "peft",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys(["regime-w", "trl", "lora", *(tag for each in methods for tag in TAGS[each])])),
        **licence(base["licence"]),
    }
    if base["source"] == "hub":
        found |= {"base_model": base["hub_id"], "base_model_relation": "finetune" if kind == "model" else "adapter"}
    if data := list(dict.fromkeys(each["hub_id"] for each in facts["data"] if each["hub_id"])):
        found["datasets"] = data
    return found


def licence(name: str | None) -> dict[str, str]:
    """The hub's metadata for a licence as the config has it; none where it says nothing."""
    if not name:
        return {}
    if name.lower() in LICENCES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")}


def name_of(facts: Facts) -> str:
    return f"{facts['run']}-{facts['model']}"


def body(facts: Facts, kind: Kind, load: str, evaluation: str = "") -> str:
    """The card below its metadata, in Markdown. `load`: code that loads it; `evaluation`: a section of its own."""
    what = "merged model" if kind == "model" else "adapter"
    last = facts["trainings"][-1] if facts["trainings"] else None
    sections = [
        f"# {name_of(facts)}",
        f"The {what} after {told(facts['model'])} of the run `{facts['run']}`, made by"
        f" Regime W, a pipeline for preference optimisation of reasoning models.",
        *([METHODS[last["method"]] + "."] if last else []),
        f"## Base\n\n{base_line(facts)}",
        f"## Data\n\n{data_lines(facts)}",
        f"## Method\n\n{method_table(facts)}",
        *([f"## Arms\n\n{arms_table(facts)}"] if facts["arms"] else []),
        *([evaluation] if evaluation else []),
        f"## How to load\n\n```python\n{load}\n```\n\n{asking(facts)}",
        f"## Provenance\n\nSHA-256 of the config that made it: `{facts['config_hash']}`. Seed: {facts['seed']}.",
        f"## Licence\n\n{licence_line(facts)}",
        f"## Limits\n\n{limits(facts)}",
    ]
    return "\n\n".join(sections) + "\n"


def told(model: str) -> str:
    return "SFT" if model == "sft" else f"round {model.removeprefix('round')}"


def base_line(facts: Facts) -> str:
    base = facts["base"]
    if base["source"] != "hub":
        return f"{SOURCES[base['source']]}."
    at = f"revision `{base['revision']}`" if base["revision"] else "the revision that was the newest then"
    return f"[{base['hub_id']}](https://huggingface.co/{base['hub_id']}), {at}."


def data_lines(facts: Facts) -> str:
    """A line for each source of training questions."""
    lines = []
    for each in facts["data"]:
        if each["source"] == "hub":
            what = f"[{each['hub_id']}](https://huggingface.co/datasets/{each['hub_id']})"
            parts = [
                each["hub_config"],
                f"split {each['split']}",
                each["revision"] and f"revision `{each['revision']}`",
            ]
        else:
            what = f"file `{each['file']}`" if each["source"] == "file" else "word problems of the pipeline's generator"
            parts = []
        parts.append(f"licence {each['licence']}" if each["licence"] else "licence not stated")
        lines.append(f"- {what}: {', '.join(filter(None, parts))}")
    if facts["given"]:
        lines.append(f"- round 1 began with another tool's {facts['given']}, in place of its own")
    return "\n".join(lines)


def method_table(facts: Facts) -> str:
    rows = ["| step | method | LoRA | settings |", "|---|---|---|---|"]
    for each in facts["trainings"]:
        method = "an adapter made elsewhere" if each["given"] else METHODS[each["method"]]
        lora, modules = each["lora"], each["lora"]["target_modules"]
        modules = modules if isinstance(modules, str) else ", ".join(modules)
        settings = ", ".join(f"{key} {_value(value)}" for key, value in each["settings"].items())
        own = ["", ""] if each["given"] else [f"r {lora['r']}, alpha {lora['alpha']}, {modules}", settings]
        rows.append(f"| {each['name']} | {method} | {own[0]} | {own[1]} |")
    return "\n".join([*rows, "", "Each adapter is merged into its base before the next step."])


def _value(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def arms_table(facts: Facts) -> str:
    rows = [f"| {arm['name']} | {arm['style']} | {arm['temperature']:g} |" for arm in facts["arms"]]
    styles = [f"- {name}: {_line(text)}" for name, text in facts["styles"].items()]
    head = ["Each question was answered once by each arm.", "", "| arm | style | temperature |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", *styles])


def _line(text: str) -> str:
    return " ".join(text.split())


def asking(facts: Facts) -> str:
    """How a question is put, as in training."""
    prompt = facts["prompt"]
    if prompt["format"] == "chat":
        system = f", with the system message {prompt['system']!r}" if prompt["system"] else ""
        return f"Ask it through its chat template (`tokenizer.apply_chat_template`){system}."
    return f"Ask it in the form that it was trained on:\n\n```python\nprompt = {prompt['template']!r}.format(question=...)\n```"


def load_model(place: str, code: bool = False) -> str:
    """Python that loads a merged model; `code`: it has code of its own."""
    trust = ", trust_remote_code=True" if code else ""
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{place}", dtype="auto"{trust})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{place}"{trust})'
    )


def load_adapter(facts: Facts) -> str:
    """Python that loads an adapter's folder on the model that it was trained on."""
    trust = ", trust_remote_code=True" if facts["code"] else ""
    steps = [each["name"] for each in facts["trainings"]]
    on = f"the merged model after {told(steps[-2])}" if len(steps) > 1 else "the base model"
    return (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("PATH/OF/ITS/BASE", dtype="auto"{trust})  # {on}\n'
        'model = PeftModel.from_pretrained(base, "PATH/OF/THIS/FOLDER")'
    )


def licence_line(facts: Facts) -> str:
    name = facts["base"]["licence"]
    base = f"The base model's licence is {name}" if name else "The base model's licence is not stated in the config"
    return f"{base}; it holds for this one too. The data's licences stand above."


def limits(facts: Facts) -> str:
    lines = [
        "- It was trained on questions with answers that can be checked; nothing else was asked of it.",
        "- It may state wrong steps and wrong answers with confidence. Check what matters.",
        "- It was not trained for safety, and has what biases its base and data have.",
        "- Asked in another form than above it may do worse.",
    ]
    if facts["base"]["source"] == "tiny":
        lines.append("- Its base is a toy for demonstrations, which knows the generator's questions alone.")
    return "\n".join(lines)
