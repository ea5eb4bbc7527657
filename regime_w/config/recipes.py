"""Recipes: the run's own configuration and a study's variations of it, and where each one's files stand.

A stage of a recipe that reads what the run's own stage reads, from inputs that are the run's own, *is* the run's own: its
files stand below the run's name, data/smollm2/round1. Any other's stand below `smollm2/study/KEY`. KEY is a hash of all
differences to the run up to that stage, so recipes share whatever they have in common, and neither a recipe's name nor
the other recipes move its files.

    own, recipes = recipes_of(config)          # a checked config; UserError for a recipe that cannot be
    recipes["beta_02"].place("train_dpo", 1)   # "smollm2/study/1f0c2a9b77"

Where `study.seeds` asks for several trainings, each further one is a recipe of its own, `beta_02.seed2`, that differs in the
seed of its trainings alone, and so shares all that was made before the first of them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from regime_w.config.files import laid_over
from regime_w.config.schema import load, of_set
from regime_w.method.labels import is_withheld
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import fingerprint

Config = dict[str, Any]

# What a recipe may change: how the model is trained. All else is the same for all, so that they can be compared.
SECTIONS = (
    "method", "rounds", "styles", "arms", "sft", "generate", "labels", "coherence", "reward", "pairs", "rejection_sampling", "dpo",
)  # fmt: skip
# How a round trains: the rule that makes its examples, the rule that trains on them, the adapter's folder.
TRAINING = {
    "dpo": ("build_preferences", "train_dpo", "dpo_lora"),
    "rejection_sampling": ("build_samples", "train_rft", "rft_lora"),
}
# The config section of each stage that trains.
SECTION_OF = {"train_sft": "sft", "train_dpo": "dpo", "train_rft": "rejection_sampling"}
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


def prompts_asked(config: Config) -> dict[str, Config]:
    """What `Prompts` reads for the run, by the section's name, and for each evaluation set that asks otherwise."""
    own = prompt_of(config)
    sets = {f"questions.eval.{name}.prompt": prompt_of(of_set(config, name)) for name in config["questions"]["eval"]}
    return {"prompt": own} | {name: asked for name, asked in sets.items() if asked != own}


def _prompts(config: Config) -> Config:
    return {**prompt_of(config), "seed": config["seed"]}


def _trust(config: Config) -> Config:
    """For stages that load a model; only where it is set, so that it changes nothing for others."""
    return {"trust_remote_code": True} if config["base_model"]["trust_remote_code"] else {}


def labels_read(config: Config) -> Config:
    """What decides the labels: of the section `labels` what its source uses, so that nothing else makes them anew."""
    labels = config["labels"]
    source = labels["rest"] if labels["source"] == "gold_share" else labels["source"]
    keys = ["source", "noise"]
    keys += ["share", "rest"] if labels["source"] == "gold_share" else []
    keys += ["filter"] if source in ("vote", "cross_style", "random") else []
    keys += ["min_agreement"] if source in ("vote", "cross_style") else []
    draws = labels["source"] in ("gold_share", "random") or labels["noise"]
    return {key: labels[key] for key in keys} | ({"seed": config["seed"]} if draws else {})


def seed_of(config: Config, section: str) -> int:
    """The seed of a training; without one of its own it is the run's."""
    own = config[section]["seed"]
    return int(config["seed"] if own is None else own)


def _trained(config: Config, section: str, without: Iterable[str] = ()) -> Config:
    """What a training reads of its section, less what other stages use and the seed, which stands beside it."""
    left_out = {"seed", *without}
    return {section: {key: value for key, value in config[section].items() if key not in left_out}}


def needs_gold(config: Config) -> bool:
    """Whether a training question must have a gold answer."""
    return config["labels"]["source"] in ("gold", "gold_share")


# What each stage reads of a recipe's configuration: the one JSON parameter of its rule.
READS: dict[str, Callable[[Config], Config]] = {
    "train_sft": lambda config: {
        **_trained(config, "sft", ("method", "part", "n_examples")),
        **_prompts(config),
        "training_seed": seed_of(config, "sft"),
        **_trust(config),
    },
    "merge_lora": lambda config: {**config["merge"], **_trust(config)},
    "generate": lambda config: {
        "generate": {key: config["generate"][key] for key in ("max_new_tokens", "top_p")},
        "engine": {**config["engine"], **_trust(config)},
        "arms": config["arms"],
        **_prompts(config),
    },
    "import_rollouts": lambda config: {
        "rollouts": config["start"]["rollouts"],
        **{name: config[name] for name in ("arms", "task")},
        "without_gold": not needs_gold(config),
        **_prompts(config),
        **_trust(config),
    },
    "import_preferences": lambda config: {
        "preferences": config["start"]["preferences"],
        "format": config["prompt"]["format"],
    },
    "score_rollouts": lambda config: {
        **{name: config[name] for name in ("task", "arms", "coherence", "reward")},
        "labels": labels_read(config),
    },
    "check_rollouts": lambda config: {
        "trajectories": len(config["arms"]),
        "n_questions": config["generate"]["n_samples"],
        **({"labels": True} if is_withheld(config["labels"]) else {}),
    },
    "build_preferences": lambda config: {
        "pairs": config["pairs"] | {"by": config["reward"]["correct"], "weight": config["labels"]["weight"]},
        **_prompts(config),
        **_trust(config),
    },
    "build_samples": lambda config: {
        "rejection_sampling": {
            key: config["rejection_sampling"][key]
            for key in ("per_question", "max_samples", "max_similarity", "train_prompt")
        },
        **_prompts(config),
        **_trust(config),
    },
    "train_dpo": lambda config: {
        **_trained(config, "dpo"),
        **_prompts(config),
        "seed": seed_of(config, "dpo"),
        **_trust(config),
    },
    "train_rft": lambda config: {
        **_trained(config, "rejection_sampling"),
        **_prompts(config),
        "seed": seed_of(config, "rejection_sampling"),
        **_trust(config),
    },
    "evaluate": lambda config: {
        "task": config["task"],
        "evaluate": config["evaluate"],
        "engine": {**config["engine"], **_trust(config)},
        **_prompts(config),
        "stop": config["prompt"]["stop"],
    },
    "outside_answers": lambda config: {
        "task": config["task"],
        "evaluate": {key: config["evaluate"][key] for key in ("max_new_tokens", "n_questions", "styles")},
        "engine": {"transformers": config["engine"]["transformers"], **_trust(config)},
        **prompt_of(config),
        "stop": config["prompt"]["stop"],
        "limit": config["outside_check"]["limit"],
    },
}


def read_by(stage: str, number: int, config: Config) -> Config:
    """What a stage reads of a configuration in round `number`; 0 is SFT."""
    if stage == "split_questions":
        return taken(config, number)
    if stage == "check_rollouts" and begun(config, number):
        return READS[stage](config) | {"n_questions": None}  # as many as the file has
    return READS[stage](config)


def taken(config: Config, number: int) -> Config:
    """Which training questions SFT (0) or a round takes: of a part, the first n after those passed over."""
    sft, generate = config["sft"], config["generate"]
    if not number:
        return {"use": "sft", "part": sft["part"], "skip": 0, "n": sft["n_examples"]}
    earlier = number - 1 - bool(config["start"])  # rounds that took questions
    passed_over = earlier * generate["n_samples"] if generate["new_questions"] else 0
    return {
        "use": "rollouts",
        "part": generate["part"],
        "skip": generate["skip"] + passed_over,
        "n": generate["n_samples"],
    }


def begun(config: Config, number: int) -> str | None:
    """The stage that a round begins with instead of its own rollouts."""
    if number != 1 or not config["start"]:
        return None
    return "import_rollouts" if config["start"]["rollouts"] else "import_preferences"


class Recipe:
    """A configuration, and the place of each of its stages: the run's name, or RUN/study/KEY.

    `of` is the study's recipe that this is a training of, `seed` which one, from 1; the first has the recipe's own name.
    """

    def __init__(self, name: str, config: Config, own: Config, seed: int = 1) -> None:
        self.of, self.seed = name, seed
        self.name = name if seed == 1 else f"{name}.seed{seed}"
        self.config, self.own = config, own
        self.run: str = config["run"]
        self.rounds = 0 if config["method"] == "none" else int(config["rounds"])
        self.numbers = range(1, self.rounds + 1)
        self.sft = config["sft"]["method"] != "none"
        self.models = [self.called(number) for number in (0, *self.numbers)]
        # Stage, round and what differs there: the way from the base model to here.
        differing: list[tuple[str, int, Config]] = []
        if not self.sft and own["sft"]["method"] != "none":
            differing = [("train_sft", 0, {"method": "none"})]
        self.places: dict[tuple[str, int], str] = {}
        for stage, number in self.stages():
            changed = differences(read_by(stage, number, config), read_by(stage, number, own))
            if stage in (rules[0] for rules in TRAINING.values()) and self.method(number) != method_of(own, number):
                changed["method"] = self.method(number)
            difference = [(stage, number, changed)] if changed else []
            here = differing + difference
            if not stage.startswith(("evaluate", "check")):  # nothing is made from these
                differing = here
            if stage == "split_questions" or (stage == "evaluate" and self.called(number) == "base"):
                here = difference  # no model of ours comes before them
            key = fingerprint(here)[:KEY_DIGITS]
            self.places[stage, number] = f"{self.run}/study/{key}" if here else self.run

    def stages(self) -> list[tuple[str, int]]:
        """(stage, round) in the order of the data; round 0 is SFT, or the base model where there is none."""
        found = []
        if self.sft:
            found += [] if self.config["sft"]["adapter"] else [("split_questions", 0)]
            found += [("train_sft", 0), ("merge_lora", 0)]
        found.append(("evaluate", 0))
        for number in self.numbers:
            examples, training, _ = TRAINING[self.method(number)]
            first = begun(self.config, number)
            stages = [first] if first else ["split_questions", "generate"]
            if first != "import_preferences":
                stages += ["score_rollouts", "check_rollouts", examples]
            found += [(stage, number) for stage in (*stages, training, "merge_lora", "evaluate")]
        return found

    def called(self, number: int) -> str:
        """The name, in evaluations and reports, of the model after round `number`; 0 is what round 1 samples from."""
        return f"round{number}" if number else "sft" if self.sft else "base"

    @property
    def sampled(self) -> list[int]:
        """The rounds that have rollouts."""
        return [number for number in self.numbers if begun(self.config, number) != "import_preferences"]

    def method(self, number: int) -> str:
        return method_of(self.config, number)

    def place(self, stage: str, number: int) -> str:
        """Where a stage's files stand, below data/, checkpoints/ and so on.

        The run's own stages stand below its name, also those of rounds that a recipe goes on to.
        """
        return self.run if self.config is self.own else self.places[stage, number]

    def model(self, number: int) -> str:
        """Folder of the model after round `number`; 0 is what round 1 samples from, the SFT model or the base."""
        if self.called(number) == "base":
            return f"checkpoints/{self.run}/base"
        return f"checkpoints/{self.place('merge_lora', number)}/{merged(number)}"

    def adapter(self, number: int) -> str:
        """Folder of the adapter that was trained in round `number`; 0 is SFT."""
        if not number:
            return f"checkpoints/{self.place('train_sft', 0)}/sft_lora"
        _, training, folder = TRAINING[self.method(number)]
        return f"checkpoints/{self.place(training, number)}/round{number}/{folder}"

    def questions(self, number: int) -> str:
        """The questions that SFT (0) or a round was given."""
        stage = begun(self.config, number) or "split_questions"
        return f"data/{self.place(stage, number)}/questions/{f'round{number}' if number else 'sft'}.jsonl"

    def parts(self) -> list[str]:
        """`questions` of SFT, where it is trained here, and of each round."""
        stages = ("split_questions", "import_rollouts", "import_preferences")
        return [self.questions(number) for stage, number in self.stages() if stage in stages]

    def given(self) -> list[str]:
        """What was noted of another tool's work that round 1 begins with."""
        if not self.rounds or not (stage := begun(self.config, 1)):
            return []
        name = "given" if stage == "import_rollouts" else "preferences"
        return [f"data/{self.place(stage, 1)}/round1/{name}.json"]

    def rollouts(self, number: int) -> str:
        return f"data/{self.place('score_rollouts', number)}/round{number}/rollouts.jsonl"

    def check(self, number: int) -> str:
        return f"results/{self.place('check_rollouts', number)}/round{number}/rollouts_check.json"

    def completions(self, number: int, shards: list[str]) -> list[str]:
        given = begun(self.config, number)
        folder = f"data/{self.place(given or 'generate', number)}/round{number}/completions"
        return [f"{folder}/{shard}.jsonl" for shard in (["given"] if given else shards)]

    def examples(self, number: int) -> str:
        """What a round trains on: preference pairs, or its own correct trajectories."""
        rule = TRAINING[self.method(number)][0]
        name = "preferences" if rule == "build_preferences" else "samples"
        if begun(self.config, number) == "import_preferences":
            rule = "import_preferences"
        return f"data/{self.place(rule, number)}/round{number}/{name}.jsonl"

    def summary(self, number: int) -> str:
        """What a round's examples are counted in."""
        return self.examples(number).removesuffix("l")

    def answers(self, number: int, name: str) -> str:
        """What the model after round `number` answers on an evaluation set, or on the held-out questions."""
        return f"data/{self.place('evaluate', number)}/answers/{name}/{self.called(number)}.jsonl"

    def usage(self, shards: list[str], sets: Iterable[str]) -> list[str]:
        """Usage records of every stage, evaluations on these sets alone."""
        found = []
        for stage, number in self.stages():
            names = [f"round{number}/{stage}" if number else stage]
            if stage == "merge_lora":
                names = [f"merge_lora/{merged(number)}"]
            elif stage == "split_questions":
                names = []  # seconds, which are not recorded
            elif stage == "evaluate":
                names = [f"evaluate/{name}/{self.called(number)}" for name in sets]
            elif stage == "generate":
                names = [f"round{number}/generate/{shard}" for shard in shards]
            found += [f"benchmarks/{self.place(stage, number)}/{name}.usage.json" for name in names]
        return found


def recipes_of(config: Config) -> tuple[Recipe, dict[str, Recipe]]:
    """The run's own recipe, and those of its study by their names, each seed's, less those that `study.only` leaves out.

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
    found = [recipe for name in names for recipe in _trainings(Recipe(name, overlaid(config, name), config))]
    return own, {recipe.name: recipe for recipe in found}


def _trainings(recipe: Recipe) -> list[Recipe]:
    """A recipe once for each seed of the study; UserError where both name seeds.

    Its rounds are what a seed trains again. Where there is none it is an SFT of its own; the run's SFT, which others go on
    from, is trained once.
    """
    config, own = recipe.config, recipe.own
    seeds = own["study"]["seeds"]
    sections = list(dict.fromkeys(SECTION_OF[TRAINING[recipe.method(number)][1]] for number in recipe.numbers))
    if not recipe.rounds and recipe.places.get(("train_sft", 0), recipe.run) != recipe.run:
        sections = [] if config["sft"]["adapter"] else ["sft"]
    if not sections or seeds == 1:
        return [recipe]
    if isinstance(seeds, list) and (named := [each for each in sections if config[each]["seed"] is not None]):
        raise UserError(f"study.seeds and {named[0]}.seed, of {recipe.of}, both name a seed; take one of them out")
    numbers = range(1, seeds + 1) if isinstance(seeds, int) else range(1, len(seeds) + 1)
    found = []
    for number in numbers:
        seeded = {
            section: config[section]
            | {"seed": (seed_of(config, section) + number - 1) % 2**32 if isinstance(seeds, int) else seeds[number - 1]}
            for section in sections
        }
        found.append(Recipe(recipe.of, config | seeded, own, number))
    return found


def overlaid(config: Config, name: str) -> Config:
    """The configuration of a recipe; nested keys are changed one by one, lists as a whole."""
    overlay = config["study"]["recipes"][name] or {}
    where = f"study.recipes.{name}"
    if unknown := sorted(set(overlay) - set(SECTIONS)):
        raise UserError(f"{where}: a recipe cannot change {unknown[0]!r}; it can change {', '.join(SECTIONS)}")
    try:
        return load(laid_over(config, overlay))
    except UserError as error:
        raise UserError(*(f"{where}: {line}" for line in error.lines)) from None


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


def number_of(model: str) -> int:
    """The round of a model's name, or of its folder; 0 is SFT or the base."""
    digits = "".join(filter(str.isdigit, model.partition("/")[0]))
    return int(digits) if model.startswith("round") else 0
