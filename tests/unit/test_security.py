"""What is never run, written or shown: foreign code, shell words of a config, secrets; and whose files are whose."""

import ast
import io
import json
import os
import pickle
import re
import stat
import string
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import ROOT, clone_to, demo_config, listening, save_random_model, snakemake, stage, template
from training_inputs import PROMPTS

from regime_w.config.recipes import READS
from regime_w.config.schema import load
from regime_w.models.folders import check_code, trusted
from regime_w.runtime import gpu
from regime_w.runtime.errors import UserError
from regime_w.runtime.records import private_folder, read_json, read_jsonl
from regime_w.sampling import journal
from scripts.merge_lora import merge

SOURCES = sorted(path for room in ("scripts", "regime_w") for path in (ROOT / room).rglob("*.py"))
CANARY = "hf_CanaryThatNobodyMayRead0123456789"
BASE = {"source": "local", "hub_id": None, "revision": None, "licence": None, "trust_remote_code": False, "seed": 0}
LOADS_A_MODEL = ("train_sft", "merge_lora", "generate", "train_dpo", "train_rft", "evaluate", "outside_answers")


# Pickles


class Payload:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Place, call and dotted name of each call in scripts/."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node, ast.unparse(node.func)


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_no_module_that_unpickles_or_runs_text_is_imported() -> None:
    forbidden = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code", "codeop"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.partition(".")[0] for name in names} & forbidden
            assert not found, f"{path}: imports {found}"


def test_no_call_unpickles_or_runs_text() -> None:
    """torch.load with weights_only alone; no eval, no unsafe YAML, no shell, no predictable temporary name."""
    loads = 0
    for where, call, name in calls():
        last = name.rpartition(".")[2]
        if name == "torch.load":
            loads += 1
            assert keywords(call).get("weights_only") == "True", where
        assert keywords(call).get("allow_pickle", "False") == "False", where
        assert last not in ("read_pickle", "unsafe_load", "full_load", "mktemp"), f"{where}: {name}"
        assert name not in (
            "eval",
            "exec",
            "compile",
            "__import__",
            "os.system",
            "os.popen",
            "yaml.load",
            "yaml.load_all",
        ), f"{where}: {name}"
        assert "shell" not in keywords(call), where
    assert loads >= 2  # the walk does see them


def zipped(content: bytes) -> bytes:
    """A checkpoint as torch.save writes them since 1.6, with this pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()


@pytest.mark.parametrize("form", [bytes, zipped])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_pickle_with_code_is_refused_as_weights(tmp_path: Path, form: Callable[[bytes], bytes], hidden: bool) -> None:
    """Also where the payload stands among tensors; the same bytes do run where pickle loads them."""
    mark = tmp_path / "pwned"
    payload = {"w": Payload(mark)} if not hidden else {"w": [1, {"x": Payload(mark)}]}
    content = pickle.dumps(payload, protocol=2)
    source = save_random_model(tmp_path / "model")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(form(content))
    done = base_model(tmp_path, source)
    assert done.returncode == 2, done.stderr
    assert "not a readable .bin shard" in done.stderr
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


def adapter_of(base: Path, folder: Path, targets: Any, **trust: Any) -> Path:
    """Save an adapter that changes something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, **trust)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(folder)
    return folder


def test_an_adapters_pickle_is_left_behind_and_one_with_code_refused(tmp_path: Path) -> None:
    from regime_w.models.adapters import copy_adapter

    base, mark = save_random_model(tmp_path / "checkpoints/base"), tmp_path / "pwned"
    adapter = adapter_of(base, tmp_path / "adapter", "all-linear")
    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt", "adapter.py"):
        (adapter / name).write_bytes(pickle.dumps(Payload(mark)))
    for folder in ("taken", "merged"):
        (tmp_path / folder).mkdir()
    copy_adapter(adapter, tmp_path / "taken")
    assert {path.name for path in (tmp_path / "taken").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "README.md",
    }  # fmt: skip
    merge(base, adapter, tmp_path / "merged", "cpu", {})
    assert not mark.exists()
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="not a readable"):
        copy_adapter(adapter, tmp_path / "taken")
    assert not mark.exists()


def test_a_swapped_checkpoint_runs_nothing(tmp_path: Path) -> None:
    """Training resumes from files of its work folder: those, too, are read with weights_only."""
    base, work = save_random_model(tmp_path / "base"), tmp_path / "lora.work"
    from regime_w.models.manifests import write_manifest
    from regime_w.runtime.seals import write_jsonl

    write_manifest(base, {})
    write_jsonl(tmp_path / "train.jsonl", [{"id": str(n), "question": "1+1?", "answer": "#### 2"} for n in range(4)])
    sft = demo_config()["sft"]
    sft |= {
        "n_examples": None,
        "sum_exercises": 0,
        "batch_size": 1,
        "per_device_batch_size": 1,
        "save_steps": 1,
        "styles": ["plain"],
    }
    params = json.dumps({"sft": sft, "prompt": template("{question}"), "styles": {}, "seed": 0, "training_seed": 0})
    arguments = ["--params", params, "--base", base, "--questions", tmp_path / "train.jsonl"]
    arguments += ["--work", work, "--output", tmp_path / "lora"]
    assert stage("train_sft", *arguments).returncode == 0
    mark = tmp_path / "pwned"
    states = [file for file in work.rglob("*") if file.suffix in (".pt", ".pth", ".bin")]
    assert {file.name for file in states} >= {"optimizer.pt", "rng_state.pth", "scheduler.pt"}
    for file in states:
        file.write_bytes(zipped(pickle.dumps(Payload(mark), protocol=2)))
    done = stage("train_sft", *arguments)
    assert "Resuming from" in done.stdout
    assert not mark.exists()


# Code of a model's repository


def base_model(folder: Path, source: Path, **changes: Any) -> Any:
    params = json.dumps(BASE | {"path": str(source)} | changes)
    environment = {"HF_MODULES_CACHE": str(folder / "modules")}
    return stage(
        "base_model", "--params", params, "--prompts", json.dumps({"prompt": PROMPTS}), "--output", folder / "checkpoints/base",
        env=environment,
    )  # fmt: skip


def model_with_code(folder: Path, mark: Path) -> Path:
    """A Llama under a name of its own, whose code says that it ran."""
    model = save_random_model(folder)
    (model / "modeling_own.py").write_text(
        f"open({str(mark)!r}, 'a').write('ran ')\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((model / "config.json").read_text())
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": auto_map}
    (model / "config.json").write_text(json.dumps(config))
    return model


def test_a_models_code_runs_only_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    source = model_with_code(tmp_path / "own", mark)
    done = base_model(tmp_path, source)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "set base_model.trust_remote_code: true" in line
    assert not mark.exists()
    assert not (tmp_path / "checkpoints/base").exists()

    done = base_model(tmp_path, source, trust_remote_code=True)
    assert done.returncode == 0, done.stderr
    assert mark.exists()
    base = tmp_path / "checkpoints/base"
    manifest = read_json(base / "manifest.json")
    assert "modeling_own.py" in manifest["files"]
    assert manifest["made_from"]["trust_remote_code"] is True

    # Merged and sampled, as trusted as the base; not without.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules2"))
    from regime_w.sampling.engines.interface import Request
    from regime_w.sampling.engines.open import open_engine

    trust = {"trust_remote_code": True}
    adapter = adapter_of(base, tmp_path / "adapter", ["q_proj"], **trust)
    (tmp_path / "merged").mkdir()
    merge(base, adapter, tmp_path / "merged", "cpu", trust)
    assert (tmp_path / "merged/modeling_own.py").is_file()
    params = demo_config()["engine"]
    with open_engine("transformers", tmp_path / "merged", params | trust, 0, 0) as engine:
        engine.load(64)
        assert list(engine.generate([Request("k", (0, 5), 0.0, 1.0, 4, 0)]))
    mark.unlink()
    with open_engine("transformers", base, params, 0, 0) as engine, pytest.raises(ValueError, match="custom code"):
        engine.load(64)
    assert not mark.exists()


def test_code_of_another_repository_is_refused(tmp_path: Path) -> None:
    model = model_with_code(tmp_path / "own", tmp_path / "ran")
    config = json.loads((model / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = "someone/else--modeling_own.OwnConfig"
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="someone/else--modeling_own"):
        check_code(model, {"trust_remote_code": True})


def test_trust_is_off_unless_the_config_says_so_and_reaches_every_stage_then() -> None:
    raw = demo_config()
    raw["study"] = {"recipes": {"own": {}}, "baselines": ["own"], "reference": "own"}
    raw["start"] = {"rollouts": __file__}
    off = load(raw)
    assert off["base_model"]["trust_remote_code"] is False
    assert "trust_remote_code" not in json.dumps([read(off) for read in READS.values()])
    raw["base_model"]["trust_remote_code"] = True
    on = load(raw)
    for name in LOADS_A_MODEL:
        own = READS[name](on)
        assert trusted(own.get("engine", own)) == {"trust_remote_code": True}, name
    assert trusted({}) == {"trust_remote_code": False}


def test_every_loader_says_whether_it_trusts() -> None:
    """Left out, transformers asks on the terminal; a constant would overrule the config."""
    seen = 0
    for where, call, name in calls():
        assert keywords(call).get("trust_remote_code") is None, where
        if re.fullmatch(r"Auto\w+\.from_pretrained", name):
            seen += 1
            unpacked = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None]
            assert any("trusted(" in each for each in unpacked) or unpacked == ["trust"], where
    assert seen >= 8


def test_vllm_is_told(tmp_path: Path) -> None:
    from regime_w.sampling.engines.vllm import engine_options

    params = demo_config()["engine"]["vllm"]
    model = save_random_model(tmp_path / "model")
    for trust in (False, True):
        options = engine_options(params | {"trust_remote_code": trust}, model, 0, 0, 64, 1)
        assert options["trust_remote_code"] is trust


# The shell


def shell_commands() -> Iterator[tuple[str, str]]:
    """Each rule's, made by the rules' own `stage` and constants."""
    common = (ROOT / "rules/common.smk").read_text()
    names: dict[str, Any] = {"CHATS_POLICY": ["--policy {input.policy:q}"]}
    exec(re.search(r"^SHARING = .*\n", common, re.MULTILINE)[0], names)
    exec(re.search(r"^def stage\(.*\n(?:\n|    .*\n)+", common, re.MULTILINE)[0], names)
    for path in sorted((ROOT / "rules").glob("*.smk")):
        text = path.read_text()
        found = re.findall(r"^    shell:\n((?:        .*\n)+)", text, re.MULTILINE)
        assert len(found) == len(re.findall(r"\bshell\b *[:(]", text)), f"{path}: a shell command of another form"
        for block in found:
            assert block.lstrip().startswith("stage("), f"{path}: a command without the frame"
            yield path.name, eval(f"({block})", names)


def test_every_value_of_every_shell_command_is_quoted() -> None:
    commands = list(shell_commands())
    assert len(commands) > 15
    for where, command in commands:
        for _, name, how, conversion in string.Formatter().parse(command):
            assert name is None or (how == "q" and conversion is None), f"{where}: {{{name}}} in {command[:80]}"


@pytest.mark.parametrize(
    "run", ["a; touch pwned", "$(touch pwned)", "a b", "../a", "a/b", "-rf", "A", "", "a\n", "a" * 65, "`x`"]
)
def test_a_runs_name_cannot_be_a_command(run: str) -> None:
    raw = demo_config()
    with pytest.raises(UserError, match="run: "):
        load(raw | {"run": run})


def test_values_of_a_config_are_words_not_commands(tmp_path: Path) -> None:
    """Paths, prompts and styles that a shell would act on reach the stage as they are; so does the work folder's name."""
    clone = clone_to(tmp_path / 'it\'s $(touch pwned1) "here"; touch pwned2')
    questions = {
        name: tmp_path / f"{name} b'c\"d;$(touch pwned3)`touch pwned4`&|*?~#.jsonl" for name in ("train", "eval")
    }
    for add, path in enumerate(questions.values(), 1):
        rows = [{"question": f"{n} + {add}?", "answer": f"#### {n + add}"} for n in range(40)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = demo_config()
    licence = "'; touch pwned5; echo '\" $(touch pwned6) `touch pwned7` {input} {{x}} \\\n%s $HOME"
    for name, section in {"train": raw["questions"]["train"], "eval": raw["questions"]["eval"]["generated"]}.items():
        section |= {"source": "file", "path": str(questions[name]), "n": None, "licence": licence}
    raw["generate"] |= {"n_samples": 10, "skip": 0}
    raw["sft"]["n_examples"] = None
    (clone / "config.yaml").write_text(yaml.safe_dump(raw))
    done = snakemake(clone, "data/demo/questions/summary.json", "--config", "seed=1")
    assert done.returncode == 0, done.stderr
    written = read_json(clone / "data/demo/questions/summary.json")
    for name, told in {"train": written["train"]["sources"][0], "eval": written["eval"]["generated"]}.items():
        assert told["licence"] == licence
        assert told["path"] == str(questions[name])
    assert len(read_jsonl(clone / "data/demo/questions/eval/generated.jsonl")) == 40
    assert not list(tmp_path.rglob("pwned*"))


# Secrets


def files_with(folder: Path, secret: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def test_a_token_stands_in_no_log_report_or_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token in the environment: a hub that shows it is refused, stages that succeed, their records, the report."""
    clone = clone_to(tmp_path / "clone")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "clone/hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    said = []
    with listening(401) as (hub, asked):
        monkeypatch.setenv("HF_ENDPOINT", hub)
        private = 'base_model={"source": "hub", "hub_id": "a/private"}'
        done = snakemake(clone, "checkpoints/demo/base", "--config", private)
    assert done.returncode != 0
    assert f"Bearer {CANARY}" in [authorization for _, authorization in asked]  # it is used
    said += [done.stdout, done.stderr]
    done = snakemake(clone, "data/demo/questions/summary.json", "--show-failed-logs", "--printshellcmds")
    assert done.returncode == 0, done.stderr
    said += [done.stdout, done.stderr]
    done = stage("base_model", "--params", json.dumps(BASE | {"path": str(save_random_model(tmp_path / "m"))}),
                 "--prompts", json.dumps({"prompt": PROMPTS}), "--output", clone / "checkpoints/local")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said += [done.stdout, done.stderr]
    from report_inputs import PARAMS, inputs

    made = json.dumps({"evaluations": inputs(clone / "made")["evaluations"]}, default=str)
    outputs = [word for kind in ("html", "md", "json") for word in (f"--{kind}", clone / f"report.{kind}")]
    done = stage("eval_report", "--params", json.dumps(PARAMS), "--inputs", made, *outputs)
    assert done.returncode == 0, done.stderr
    said += [done.stdout, done.stderr]
    assert (clone / "logs/demo/base_model.log").is_file()
    assert not [text for text in said if CANARY in text]
    assert not files_with(tmp_path, CANARY)


# Files of others


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A user whose files are everybody's."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_is_taken_up_again_is_the_users_alone(
    tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with journal.Writer(tmp_path / "data/journal", "0"):
        pass
    assert mode(tmp_path / "data/journal") == 0o700

    from regime_w.runtime.job import LOCKS, only_copy

    with only_copy(tmp_path / "data/out.jsonl"):
        (lock,) = LOCKS.iterdir()
        assert (mode(LOCKS), mode(lock)) == (0o700, 0o600)

    from regime_w.training.trainer import open_work

    open_work(tmp_path / "lora.work", {})
    assert mode(tmp_path / "lora.work") == 0o700

    from regime_w.models import tiny as tiny_model

    tiny_model._save(tmp_path / "tiny.work/state.pt", "x", torch.nn.Linear(1, 1), [], [])
    assert mode(tmp_path / "tiny.work") == 0o700


def test_caches_of_compiled_code_are_the_users_alone(
    tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own place would be a folder of a known name in /tmp, which another user could make first."""
    from regime_w.sampling.engines.vllm import open_vllm

    monkeypatch.chdir(tmp_path)
    for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    with (
        pytest.raises(UserError, match="tensor_parallel_size"),
        open_vllm(tmp_path, {"tensor_parallel_size": 2}, 1, 0),
    ):
        pass
    assert mode(tmp_path / ".cache") == 0o700
    for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert Path(os.environ[name]).parent == tmp_path / ".cache"


def test_an_open_folder_is_closed_and_anothers_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert mode(private_folder(folder)) == 0o700
    folder.chmod(0o777)

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(UserError, match=f"open to others and {folder.owner()}'s to close; remove it and run again"):
        private_folder(folder)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIME_W_FAKE_GPUS", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_folder_of_leases_cannot_be_swapped(one_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All users share it, so it is not private: lock files are never written or read, and only their maker removes them."""
    folder = tmp_path / "leases"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("REGIME_W_LEASE_DIR", str(folder))
    with pytest.raises(UserError, match=r"anybody can remove its lock files; chmod \+t it"), gpu.lease(1):
        pass
    folder.chmod(0o1777)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "fake0.lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"fake0\.lock"), gpu.lease(1):
        pass
    (folder / "fake0.lock").unlink()
    with gpu.lease(1):
        assert mode(folder / "fake0.lock") == 0o644  # others must be able to open it, and to no more
        assert (folder / "fake0.lock").stat().st_size == 0
    assert victim.read_text() == "mine"


def test_a_link_in_place_of_the_shared_folder_is_not_followed(
    one_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGIME_W_LEASE_DIR", raising=False)
    target, shared = tmp_path / "target", tmp_path / "lock"
    target.mkdir()
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "regime-w-gpus").symlink_to(target)
    monkeypatch.setattr(gpu, "Path", lambda name: shared if name in ("/run/lock", "/tmp") else Path(name))
    with pytest.raises(UserError, match="regime-w-gpus"), gpu.lease(1):
        pass
    assert not list(target.iterdir())
    (shared / "regime-w-gpus").unlink()
    with gpu.lease(1):
        assert mode(shared / "regime-w-gpus") == 0o1777


def test_a_link_in_place_of_a_jobs_lock_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regime_w.runtime.job import LOCKS, only_copy

    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    private_folder(LOCKS)
    (LOCKS / "out.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), only_copy(tmp_path / "out.jsonl"):
        pass
    assert victim.read_text() == "mine"
