"""Recipes: the run's own configuration and a study's variations of it, and where each one's files stand.

A stage of a recipe that reads what the run's own stage reads, from inputs that are the run's own, *is* the run's own: its
files stand below the run's name, data/smollm2/round1. Any other's stand below `smollm2/study/KEY`. KEY is a hash of all
differences to the run up to that stage, so recipes share whatever they have in common, and neither a recipe's name nor
the other recipes move its files.

    own, recipes = recipes_of(config)          # a checked config; UserError for a recipe that cannot be
    recipes["beta_02"].place("train_dpo", 1)   # "smollm2/study/1f0c2a9b77"
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from snakemake.utils import update_config

from regime_w.config.schema import load
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import fingerprint

Config = dict[str, Any]

# What a recipe may change: how the model is trained. All else is the same for all, so that they can be compared.
SECTIONS = (
    "method", "rounds", "styles", "arms", "sft", "generate", "coherence", "reward", "pairs", "rejection_sampling", "dpo",
)  # fmt: skip
# How a round trains: the rule that makes its examples, the rule that trains on them, the adapter's folder.
TRAINING = {
    "dpo": ("build_preferences", "train_dpo", "dpo_lora"),
    "rejection_sampling": ("build_samples", "train_rft", "rft_lora"),
}
KEY_DIGITS = 10


# What makes a prompt, by its format; a key that a format does not use changes nothing.
PROMPT_KEYS = {
    "template": ("format", "template", "think_marks"),
    "chat": ("format", "system", "style_in", "template_kwargs", "think_marks"),
}


def prompt_of(config: Config) -> Config:
    """What `Prompts` (regime_w/tasks/prompts.py) reads."""
    prompt = config["prompt"]
    return {"prompt": {key: prompt[key] for key in PROMPT_KEYS[prompt["format"]]}, "styles": config["styles"]}


def _prompts(config: Config) -> Config:
    return {**prompt_of(config), "seed": config["seed"]}


def _trust(config: Config) -> Config:
    """For stages that load a model; only where it is set, so that it changes nothing for others."""
    return {"trust_remote_code": True} if config["base_model"]["trust_remote_code"] else {}


# What each stage reads of a recipe's configuration: the one JSON parameter of its rule.
READS: dict[str, Callable[[Config], Config]] = {
    "train_sft": lambda config: {"sft": config["sft"], **_prompts(config), **_trust(config)},
    "merge_lora": lambda config: {**config["merge"], **_trust(config)},
    "generate": lambda config: {
        "generate": {key: value for key, value in config["generate"].items() if key != "shards"},
        "engine": {**config["engine"], **_trust(config)},
        "arms": config["arms"],
        **_prompts(config),
    },
    "score_rollouts": lambda config: {name: config[name] for name in ("arms", "coherence", "reward")},
    "check_rollouts": lambda config: {
        "trajectories": len(config["arms"]),
        "n_questions": config["generate"]["n_samples"],
    },
    "build_preferences": lambda config: {"pairs": config["pairs"], **_prompts(config), **_trust(config)},
    "build_samples": lambda config: {
        "rejection_sampling": {
            key: config["rejection_sampling"][key] for key in ("per_question", "max_similarity", "train_prompt")
        },
        **_prompts(config),
        **_trust(config),
    },
    "train_dpo": lambda config: {"dpo": config["dpo"], **_prompts(config), **_trust(config)},
    "train_rft": lambda config: {
        "rejection_sampling": config["rejection_sampling"],
        **_prompts(config),
        **_trust(config),
    },
    "evaluate": lambda config: {
        "evaluate": config["evaluate"],
        "engine": {**config["engine"], **_trust(config)},
        **_prompts(config),
        "stop": config["prompt"]["stop"],
    },
    "evaluate_heldout": lambda config: (
        READS["evaluate"](config)
        | {"evaluate": config["evaluate"] | {key: config["study"]["evaluate"][key] for key in ("k", "n_questions")}}
    ),
}


class Recipe:
    """A configuration, and the place of each of its stages: the run's name, or RUN/study/KEY."""

    def __init__(self, name: str, config: Config, own: Config) -> None:
        self.name, self.config, self.own = name, config, own
        self.run: str = config["run"]
        self.rounds = 0 if config["method"] == "none" else int(config["rounds"])
        self.numbers = range(1, self.rounds + 1)
        self.models = [model_name(number) for number in (0, *self.numbers)]
        # Stage, round and what differs there: the way from the base model to here.
        differing: list[tuple[str, int, Config]] = []
        self.places: dict[tuple[str, int], str] = {}
        for stage, number in self.stages():
            changed = differences(READS[stage](config), READS[stage](own))
            if stage in (rules[0] for rules in TRAINING.values()) and self.method(number) != method_of(own, number):
                changed["method"] = self.method(number)
            here = [*differing, (stage, number, changed)] if changed else differing
            if not stage.startswith(("evaluate", "check")):  # nothing is made from these
                differing = here
            key = fingerprint(here)[:KEY_DIGITS]
            self.places[stage, number] = f"{self.run}/study/{key}" if here else self.run

    def stages(self) -> list[tuple[str, int]]:
        """(stage, round) in the order of the data; round 0 is SFT."""
        evaluations = ["evaluate", *(["evaluate_heldout"] if self.config["study"] else [])]
        found = [(stage, 0) for stage in ("train_sft", "merge_lora", *evaluations)]
        for number in self.numbers:
            examples, training, _ = TRAINING[self.method(number)]
            stages = ("generate", "score_rollouts", "check_rollouts", examples, training, "merge_lora", *evaluations)
            found += [(stage, number) for stage in stages]
        return found

    def method(self, number: int) -> str:
        return method_of(self.config, number)

    def place(self, stage: str, number: int) -> str:
        """Where a stage's files stand, below data/, checkpoints/ and so on.

        The run's own stages stand below its name, also those of rounds that a recipe goes on to.
        """
        return self.run if self.config is self.own else self.places[stage, number]

    def model(self, number: int) -> str:
        """Manifest of the model after round `number`; 0 is the SFT model."""
        return f"checkpoints/{self.place('merge_lora', number)}/{merged(number)}/manifest.json"

    def adapter(self, number: int) -> str:
        """Manifest of the adapter that was trained in round `number`; 0 is SFT."""
        if not number:
            return f"checkpoints/{self.place('train_sft', 0)}/sft_lora/manifest.json"
        _, training, folder = TRAINING[self.method(number)]
        return f"checkpoints/{self.place(training, number)}/round{number}/{folder}/manifest.json"

    def rollouts(self, number: int) -> str:
        return f"data/{self.place('score_rollouts', number)}/round{number}/rollouts.jsonl"

    def check(self, number: int) -> str:
        return f"results/{self.place('check_rollouts', number)}/round{number}/rollouts_check.json"

    def completions(self, number: int, shards: list[str]) -> list[str]:
        folder = f"data/{self.place('generate', number)}/round{number}/completions"
        return [f"{folder}/{shard}.jsonl" for shard in shards]

    def examples(self, number: int) -> str:
        """What a round trains on: preference pairs, or its own correct trajectories."""
        rule = TRAINING[self.method(number)][0]
        name = "preferences" if rule == "build_preferences" else "samples"
        return f"data/{self.place(rule, number)}/round{number}/{name}.jsonl"

    def summary(self, number: int) -> str:
        """What a round's examples are counted in."""
        return self.examples(number).removesuffix("l")

    def evaluation(self, number: int, part: str = "eval") -> str:
        """Evaluation records of the model after round `number` on `eval` or `heldout` questions."""
        stage = "evaluate" if part == "eval" else "evaluate_heldout"
        return f"data/{self.place(stage, number)}/{part}/{model_name(number)}.jsonl"

    def usage(self, shards: list[str], part: str | None = "eval") -> list[str]:
        """Usage records of every stage, evaluations of `part` alone; None leaves them out."""
        skipped = {"eval": ["evaluate_heldout"], "heldout": ["evaluate"], None: ["evaluate", "evaluate_heldout"]}[part]
        found = []
        for stage, number in self.stages():
            name = f"round{number}/{stage}" if number else stage
            if stage == "merge_lora":
                name = f"merge_lora/{merged(number)}"
            elif stage in ("evaluate", "evaluate_heldout"):
                name = f"{stage}/{model_name(number)}"
            names = [f"round{number}/generate/{shard}" for shard in shards] if stage == "generate" else [name]
            if stage not in skipped:
                found += [f"benchmarks/{self.place(stage, number)}/{name}.usage.json" for name in names]
        return found


def recipes_of(config: Config) -> tuple[Recipe, dict[str, Recipe]]:
    """The run's own recipe, and those of its study, less those that `study.only` leaves out.

    UserError names the recipe that changes what none may, or whose configuration is no good.
    """
    own = Recipe(config["run"], config, config)
    study = config["study"]
    if not study:
        return own, {}
    names = list(study["recipes"])
    if study["only"] is not None:
        wanted = {*study["only"], *study["baselines"], study["reference"], study["chosen"]}
        names = [name for name in names if name in wanted]
    return own, {name: Recipe(name, overlaid(config, name), config) for name in names}


def overlaid(config: Config, name: str) -> Config:
    """The configuration of a recipe; nested keys are changed one by one, lists as a whole."""
    overlay = config["study"]["recipes"][name] or {}
    where = f"study.recipes.{name}"
    if unknown := sorted(set(overlay) - set(SECTIONS)):
        raise UserError(f"{where}: a recipe cannot change {unknown[0]!r}; it can change {', '.join(SECTIONS)}")
    raw = deepcopy(config)
    update_config(raw, deepcopy(overlay))
    try:
        return load(raw)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def differences(ours: Config, theirs: Config) -> Config:
    """The values of `ours` that `theirs` has otherwise, sections key by key; both have the same keys, `ours` maybe more."""
    found = {}
    for key, value in ours.items():
        other = theirs.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inside := differences(value, other):
                found[key] = inside
        elif value != other:
            found[key] = value
    return found


def method_of(config: Config, number: int) -> str:
    """How round `number` (from 1) trains: `dpo`, `rejection_sampling` or `none`."""
    if config["method"] == "rejection_sampling_then_dpo":
        return "rejection_sampling" if number == 1 else "dpo"
    return str(config["method"])


def merged(number: int) -> str:
    """Folder of the merged model after round `number`."""
    return f"round{number}/merged" if number else "sft_merged"


def model_name(number: int) -> str:
    """`sft`, `round1`, ...: the model's name in evaluations and reports."""
    return f"round{number}" if number else "sft"


def number_of(model: str) -> int:
    """The round of a model's name, or of its folder; 0 is SFT."""
    digits = "".join(filter(str.isdigit, model.partition("/")[0]))
    return int(digits) if model.startswith("round") else 0
