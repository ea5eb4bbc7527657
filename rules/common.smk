"""What all rules share: the checked config, the GPUs at hand, the frame of every job. No rules here."""

import atexit
import json
import math
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

# Of this checkout, also where another workflow has it as a module.
ROOT = Path(workflow.current_basedir).parent
sys.path.insert(0, str(ROOT))

from regime_w.config.benchmark_modes import MODES, jobs_of
from regime_w.config import plan
from regime_w.config.claims import check_claim, claim, owner_of, that_makes
from regime_w.config.code_inputs import hash_of
from regime_w.config.files import configured, layers_of
from regime_w.config.harness import MISSING
from regime_w.config.lineage import lineage, trained_by
from regime_w.config.recipes import (
    needs_gold,
    number_of,
    prompt_of,
    prompts_asked,
    read_by,
    recipes_of,
)
from regime_w.config.schema import HELD_OUT, OF_SET, of_set
from regime_w.method.labels import is_withheld
from regime_w.models.modules import LLAMA, modules_of
from regime_w.runtime.errors import UserError
from regime_w.runtime.gpu import visible_gpus
from regime_w.runtime.log import collect_summaries, show_summaries
from regime_w.runtime.records import as_argument, remember_link
from regime_w.runtime.trackers import missing
from regime_w.runtime.user import name_user

name_user()

# As a module of another workflow this one has the config that it is given; else the command line's files and values.
MAIN = workflow.modifier.is_main_snakefile()


def read_layers():
    if not MAIN:
        return layers_of([], config, "the module's config", default=not config)
    given = workflow.config_settings
    alone = given.replace_workflow_config and given.config
    return layers_of(workflow.overwrite_configfiles, given.config, default=not alone)


def base_modules():
    """Names of the base model's modules; None as long as they are not known."""
    source = CONFIG["base_model"]
    if source["source"] == "tiny":
        return LLAMA
    try:
        return modules_of(
            Path(
                source["path"]
                if source["source"] == "local"
                else f"checkpoints/{CONFIG['run']}/base"
            )
        )
    except UserError:
        return None


def tracking_problems():
    """Trackers that are not installed, where jobs run in this very environment; elsewhere the job itself says so."""
    shared = {str(usage) for usage in workflow.storage_settings.shared_fs_usage}
    elsewhere = (
        workflow.deployment_settings.deployment_method or "software-deployment" not in shared
    )
    return [] if elsewhere else missing(CONFIG["tracking"]["to"])


try:
    if {"{", "}"} & set(str(ROOT)):
        raise UserError(
            f"{ROOT}: the path has braces, which Snakemake takes for wildcards; move or rename"
        )
    LAYERS, CONFIG = configured(read_layers(), gpus=1)
    JOBS_PER_GPU = CONFIG["resources"]["jobs_per_gpu"]
    # On a cluster the profile sets the cap; here it is what the machine has, 0 for a CPU run.
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", len(visible_gpus()) * JOBS_PER_GPU)
    cap = plan.planned_gpus(workflow.global_resources["gpu"].value, workflow.is_main_process)
    GPUS = math.ceil(cap / JOBS_PER_GPU)
    LAYERS, CONFIG = configured(LAYERS, GPUS)
    OWN, RECIPES = recipes_of(CONFIG)
    if workflow.is_main_process:
        recipes = {each.of: each.config for each in RECIPES.values() if each.seed == 1}
        if problems := plan.problems_of_all(CONFIG, recipes, GPUS, base_modules()):
            raise UserError(*problems)
        if problems := tracking_problems():
            raise UserError(*problems)
        if MAIN:
            check_claim(CONFIG, owner_of(LAYERS))
except UserError as error:
    sys.exit("\n".join(f"error: {line}" for line in error.lines))

config = CONFIG  # what Snakemake itself reads of it: captions of its report
if MAIN:
    workflow.configfiles += [
        layer.path for layer in LAYERS if layer.path and layer.path not in workflow.configfiles
    ]

RUN = CONFIG["run"]
# Without GPUs jobs ask for none themselves: Snakemake would lower what they ask for, but not on a cluster's node.
ONE_GPU = min(1, GPUS)
# A server elsewhere has GPUs of its own.
SERVED = CONFIG["engine"]["name"] == "openai" and CONFIG["engine"]["openai"]["base_url"]
ENGINE_GPUS = 0 if SERVED else min(CONFIG["engine"]["vllm"]["tensor_parallel_size"], GPUS)
EVAL = CONFIG["questions"]["eval"]
SETS = list(EVAL)
VERIFIER = plan.verifier_file(CONFIG["task"]["verifier"])
NUMBERS = OWN.numbers
SHARDS = plan.auto_shards(CONFIG, GPUS)
# On one GPU all of the run's models are evaluated by one job, whose engine starts once; on more they are side by side.
# The benchmark needs one of them, and so does a study in which the run as it is has no part.
ONE_EVALUATION = (
    GPUS == 1
    and CONFIG["engine"]["name"] not in ("transformers", "openai")
    and not CONFIG["benchmark"]
    and any(each.model(each.rounds) == OWN.model(OWN.rounds) for each in RECIPES.values() or [OWN])
)
# What the reports' modules read besides other modules.
TEMPLATES = [f"regime_w/report/{name}" for name in ("report.*.j2", "style.css.j2", "sort.js")]
VIEWER = [f"regime_w/report/viewer.{ending}" for ending in ("html.j2", "css", "js")]
ENV = "../envs/gpu.yaml" if GPUS else "../envs/cpu.yaml"
# For `--sdm apptainer`. From the working directory, so that both can be moved; Snakemake refuses blanks in it.
IMAGE = os.path.relpath(ROOT / "envs" / ("gpu.sif" if GPUS else "cpu.sif"))
if any(letter.isspace() for letter in IMAGE):
    IMAGE = None
BASE = f"checkpoints/{RUN}/base"
# The run's models in their order, each with its folder.
MODELS = {"base": BASE} | {OWN.called(number): OWN.model(number) for number in (0, *NUMBERS)}
# The answers of every model to every evaluation set.
ANSWERS = [f"data/{RUN}/answers/{name}/{model}.jsonl" for name in SETS for model in MODELS]
# The outside check's sets, and SET/MODEL of each of its parts.
OUTSIDE_SETS = plan.outside_sets(CONFIG)
OUTSIDE_CHECKS = [
    f"{name}/{model}"
    for name in OUTSIDE_SETS
    for model in CONFIG["outside_check"]["models"] or [list(MODELS)[-1]]
]
# The rounds that train an adapter, 0 for SFT.
TRAINED = [*([0] if OWN.sft else []), *NUMBERS]
# How the labels of each round hold against gold, where they are not simply the gold answers.
LABEL_CHECKS = [
    f"results/{RUN}/round{number}/labels.json"
    for number in (OWN.sampled if is_withheld(CONFIG["labels"]) else [])
]
# Whether training questions are asked for, by SFT or by a round, or to rank recipes.
LEARNS = bool(CONFIG["study"]) or any(name == "split_questions" for name, _ in OWN.stages())
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
    set="|".join([*SETS, HELD_OUT]),
    policy=r"sft_merged|round[1-9][0-9]*/merged",
    model=r"base|sft|round[1-9][0-9]*",


class Code(str):
    """Among the params of a rule, a hash of the code that it runs: an edit reruns it, a mere touch does not.

    `root` is where the code lies, `jobs_per_gpu` is the config's, `gold` whether questions must have an answer.
    They are no part of the text, so that a checkout can be moved, GPUs shared, labels withheld, and nothing reruns.
    """

    root = str(ROOT)
    jobs_per_gpu = JOBS_PER_GPU
    gold = (
        "required"
        if any(needs_gold(each.config) for each in (OWN, *RECIPES.values()))
        else "optional"
    )


def code(module, files=(), skip=()):
    """The hash of a stage's module, of all modules of ours that it imports, and of `files` (patterns) that it reads.

    `skip` names modules that this config never runs.
    """
    found = Code(hash_of(f"scripts.{module}", ROOT, tuple(files), tuple(skip)))
    return lambda wildcards: found


SHARING = "--jobs-per-gpu {params.code.jobs_per_gpu:q}"


def stage(module, *flags, usage=True):
    """A rule's shell command: the stage's own flags inside the frame that all jobs share.

    Own GPUs and one copy of the job at a time (its log's name is its lock), its use recorded in `output.usage`, all it
    says in its log too. Our modules are found from any working directory, and nobody else's in their place.
    """
    frame = [
        "PYTHONSAFEPATH=1 PYTHONPATH={params.code.root:q} python -m regime_w.runtime.job",
        f"--stage {module.split('.')[-1]} --lock {{log:q}}",
        *(f"{flag} {SHARING}" for flag in flags if flag.startswith("--gpus ")),
        *(["--usage {output.usage:q}"] if usage else []),
        f"-- python -m scripts.{module}",
    ]
    return " ".join([*frame, *flags, "2>&1 | tee -i {log:q}"])


def argument(value, sort=True):
    """A value as one JSON parameter; a long one as a file's name, where Snakemake keeps its own records."""
    return as_argument(json.dumps(value, sort_keys=sort), Path(".snakemake/arguments"))


def part(**sections):
    """A rule's own part of the config as one JSON parameter; in a lambda, since prompts hold braces."""
    return lambda wildcards: argument(sections)


def named(path):
    """The file that the config names, or of a folder the files in it; they are where they are, also where all others have
    another prefix or storage."""
    if not path:
        return []
    inside = [str(file) for file in sorted(Path(path).glob("*")) if file.is_file()]
    return [local(file) for file in (inside if Path(path).is_dir() else [path])]


def recipe_of(stage, wildcards):
    """The recipe whose stage a rule's wildcards name, and its round (0 is SFT)."""
    model = wildcards.get("policy") or wildcards.get("model") or wildcards.get("part")
    number = number_of(model) if model else int(wildcards.get("round", 0))
    if wildcards.run == RUN:
        return OWN, number
    if (stage, number, wildcards.run) not in PLACES:
        raise WorkflowError(
            f"{stage} in {wildcards.run}: no recipe of the config's study makes this"
        )
    return PLACES[stage, number, wildcards.run], number


def reads(stage):
    """What a stage reads of its recipe's config (regime_w/config/recipes.py) as one JSON parameter."""

    def parameter(wildcards):
        recipe, number = recipe_of(stage, wildcards)
        own = of_set(recipe.config, wildcards.set) if wildcards.get("set") else recipe.config
        return argument(read_by(stage, number, own))

    return parameter


# Looked at and no more: with an argument beside the wildcards a parameter is none that Snakemake reruns for.


def card_of(stage):
    """What the card of a stage's model or adapter says that it was made of (regime_w/config/lineage.py)."""
    return lambda wildcards, output: argument(lineage(*recipe_of(stage, wildcards)))


def tracked(stage):
    """Where a stage's numbers are logged besides, and the name of its run there."""

    def tracking(wildcards, output):
        place = "/".join(
            filter(
                None,
                [wildcards.get("run", RUN), wildcards.get("round") and f"round{wildcards.round}"],
            )
        )
        return argument(
            CONFIG["tracking"] | {"run": f"{place}/{stage}", "folder": f"results/{RUN}/tracking"}
        )

    return tracking


def training_gpus(stage, section):
    """GPUs of a training job (regime_w/config/plan.py)."""
    return lambda wildcards: plan.training_gpus(
        recipe_of(stage, wildcards)[0].config, section, GPUS
    )


def threads_for(gpu, cpu):
    """CPU threads of a rule with and without GPUs; Snakemake lowers them to the cores there are.

    The tiny model's matrices are too small to share: with two threads it is slower than with one.
    """
    if GPUS:
        return max(1, gpu // JOBS_PER_GPU)
    return 1 if CONFIG["base_model"]["source"] == "tiny" else cpu


def seal_of(path):
    return f"{path}.seal" if path.endswith(".jsonl") else f"{path}.sha256"


def sealed(**wanted):
    """A rule's models, adapters and record files, by name, and the seals that they are held against: to be unpacked.

    Folders have theirs from regime_w/models/manifests.py, .jsonl files from regime_w/runtime/seals.py. Snakemake knows a
    folder by its time alone, which is passed over here: what counts is whether its seal changed.
    """

    def files(wildcards):
        found = {}
        for name, paths in wanted.items():
            paths = paths(wildcards) if callable(paths) else paths
            found[name] = paths if isinstance(paths, list) else [paths]
        seals = [seal_of(path) for paths in found.values() for path in paths]
        inputs = {
            name: [path if path.endswith(".jsonl") else ancient(path) for path in paths]
            for name, paths in found.items()
        }
        return {**inputs, "seals": seals}

    return files


def policy_of(stage):
    """The policy that a round samples from and trains: the SFT model, later that of the round before."""

    def folder(wildcards):
        recipe, number = recipe_of(stage, wildcards)
        return recipe.model(number - 1)

    return folder


def asked_to_publish(wildcards):
    """No input, but the place where Snakemake knows that publishing is asked for: what it lacks is told before any work."""
    from huggingface_hub import get_token

    lacking = []
    if not CONFIG["publish"]["hub_id"]:
        lacking.append("publish.hub_id is not set; name the model's repository, hub_id: OWNER/NAME")
    if not get_token():
        lacking.append("publish: no token for the hub; set HF_TOKEN, or run `hf auth login`")
    if lacking:
        sys.exit("\n".join(f"error: {line}" for line in lacking))
    return []


# The chat format's prompts are made by the policy's own template; the other one's need no model.
CHATS_POLICY = ["--policy {input.policy:q}"] if CONFIG["prompt"]["format"] == "chat" else []


def chats_policy(stage):
    return {"policy": policy_of(stage)} if CHATS_POLICY else {}


def made_in_round(stage, what):
    """A file of the round that a stage belongs to, say its rollouts."""

    def file(wildcards):
        recipe, number = recipe_of(stage, wildcards)
        return getattr(recipe, what)(number)

    return file


def completions(wildcards):
    recipe, number = recipe_of("score_rollouts", wildcards)
    return recipe.completions(number, plan.auto_shards(recipe.config, GPUS))


def short(files):
    """Files that differ in the number of their shard as one word (`expand` in regime_w/runtime/records.py).

    A command holds 128 KB, in which the names of thousands of files do not fit.
    """
    return re.sub(r"0(-of-\d+\.jsonl)$", rf"{{0..{len(files) - 1}}}\1", files[0])


def merge_base(wildcards):
    """The model that a merge's adapter was trained on."""
    recipe, number = recipe_of("merge_lora", wildcards)
    return recipe.model(number - 1) if number else BASE


def evaluated(wildcards):
    """The folder of the model that is evaluated."""
    if wildcards.model == "base":
        return BASE
    recipe, number = recipe_of("evaluate", wildcards)
    return recipe.model(number)


def asked(wildcards):
    """The questions of an evaluation set, or the held-out ones."""
    name = wildcards.set if wildcards.set == HELD_OUT else f"eval/{wildcards.set}"
    return f"data/{RUN}/questions/{name}.jsonl"


def verifier_of_set(wildcards):
    """The file of a user's own verifier that grades an evaluation set, or the held-out questions."""
    task = of_set(CONFIG, wildcards.set)["task"] if wildcards.set in EVAL else CONFIG["task"]
    return [local(file) for file in plan.verifier_file(task["verifier"])]


def usages(recipe, sets):
    """The usage records of every stage that makes a recipe's models and evaluates them on these sets."""
    together = ONE_EVALUATION and sets == SETS
    once = ["base_model", *(["fetch_questions"] if LEARNS else [])]
    if sets == SETS:
        once += [f"fetch_evaluation/{name}" for name in SETS]
        once += [f"evaluate/{name}" if together else f"evaluate/{name}/base" for name in SETS]
    found = [
        *(f"benchmarks/{RUN}/{stage}.usage.json" for stage in once),
        *recipe.usage(plan.auto_shards(recipe.config, GPUS), [] if together else sets),
    ]
    return list(dict.fromkeys(found))


def way_of(wildcards):
    """The benchmark's way of generating that a job's mode names: MODE or MODE-I-of-N."""
    return MODES[wildcards.mode.partition("-")[0]]


def rounds_by(method):
    """The run's own rounds that train in this way, with their names."""
    return {f"round{number}": number for number in NUMBERS if OWN.method(number) == method}


def read_on_eval():
    """The answers, by SET/RECIPE, of the study's recipes that are read on the evaluation sets, every seed's: the baselines
    and, once it is known, the chosen one."""
    choice = json.loads(Path(checkpoints.choose_recipe.get().output.choice).read_text())
    names = dict.fromkeys([*CONFIG["study"]["baselines"], choice["chosen"]])
    return {
        f"{own}/{recipe.name}": recipe.answers(recipe.rounds, own)
        for own in SETS
        for name in names
        for recipe in RECIPES.values()
        if recipe.of == name
    }


def by_name(names, files):
    """{name: file} of a report's inputs."""
    return dict(zip(names, files, strict=True))


def by_set(names, files):
    """{set: {name: file}} of a report's inputs that are named SET/NAME."""
    found = {}
    for name, file in zip(names, files, strict=True):
        where, _, what = name.partition("/")
        found.setdefault(where, {})[what] = file
    return found


def answers_by_set(files):
    """{set: {model: file}} of ANSWERS."""
    return by_set([f"{name}/{model}" for name in SETS for model in MODELS], files)


def with_harness(wildcards):
    """The model that the harness is to answer with. Ends Snakemake in one line, dry runs too, where lm-eval is to run and is
    not there; with --sdm it is elsewhere."""
    answers = f"data/{RUN}/outside/{wildcards.set}/{wildcards.model}.json"
    here = workflow.is_main_process and not workflow.deployment_settings.deployment_method
    if here and not os.path.exists(answers) and find_spec("lm_eval") is None:
        sys.exit(f"error: {MISSING}")
    return MODELS[wildcards.model]


def harness_answers(wildcards):
    if not OUTSIDE_CHECKS:
        sys.exit(f"error: {plan.NOTHING_OUTSIDE}")
    return [f"data/{RUN}/outside/{check}.json" for check in OUTSIDE_CHECKS]


onstart:
    # Snakemake asks for this where jobs run: not in a dry run, but on each of a cluster's nodes.
    if workflow.is_main_process:
        claim(CONFIG, owner_of(LAYERS))
        for link in Path(f"checkpoints/{RUN}").rglob("*"):
            remember_link(link)
        collect_summaries(Path(".snakemake/summaries"))


onsuccess:
    # Snakemake still says where its log is.
    if workflow.is_main_process:
        atexit.register(show_summaries)


onerror:
    if workflow.is_main_process:
        show_summaries()
