"""The config of a run as Snakemake is given it: files, the command line, a profile, another workflow; what is refused."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT, clone_to, demo_config, snakemake

from regime_w.config.claims import that_makes
from regime_w.config.files import configured, layers_of
from regime_w.runtime.records import read_json

LINES = 60
OWN = """
run: mine
base_model: {source: local, path: model}
questions:
  train: {source: file, path: q.jsonl}
  eval: {own: {source: file, path: e.jsonl}}
generate: {n_samples: 40}
engine: {name: transformers}
"""
MODULE = """
module regime:
    snakefile: "%s/Snakefile"
%s
use rule * from regime as regime_*
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = clone_to(tmp_path_factory.mktemp("configs") / "clone")
    for name, question in (("q", "What is {} + 1?"), ("e", "How many are {} eggs and another one?")):
        rows = [{"question": question.format(number), "answer": f"#### {number + 1}"} for number in range(LINES)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "model").mkdir()
    (folder / "mine.yaml").write_text(OWN)
    return folder


def plan(folder: Path, *arguments: str, target: str = "eval_report") -> str:
    """What a dry run prints, the shell commands too."""
    done = snakemake(folder, target, "--dry-run", "--forceall", "--printshellcmds", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def words(text: str, stage: str) -> list[str]:
    command = re.search(rf"python -m regime_w\.runtime\.job .*-m scripts\.{stage} .*(?= 2>&1)", text)
    assert command, text
    return shlex.split(command[0])


def params(text: str, stage: str, flag: str = "--params") -> Any:
    found = words(text, stage)
    return json.loads(found[found.index(flag) + 1])


def whole(text: str) -> Any:
    """The configuration that the report is told."""
    return params(text, "eval_report", "--config")


def errors(folder: Path, *arguments: str) -> list[str]:
    done = snakemake(folder, "eval_report", "--dry-run", *arguments)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]


def expected(*files: Path, **values: Any) -> dict[str, Any]:
    _, config = configured(layers_of(list(files), values), gpus=0)
    return that_makes(config)


# What a run has


def test_a_file_of_ones_own_inherits_nothing_of_the_demo(clone: Path) -> None:
    found = whole(plan(clone, "--configfile", "mine.yaml"))
    assert found == expected(clone / "mine.yaml")
    assert (found["sft"]["learning_rate"], found["dpo"]["learning_rate"], found["dpo"]["beta"]) == (1e-4, 5e-6, 0.1)
    assert found["generate"]["max_new_tokens"] == 512
    assert found["arms"][0]["temperature"] == 0.2


def test_values_and_files_of_the_command_line_lie_over_each_other(clone: Path) -> None:
    assert whole(plan(clone)) == that_makes(demo_config())
    alone = whole(plan(clone, "--config", "seed=3", "dpo={beta: 0.2}"))
    assert alone == expected(clone / "config.yaml", seed=3, dpo={"beta": 0.2})
    (clone / "more.yaml").write_text("sft: {epochs: 2.0}\ndpo: {beta: 0.4, epochs: 3.0}\n")
    files = ("--configfile", "mine.yaml", "more.yaml")
    both = whole(plan(clone, *files, "--config", "dpo={epochs: 4.0}"))
    assert both == expected(clone / "mine.yaml", clone / "more.yaml", dpo={"epochs": 4.0})
    assert (both["sft"]["epochs"], both["dpo"]["beta"], both["dpo"]["epochs"]) == (2.0, 0.4, 4.0)


def test_a_profile_can_name_the_file(clone: Path) -> None:
    profile = clone / "profiles/own"
    profile.mkdir()
    (profile / "config.v9+.yaml").write_text("configfile: mine.yaml\nconfig: [seed=5]\n")
    found = whole(plan(clone, "--workflow-profile", "profiles/own"))
    assert found == expected(clone / "mine.yaml", seed=5)


def test_from_another_folder_it_is_the_repositorys_default_or_the_folders_own(clone: Path, tmp_path: Path) -> None:
    elsewhere = ("-s", str(clone / "Snakefile"))
    assert whole(plan(tmp_path, *elsewhere))["run"] == "demo"
    (tmp_path / "config.yaml").write_text("extends: configs/demo.yaml\nrun: here\nrounds: 1\n")
    assert whole(plan(tmp_path, *elsewhere))["run"] == "here"


@pytest.mark.parametrize(
    ("config", "run", "rounds"),
    [
        ("    config: {'extends': 'configs/demo.yaml', 'run': 'inner', 'rounds': 1}", "inner", 1),
        ("    config: config['regime']", "given", 3),
        ("", "demo", 2),
    ],
)
def test_another_workflow_says_the_config(clone: Path, tmp_path: Path, config: str, run: str, rounds: int) -> None:
    (tmp_path / "Snakefile").write_text(MODULE % (clone, config))
    regime = {"extends": "configs/demo.yaml", "run": "given", "rounds": 3}
    (tmp_path / "outer.yaml").write_text(yaml.safe_dump({"of_its_own": 1, "regime": regime}))
    found = whole(plan(tmp_path, "--configfile", "outer.yaml", target="regime_eval_report"))
    assert (found["run"], found["rounds"]) == (run, rounds)
    assert found["dpo"]["beta"] == 0.03


def test_sharing_a_gpu_is_told_to_jobs_and_reruns_nothing(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "1")
    one, four = (plan(clone, "--config", f"resources={{jobs_per_gpu: {jobs}}}") for jobs in (1, 4))
    for stage in ("generate", "train_sft"):
        ours, theirs = words(four, stage), words(one, stage)
        assert ours[: ours.index("--")].count("4") == theirs[: theirs.index("--")].count("1") - 1 == 1
    generate = words(four, "generate")
    assert generate[generate.index("--") :][-2:] == ["--jobs-per-gpu", "4"]
    assert whole(one) == whole(four)


# What is refused


def test_each_problem_is_a_line_and_names_its_file(clone: Path) -> None:
    (clone / "bad.yaml").write_text("extends: mine.yaml\nsft: {scheduler: cosin}\ndpo: {loss_weights: [0, 0]}\n")
    found = errors(clone, "--configfile", "bad.yaml", "--config", "report={n_boot: 1000000000000}")
    assert [line[:29] for line in found] == [
        "bad.yaml: sft.scheduler: Inpu", "config: dpo: loss_weights are", "--config: report.n_boot: Inpu"
    ]  # fmt: skip
    (clone / "bad.yaml").write_text(
        "extends: mine.yaml\nsft: {n_examples: 61, batch_size: 9}\nbase_model: {path: none}\n"
    )
    found = errors(clone, "--configfile", "bad.yaml")
    assert [line.split()[0] for line in found] == ["base_model.path:", "sft.batch_size", "sft.n_examples"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("extends: mine.yaml\ndpo: {beta: 0.7}\ndpo: {epochs: 1.0}\n", ["bad.yaml, line 3: the key 'dpo' stands in line 2"]),
        ("run: x\n", ["config: questions.train.source: not set", "config: questions.eval", "config: base_model.source"]),
        ("extends: none.yaml\n", ["bad.yaml: extends none.yaml, which is neither in"]),
        ("extends: bad.yaml\n", ["bad.yaml extends itself: bad.yaml -> bad.yaml"]),
        (
            "extends: mine.yaml\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
            ["bad.yaml, line 2: more than 50,000 values"],
        ),
    ],
    ids=["twice", "nothing", "no file", "itself", "anchors"],
)  # fmt: skip
def test_files_that_are_no_config(clone: Path, text: str, lines: list[str]) -> None:
    (clone / "bad.yaml").write_text(text)
    found = errors(clone, "--configfile", "bad.yaml")
    assert len(found) == len(lines), found
    for line, wanted in zip(found, lines, strict=True):
        assert line.startswith(wanted)


def test_target_modules_are_judged_by_the_base_that_is_there(clone: Path) -> None:
    from helpers import save_random_model

    save_random_model(clone / "llama")
    text = OWN.replace("path: model", "path: llama") + "sft: {lora: {target_modules: [q_proj, v_prj]}}\n"
    (clone / "bad.yaml").write_text(text)
    (line,) = errors(clone, "--configfile", "bad.yaml")
    assert line == "sft.lora.target_modules: 'v_prj' is no module of the model; did you mean 'v_proj'?"


# Much, and twice


def test_thousands_of_corrections_reach_the_stage(clone: Path) -> None:
    """In the config they are 200 KB, more than a command takes."""
    corrections = {f"train-{number:05d}": f"{number + 1}" for number in range(LINES)}
    padding = {f"train-{number:05d}": f"{number} -> {number}{number}" for number in range(LINES, 7473)}
    source = {"source": "file", "path": "q.jsonl", "n": LINES, "corrections": corrections | padding}
    (clone / "many.yaml").write_text(
        yaml.safe_dump({"extends": "mine.yaml", "run": "many", "questions": {"train": source}})
    )
    text = plan(clone, "--configfile", "many.yaml")
    assert max(len(line) for line in text.splitlines()) < 2**15
    done = snakemake(clone, "data/many/questions/train.json", "--configfile", "many.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(clone / "data/many/questions/train.json")["sources"][0]["corrections"] == 7473
    source["corrections"] = "corrections.json"
    (clone / "many.yaml").write_text(
        yaml.safe_dump({"extends": "mine.yaml", "run": "many", "questions": {"train": source}})
    )
    (line,) = errors(clone, "--configfile", "many.yaml")
    assert line == "questions.train.corrections: corrections.json does not exist; check the path in the config"
    for known in (corrections | padding, corrections):
        (clone / "corrections.json").write_text(json.dumps(known))
        done = snakemake(clone, "data/many/questions/train.json", "--configfile", "many.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert read_json(clone / "data/many/questions/train.json")["sources"][0]["corrections"] == len(known)


def test_another_config_of_the_same_run_is_told_and_an_edited_one_is_not(clone: Path) -> None:
    target = ("data/mine/questions/train.json", "--configfile")
    assert snakemake(clone, *target, "mine.yaml").returncode == 0
    (clone / "copy.yaml").write_text(OWN)
    plan(clone, "--configfile", "copy.yaml")
    (clone / "copy.yaml").write_text(OWN + "seed: 4\n")
    (line,) = errors(clone, "--configfile", "copy.yaml")
    assert line.startswith("run mine: what is there was made by mine.yaml, and copy.yaml differs in seed 0, here 4;")
    (clone / "mine.yaml").write_text(OWN + "seed: 5\n")
    assert snakemake(clone, *target, "mine.yaml", "--forceall").returncode == 0
    (line,) = errors(clone, "--configfile", "copy.yaml")
    assert "seed 5, here 4" in line
    plan(clone, "--configfile", "copy.yaml", "--config", "run=other")
    (clone / "mine.yaml").write_text(OWN)


def test_the_repositorys_configs_are_those_that_are_shown() -> None:
    for name in ("abel", "demo_study"):
        found = whole(plan(ROOT, "--configfile", f"configs/{name}.yaml"))
        assert found == expected(ROOT / f"configs/{name}.yaml") | {"study": None}
