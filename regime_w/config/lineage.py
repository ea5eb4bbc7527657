"""What a model was made from, as its card says it: base, data, arms, each training, a hash of all that had a part in it.

    lineage(recipe, 1)   # of round 1's adapter and merged model; 0 is SFT
    {"run": "demo", "model": "round1", "base": {...}, "prompt": {...}, "trainings": [...], "arms": [...], "data": [...],
     "config_hash": "5d41..."}

It names files without their folders, which are the machine's own. It is the same as long as the model is, so that the
config's other keys make no new card.
"""

from pathlib import Path
from typing import Any

from regime_w.config.plan import train_sources
from regime_w.config.recipes import SECTION_OF, TRAINING, Recipe, prompt_of, read_by
from regime_w.runtime.records import fingerprint

# Of a training's section, what a reader of the card asks for.
SHOWN = ("learning_rate", "epochs", "batch_size", "scheduler", "loss_type", "loss_weights", "beta", "seed")
# Stages that make nothing that the model is made from, and the merge, whose settings change no weight.
BESIDE = ("evaluate", "check_rollouts", "merge_lora")

Config = dict[str, Any]


def lineage(recipe: Recipe, number: int) -> Config:
    """Of the adapter and the merged model of round `number`; 0 is SFT."""
    config = recipe.config
    steps = [(stage, each) for stage, each in recipe.stages() if each <= number and stage not in BESIDE]
    stages = {stage for stage, _ in steps}
    made = {
        "base_model": config["base_model"],
        "questions": {key: value for key, value in config["questions"].items() if key != "eval"},
        "steps": [[stage, each, read_by(stage, each, config)] for stage, each in steps],
    }
    return {
        "run": config["run"],
        "model": recipe.called(number),
        "base": {key: config["base_model"][key] for key in ("source", "hub_id", "revision", "licence")},
        "code": config["base_model"]["trust_remote_code"],
        "prompt": prompt_of(config)["prompt"],
        "styles": config["styles"],
        "trainings": [_training(stage, each, config) for stage, each in steps if stage in SECTION_OF],
        "arms": config["arms"] if stages & {"generate", "import_rollouts"} else [],
        "given": next((what for what in ("rollouts", "preferences") if f"import_{what}" in stages), None),
        "data": [_source(source) for source in train_sources(config).values()],
        "seed": config["seed"],
        "config_hash": fingerprint(made),
    }


def trained_by(recipe: Recipe, number: int) -> str:
    """The stage that trains round `number`'s adapter; 0 is SFT."""
    return TRAINING[recipe.method(number)][1] if number else "train_sft"


def _training(stage: str, number: int, config: Config) -> Config:
    own = config[SECTION_OF[stage]]
    return {
        "name": f"round{number}" if number else "sft",
        "method": SECTION_OF[stage],
        "given": bool(own.get("adapter")),
        "lora": {key: own["lora"][key] for key in ("r", "alpha", "target_modules")},
        "settings": {key: own[key] for key in SHOWN if own.get(key) is not None},
    }


def _source(source: Config) -> Config:
    shown = {key: source[key] for key in ("source", "hub_id", "hub_config", "revision", "split", "licence")}
    return shown | {"file": Path(source["path"]).name if source["path"] else None}
