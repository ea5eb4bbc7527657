"""What all rules share: the checked config, the GPUs at hand, the code a rule depends on. No rules here."""

import json
import re
import sys
from pathlib import Path

from snakemake.utils import update_config

sys.path.insert(0, str(Path(workflow.basedir)))

from scripts.code_inputs import modules_of
from scripts.config import load
from scripts.errors import UserError
from scripts.gpu import visible_gpus
from scripts.plan import auto_shards, check_gpus, check_paths, planned_gpus

try:
    CONFIG = load(config)
    # On a cluster the profile sets the cap; here it is what the machine has, 0 for a CPU run.
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(visible_gpus()))
    GPUS = planned_gpus(workflow.global_resources["gpu"].value, workflow.is_main_process)
    if CONFIG["benchmark"] and not GPUS:
        update_config(config, CONFIG["benchmark"]["without_gpu"])
        CONFIG = load(config)
    check_paths(CONFIG)
    check_gpus(CONFIG, GPUS)
except UserError as error:
    sys.exit(f"error: {error}")

RUN = CONFIG["run"]
NODE_GPUS = 8
# Without GPUs jobs ask for none themselves: Snakemake would lower what they ask for, but not on a cluster's node.
ENGINE_GPUS = min(CONFIG["engine"]["vllm"]["tensor_parallel_size"], GPUS)
SOURCES = {CONFIG["questions"][name]["source"] for name in ("train", "eval")}
ROUNDS = [f"round{number}" for number in range(1, CONFIG["rounds"] + 1)]
MODELS = ["base", "sft", *ROUNDS]
SHARDS = auto_shards(CONFIG, GPUS)
ENV = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"


wildcard_constraints:
    run=re.escape(RUN),
    round=r"[1-9][0-9]*",
    shard=r"[0-9]+-of-[0-9]+",
    policy=r"sft_merged|round[1-9][0-9]*/merged",
    model=r"base|sft|round[1-9][0-9]*",


def code(module, skip=()):
    """The module's file and those of all modules of ours that it imports, less those that this config never runs:
    a real edit reruns what it touches."""
    return modules_of(
        f"scripts.{module}", Path(workflow.basedir), tuple(f"scripts.{name}" for name in skip)
    )


def part(**sections):
    """A rule's own part of the config as one JSON parameter; in a lambda, since prompts hold braces."""
    return lambda wildcards: json.dumps(sections, sort_keys=True)


def training_gpus(section):
    """GPUs of a training job: what the config says; for auto all of them, within one machine."""
    wanted = CONFIG[section]["gpus"]
    return min(NODE_GPUS if wanted == "auto" else wanted, GPUS)


def threads_for(gpu, cpu):
    """CPU threads of a rule with and without GPUs; Snakemake lowers them to the cores there are.

    The tiny model's matrices are too small to share: with two threads it is slower than with one.
    """
    if GPUS:
        return gpu
    return 1 if CONFIG["base_model"]["source"] == "tiny" else cpu


def manifest_of(model):
    """The manifest of an evaluated model, or of the policy that a round samples from."""
    folder = {"base": "base", "sft": "sft_merged"}.get(model, f"{model}/merged")
    return f"checkpoints/{{run}}/{folder}/manifest.json"


def policy_before(number):
    """The policy that round `number` starts from: the SFT model, later the round before's."""
    return manifest_of("sft" if number == 1 else f"round{number - 1}")


def policy_of(wildcards):
    """The policy that a round samples from and trains."""
    return policy_before(int(wildcards.round))


def merge_base(wildcards):
    """The model that a merge's adapter was trained on."""
    if wildcards.policy == "sft_merged":
        return manifest_of("base")
    return policy_before(int(re.match(r"round(\d+)", wildcards.policy)[1]))


def merge_adapter(wildcards):
    folder = (
        "sft_lora"
        if wildcards.policy == "sft_merged"
        else wildcards.policy.replace("merged", "dpo_lora")
    )
    return f"checkpoints/{{run}}/{folder}/manifest.json"


def usages():
    """The usage records of every stage that the report counts."""
    folder = f"benchmarks/{RUN}"
    once = ["fetch_questions", "base_model", "train_sft", "merge_lora/sft_merged"]
    each_round = [
        *(f"generate/{shard}" for shard in SHARDS),
        *("score_rollouts", "check_rollouts", "build_preferences", "train_dpo"),
    ]
    return [
        *(f"{folder}/{stage}.usage.json" for stage in once),
        *(f"{folder}/{name}/{stage}.usage.json" for name in ROUNDS for stage in each_round),
        *(f"{folder}/merge_lora/{name}/merged.usage.json" for name in ROUNDS),
        *(f"{folder}/evaluate/{model}.usage.json" for model in MODELS),
    ]


def named(names, files):
    """NAME=FILE arguments for the report's command line."""
    return [f"{name}={file}" for name, file in zip(names, files, strict=True)]
