"""Decisions made before any job runs: does the config fit this machine, how many shards are worth it."""

import ast
import difflib
import math
import os
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from regime_w.config.harness import TASKS
from regime_w.config.schema import MOST_SHARDS, of_set

# A job's start with a cold compile cache costs about as much as generating this many trajectories with a 7B model on an H100
# (docs/scaling.md): with fewer a shard, GPUs would mostly start engines.
TRAJECTORIES_A_START = 8_000
# With more a shard, a slow GPU or a preemption holds the others up, and a job outgrows SLURM's time limit.
TRAJECTORIES_A_SHARD = 400_000
# Bytes of a file of questions that are worth counting its lines before every run.
COUNTED = 100_000_000
# Parts are drawn by hash: a part's size is within this many standard deviations of its share.
SURELY = 6
NOTHING_OUTSIDE = (
    "outside_check: lm-evaluation-harness grades numbers and LaTeX, and no evaluation set has task.verifier:"
    f" {' or '.join(TASKS)}; leave this target out"
)
TIED = "lm_head"  # may share the embedding's weights, and then has none of its own in a model's files

Config = dict[str, Any]


def planned_gpus(here: int, main_process: bool) -> int:
    """The GPUs that the plan is made for: a cluster's node parses the Snakefile again and has others, so the main
    process hands its number on in the environment."""
    if main_process:
        os.environ["REGIME_W_GPU_CAP"] = str(here)
    return int(os.environ.get("REGIME_W_GPU_CAP", here))


def problems_of(config: Config, gpus: int, modules: Collection[str] | None = None) -> list[str]:
    """Why a checked config cannot run here, a line each.

    `gpus` is the number that the run may use, 0 for CPUs; `modules` are the base model's, where they are known.
    """
    found = [*_paths(config), *_gpus(config, gpus), *_batches(config, gpus), *_questions(config), *_verifiers(config)]
    if modules is not None:
        for section in [] if config["benchmark"] else trained(config):
            if problem := strange_module(config[section]["lora"]["target_modules"], modules):
                found.append(f"{section}.lora.target_modules: {problem}")
    return found


def problems_of_all(
    config: Config, recipes: Mapping[str, Config], gpus: int, modules: Collection[str] | None = None
) -> list[str]:
    """`problems_of` a run and of those of a study's recipes that the run does not have."""
    found = problems_of(config, gpus, modules)
    more = [
        f"study.recipes.{name}: {problem}"
        for name, recipe in recipes.items()
        for problem in problems_of(recipe, gpus, modules)
        if problem not in found
    ]
    return found + more


def verifier_file(verifier: str) -> list[str]:
    """The file of a user's own verifier, which what grades depends on; none for the others."""
    path, _, name = verifier.rpartition(":")
    return [path] if name and path.endswith(".py") else []


def _verifiers(config: Config) -> Iterator[str]:
    """Where a user's own verifier, of the run or of an evaluation set, names a file that is not there or no such function."""
    own = {f"questions.eval.{name}.task.verifier": of_set(config, name)["task"] for name in config["questions"]["eval"]}
    for key, task in ({"task.verifier": config["task"]} | own).items():
        if (problem := verifier_problem(task["verifier"])) and not (key != "task.verifier" and task == config["task"]):
            yield f"{key}: {problem}"


def verifier_problem(verifier: str) -> str | None:
    """What is wrong with a user's own verifier, seen without running it."""
    for path in verifier_file(verifier):
        name = verifier.rpartition(":")[2]
        try:
            tree = ast.parse(Path(path).read_bytes(), path)
        except OSError as error:
            return f"{path}: {error.strerror}; check the path in the config"
        except (SyntaxError, ValueError) as error:
            return f"{path}: not Python ({error}); mend it"
        if name not in _names(tree):
            own = ", ".join(node.name for node in tree.body if isinstance(node, ast.FunctionDef)) or "none"
            return f"{path} has no function {name!r}, it has {own}; name one of them"
    return None


def _names(tree: ast.Module) -> set[str]:
    """What a file defines, assigns or imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def strange_module(wanted: list[str] | str, modules: Collection[str]) -> str | None:
    """What is wrong with target modules that are none of the model's, which PEFT would pass over where others are."""
    for each in [] if isinstance(wanted, str) else wanted:
        if each != TIED and not any(name == each or name.endswith(f".{each}") for name in modules):
            own = sorted({name.rpartition(".")[2] for name in modules})
            close = difflib.get_close_matches(each, own, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(own[:20])}"
            return f"{each!r:.100} is no module of the model; {advice}"
    return None


def outside_sets(config: Config) -> list[str]:
    """The evaluation sets that the outside check is about: those named, else all that the harness can grade."""
    sets = config["questions"]["eval"]
    graded = [name for name in sets if of_set(config, name)["task"]["verifier"] in TASKS]
    return config["outside_check"]["sets"] or graded


def trained(config: Config) -> list[str]:
    """The config sections whose training this run does."""
    sections = [] if config["sft"]["adapter"] or config["sft"]["method"] == "none" else ["sft"]
    if config["rounds"]:
        sections += {
            "dpo": ["dpo"],
            "rejection_sampling": ["rejection_sampling"],
            "rejection_sampling_then_dpo": ["rejection_sampling", "dpo"],
            "none": [],
        }[config["method"]]
    return sections


def training_gpus(config: Config, section: str, gpus: int) -> int:
    """GPUs of a training job: what its section says; for auto all of a machine, or one where jobs share them."""
    wanted, resources = config[section]["gpus"], config["resources"]
    most = resources["gpus_per_node"] if resources["jobs_per_gpu"] == 1 else 1
    return int(min(most if wanted == "auto" else wanted, gpus))


def micro_batch(training: Config, processes: int) -> int | None:
    """Examples of a forward pass on each of `processes`; None where they do not make up the batch."""
    micro = min(training["per_device_batch_size"], math.ceil(training["batch_size"] / processes))
    return None if training["batch_size"] % (micro * processes) else int(micro)


def auto_shards(config: Config, gpus: int) -> list[str]:
    """Names of the generate jobs, `I-of-N`: as configured, or as many as `shards_for` says."""
    wanted = config["generate"]["shards"]
    if wanted == "auto":
        work = config["generate"]["n_samples"] * len(config["arms"])
        wanted = shards_for(work, max(1, gpus // config["engine"]["vllm"]["tensor_parallel_size"]))
        wanted = min(wanted, MOST_SHARDS)
    return [f"{index}-of-{wanted}" for index in range(wanted)]


def shards_for(trajectories: int, engines: int) -> int:
    """One shard an engine as far as the work outweighs the starts; several, where one would be very large."""
    busy = min(engines, math.ceil(trajectories / TRAJECTORIES_A_START))
    return busy * math.ceil(trajectories / (busy * TRAJECTORIES_A_SHARD))


def train_sources(config: Config) -> dict[str, Config]:
    """The sources of the training questions by their key."""
    train = config["questions"]["train"]
    if isinstance(train, list):
        return {f"questions.train.{number}": source for number, source in enumerate(train)}
    return {"questions.train": train}


def eval_sets(config: Config) -> dict[str, Config]:
    """The evaluation sets by their key."""
    return {f"questions.eval.{name}": own for name, own in config["questions"]["eval"].items()}


def files_of(sources: Mapping[str, Config]) -> Iterator[tuple[str, str]]:
    """Keys and paths of the files and folders that sources of questions name."""
    for key, source in sources.items():
        if source["source"] == "file":
            yield f"{key}.path", source["path"]
        if isinstance(source["corrections"], str):
            yield f"{key}.corrections", source["corrections"]


def inputs_of(sources: Mapping[str, Config]) -> list[str]:
    """The files that sources of questions are read from, those of a folder each."""
    paths = [Path(path) for _, path in files_of(sources)]
    return [
        str(file)
        for path in paths
        for file in (sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path])
    ]


def kinds_of(sources: Mapping[str, Config]) -> set[str]:
    return {source["source"] for source in sources.values()}


def _paths(config: Config) -> Iterator[str]:
    named: list[tuple[str, str | None]] = [*files_of(train_sources(config)), *files_of(eval_sets(config))]
    named += [("base_model.path", config["base_model"]["path"]), ("sft.adapter", config["sft"]["adapter"])]
    named += [(f"start.{what}", path) for what, path in (config["start"] or {}).items()]
    for key, path in named:
        if path and {"{", "}"} & set(path):
            yield f"{key}: {path} has braces, which Snakemake takes for wildcards; rename it"
        elif path and not os.path.exists(path):
            yield f"{key}: {path} does not exist; check the path in the config"


def _gpus(config: Config, gpus: int) -> Iterator[str]:
    resources = config["resources"]
    for key, wanted in (
        ("engine.vllm.tensor_parallel_size", config["engine"]["vllm"]["tensor_parallel_size"]),
        ("sft.gpus", config["sft"]["gpus"]),
        ("rejection_sampling.gpus", config["rejection_sampling"]["gpus"]),
        ("dpo.gpus", config["dpo"]["gpus"]),
    ):
        if wanted in ("auto", 1):
            continue
        if wanted > gpus:
            yield f"{key} is {wanted} but {gpus} GPU(s) are here; lower it, or run where there are {wanted}"
        elif wanted > resources["gpus_per_node"]:
            yield f"{key} is {wanted}, a machine has {resources['gpus_per_node']} (resources.gpus_per_node); change one"
        if resources["jobs_per_gpu"] > 1:
            yield f"{key} is {wanted}, and a job of several GPUs cannot share them; set resources.jobs_per_gpu: 1"


def _batches(config: Config, gpus: int) -> Iterator[str]:
    for section in [] if config["benchmark"] else trained(config):
        own, processes = config[section], max(1, training_gpus(config, section, gpus))
        if micro_batch(own, processes) is None:
            fits = max(n for n in range(1, processes + 1) if n == 1 or micro_batch(own, n) is not None)
            advice = f"set {section}.gpus: {fits}, or change one" if fits < processes else "change one"
            yield (
                f"{section}.batch_size {own['batch_size']} is no multiple of what a pass takes,"
                f" {section}.per_device_batch_size {own['per_device_batch_size']} on {processes} GPU(s); {advice}"
            )


def _questions(config: Config) -> Iterator[str]:
    """More questions asked for than there are, where their number is known before they are fetched."""
    if config["benchmark"]:  # makes its own
        return
    there: dict[str, int] = {}
    sources, sets = train_sources(config), eval_sets(config)
    for key, source in (sources | sets).items():
        lines = _lines(source["path"]) if source["source"] == "file" else None
        if lines is not None and source["n"] and source["n"] > lines:
            yield f"{key}.n asks for {source['n']} questions, {source['path']} has {lines} lines; lower it"
        elif known := source["n"] or lines:
            there[key] = known
    for name, key in zip(config["questions"]["eval"], sets, strict=True):
        wanted = of_set(config, name)["evaluate"]["n_questions"]
        if wanted and wanted > there.get(key, wanted):
            yield f"evaluate.n_questions asks for {wanted} questions, {key} has {there[key]}; lower it"
    if not set(sources) <= set(there) or any(source["weight"] for source in sources.values()):
        return
    known = sum(there[key] for key in sources)
    generate, sft = config["generate"], config["sft"]
    rounds = (0 if config["method"] == "none" else config["rounds"]) - bool(config["start"])
    if rounds > 0:
        asked = generate["n_samples"] * (rounds if generate["new_questions"] else 1)
        most = _most(config["questions"], known, generate["part"])
        if generate["skip"] + asked > most:
            each = f" in {rounds} rounds" if generate["new_questions"] else ""
            yield (
                f"generate.n_samples asks for {asked} questions{each} after the first {generate['skip']} (generate.skip),"
                f" the part {generate['part']} has {most} at most; lower one"
            )
    most = _most(config["questions"], known, sft["part"])
    learns = sft["method"] != "none" and not sft["adapter"]
    if sft["n_examples"] and learns and sft["n_examples"] > most:
        yield f"sft.n_examples asks for {sft['n_examples']} questions, the part {sft['part']} has {most} at most; lower it"


def _most(questions: Config, there: int, part: str) -> int:
    """Training questions that a part surely does not exceed; which ones it has is drawn by hash."""
    rollouts = questions["rollout_fraction"]
    share = (1 - questions["heldout_fraction"]) * {"all": 1.0, "sft": 1 - rollouts, "rollouts": rollouts}[part]
    likely = there * share + SURELY * math.sqrt(there * share * (1 - share))
    return min(there, math.ceil(likely)) * (1 + int(questions["variants"]))


def _lines(path: str) -> int | None:
    """Lines of a JSONL file that are not empty; None where that is not soon known."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if Path(path).suffix != ".jsonl" or found.st_size > COUNTED:
        return None
    return _counted(path, found.st_mtime_ns, found.st_size)


@cache
def _counted(path: str, _mtime: int, _size: int) -> int | None:
    try:
        with open(path, "rb") as file:
            return sum(1 for line in file if not line.isspace())
    except OSError:
        return None
