"""What all rules share: the checked config, the GPUs at hand, the code a rule depends on. No rules here."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from scripts.code_inputs import modules_of
from scripts.config import load
from scripts.errors import UserError
from scripts.gpu import visible_gpus
from scripts.plan import auto_shards, check_gpus, check_paths

try:
    CONFIG = load(config)
    # On a cluster the profile sets the cap; here it is what the machine has, 0 for a CPU run.
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(visible_gpus()))
    GPUS = workflow.global_resources["gpu"].value
    check_paths(CONFIG)
    check_gpus(CONFIG, GPUS)
except UserError as error:
    sys.exit(f"error: {error}")

RUN = CONFIG["run"]
NODE_GPUS = 8
SHARDS = auto_shards(CONFIG, GPUS)
ENV = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"


wildcard_constraints:
    run=re.escape(RUN),
    round=r"[1-9][0-9]*",
    shard=r"[0-9]+-of-[0-9]+",
    policy=r"sft_merged|round[1-9][0-9]*/merged",
    model=r"base|sft|round[1-9][0-9]*",


def code(module):
    """The module's file and those of all modules of ours that it imports: a real edit reruns what it touches."""
    return modules_of(f"scripts.{module}", Path(workflow.basedir))


def part(**sections):
    """A rule's own part of the config as one JSON parameter; in a lambda, since prompts hold braces."""
    return lambda wildcards: json.dumps(sections, sort_keys=True)


def training_gpus(section):
    """GPUs of a training job: what the config says; for auto all of them, within one machine."""
    return min(max(GPUS, 1), NODE_GPUS) if CONFIG[section]["gpus"] == "auto" else CONFIG[section]["gpus"]


def threads_for(gpu, cpu):
    """CPU threads of a rule with and without GPUs; Snakemake lowers them to the cores there are."""
    return gpu if GPUS else cpu


def manifest_of(model):
    """The manifest of an evaluated model, or of the policy that a round samples from."""
    folder = {"base": "base", "sft": "sft_merged"}.get(model, f"{model}/merged")
    return f"checkpoints/{{run}}/{folder}/manifest.json"


def policy_of(wildcards):
    """Round 1 samples from the SFT model, round r + 1 from round r's."""
    number = int(wildcards.round)
    return manifest_of("sft" if number == 1 else f"round{number - 1}")


MODELS = ["base", "sft", *(f"round{number}" for number in range(1, CONFIG["rounds"] + 1))]
ROUNDS = list(range(1, CONFIG["rounds"] + 1))
