"""What all rules share: the checked config, the GPUs at hand, the code a rule depends on. No rules here."""

import json
import math
import re
import sys
from pathlib import Path

from snakemake.utils import update_config

sys.path.insert(0, str(Path(workflow.basedir)))

from regime_w.config.code_inputs import modules_of
from regime_w.config.schema import load
from regime_w.runtime.errors import UserError
from regime_w.runtime.gpu import jobs_per_gpu, visible_gpus
from regime_w.config.plan import auto_shards, check_gpus, check_paths, planned_gpus
from regime_w.config.recipes import READS, number_of, prompt_of, recipes_of

try:
    CONFIG = load(config)
    # On a cluster the profile sets the cap; here it is what the machine has, 0 for a CPU run.
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(visible_gpus()) * jobs_per_gpu())
    PLACES = planned_gpus(workflow.global_resources["gpu"].value, workflow.is_main_process)
    GPUS = math.ceil(PLACES / jobs_per_gpu())
    if CONFIG["benchmark"] and not GPUS:
        update_config(config, CONFIG["benchmark"]["without_gpu"])
        CONFIG = load(config)
    OWN, RECIPES = recipes_of(CONFIG)
    for each in (OWN, *RECIPES.values()):
        check_paths(each.config)
        check_gpus(each.config, GPUS, jobs_per_gpu())
except UserError as error:
    sys.exit(f"error: {error}")

RUN = CONFIG["run"]
NODE_GPUS = 8
# Without GPUs jobs ask for none themselves: Snakemake would lower what they ask for, but not on a cluster's node.
ONE_GPU = min(1, GPUS)
ENGINE_GPUS = min(CONFIG["engine"]["vllm"]["tensor_parallel_size"], GPUS)
SOURCES = {CONFIG["questions"][name]["source"] for name in ("train", "eval")}
NUMBERS = OWN.numbers
ROUNDS = OWN.models[1:]
MODELS = ["base", *OWN.models]
SHARDS = auto_shards(CONFIG, GPUS)
# On one GPU all of the run's models are evaluated by one job, whose engine starts once; on more they are side by side.
# The benchmark needs one of them, and so does a study in which the run as it is has no part.
ONE_EVALUATION = (
    GPUS == 1
    and CONFIG["engine"]["name"] != "transformers"
    and not CONFIG["benchmark"]
    and any(each.model(each.rounds) == OWN.model(OWN.rounds) for each in RECIPES.values() or [OWN])
)
ENV = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"
BASE = f"checkpoints/{RUN}/base/manifest.json"
MANIFESTS = [BASE, *(OWN.model(number) for number in (0, *NUMBERS))]  # of MODELS
EVALUATIONS = [f"data/{RUN}/eval/{model}.jsonl" for model in MODELS]
# The recipe that a stage in a study's folder belongs to: any of those that share it.
PLACES = {
    (stage, number, place): recipe
    for recipe in RECIPES.values()
    for (stage, number), place in recipe.places.items()
    if place != RUN
}


wildcard_constraints:
    # The run's own name, or a folder of stages in which its study's recipes differ from it (regime_w/config/recipes.py).
    run=rf"{re.escape(RUN)}(/study/[0-9a-f]+)?",
    round=r"[1-9][0-9]*",
    shard=r"[0-9]+-of-[0-9]+",
    policy=r"sft_merged|round[1-9][0-9]*/merged",
    model=r"base|sft|round[1-9][0-9]*",


def code(module, skip=()):
    """The module's file and those of all modules of ours that it imports, less those that this config never runs:
    a real edit reruns what it touches."""
    return modules_of(
        f"scripts.{module}", Path(workflow.basedir), tuple(skip)
    )


def part(**sections):
    """A rule's own part of the config as one JSON parameter; in a lambda, since prompts hold braces."""
    return lambda wildcards: json.dumps(sections, sort_keys=True)


def recipe_of(stage, wildcards):
    """The recipe whose stage a rule's wildcards name, and its round (0 is SFT)."""
    model = wildcards.get("policy") or wildcards.get("model")
    number = number_of(model) if model else int(wildcards.get("round", 0))
    if wildcards.run == RUN:
        return OWN, number
    if (stage, number, wildcards.run) not in PLACES:
        raise WorkflowError(
            f"{stage} in {wildcards.run}: no recipe of the config's study makes this"
        )
    return PLACES[stage, number, wildcards.run], number


def reads(stage):
    """What a stage reads of its recipe's config (READS in regime_w/config/recipes.py) as one JSON parameter."""
    return lambda wildcards: json.dumps(
        READS[stage](recipe_of(stage, wildcards)[0].config), sort_keys=True
    )


def training_gpus(stage, section):
    """GPUs of a training job: what its recipe says; for auto all of them, within one machine, or one where jobs share them."""

    def gpus(wildcards):
        wanted = recipe_of(stage, wildcards)[0].config[section]["gpus"]
        most = NODE_GPUS if jobs_per_gpu() == 1 else 1
        return min(most if wanted == "auto" else wanted, GPUS)

    return gpus


def threads_for(gpu, cpu):
    """CPU threads of a rule with and without GPUs; Snakemake lowers them to the cores there are.

    The tiny model's matrices are too small to share: with two threads it is slower than with one.
    """
    if GPUS:
        return max(1, gpu // jobs_per_gpu())
    return 1 if CONFIG["base_model"]["source"] == "tiny" else cpu


def policy_of(stage):
    """The policy that a round samples from and trains: the SFT model, later that of the round before."""

    def manifest(wildcards):
        recipe, number = recipe_of(stage, wildcards)
        return recipe.model(number - 1)

    return manifest


def made_in_round(stage, what):
    """A file of the round that a stage belongs to, say its rollouts."""

    def file(wildcards):
        recipe, number = recipe_of(stage, wildcards)
        return getattr(recipe, what)(number)

    return file


def shards_of(recipe, short):
    """The shards of a recipe; `short` as one word (`expand` in regime_w/runtime/records.py).

    A command holds 128 KB, in which the names of thousands of files do not fit.
    """
    shards = auto_shards(recipe.config, GPUS)
    return [f"{{0..{len(shards) - 1}}}-of-{len(shards)}"] if short else shards


def completions(wildcards, short=False):
    recipe, number = recipe_of("score_rollouts", wildcards)
    return recipe.completions(number, shards_of(recipe, short))


def merge_base(wildcards):
    """The model that a merge's adapter was trained on."""
    recipe, number = recipe_of("merge_lora", wildcards)
    return recipe.model(number - 1) if number else BASE


def evaluated(stage):
    """The manifest of the model that is evaluated."""

    def manifest(wildcards):
        if wildcards.model == "base":
            return BASE
        recipe, number = recipe_of(stage, wildcards)
        return recipe.model(number)

    return manifest


def usages(recipe, part="eval", short=False):
    """The usage records of every stage that makes a recipe's models and evaluates them on this part."""
    together = part == "eval" and ONE_EVALUATION
    once = ["fetch_questions", "base_model"]
    if part == "eval":
        once.append("evaluate" if together else "evaluate/base")
    return [
        *(f"benchmarks/{RUN}/{stage}.usage.json" for stage in once),
        *recipe.usage(shards_of(recipe, short), None if together else part),
    ]


def rounds_by(method):
    """The run's own rounds that train in this way."""
    return [number for number in NUMBERS if OWN.method(number) == method]


def training_records(names, adapters):
    """NAME=FILE arguments of what the adapters' trainings recorded."""
    return named(names, [str(Path(file).with_name("training.json")) for file in adapters])


def read_on_eval():
    """The study's recipes that are read on the evaluation questions: the baselines and, once it is known, the chosen one."""
    choice = json.loads(Path(checkpoints.choose_recipe.get().output.choice).read_text())
    names = dict.fromkeys([*CONFIG["study"]["baselines"], choice["chosen"]])
    return {name: RECIPES[name].evaluation(RECIPES[name].rounds) for name in names}


def named(names, files):
    """NAME=FILE arguments for the report's command line."""
    return [f"{name}={file}" for name, file in zip(names, files, strict=True)]
