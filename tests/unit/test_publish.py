"""Publishing, against a stand-in for the hub: what is sent, what resumes, what is refused, and what the cards say."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import clone_to, demo_config, snakemake, stage
from hub_server import TOKEN, Hub, standing_in
from huggingface_hub import HfApi, constants
from plans import planned
from report_inputs import PARAMS, SET, base_rows, save, sft_rows

from regime_w.config.claims import that_makes
from regime_w.config.files import laid_over
from regime_w.config.lineage import lineage, trained_by
from regime_w.config.recipes import read_by, recipes_of
from regime_w.config.schema import load
from regime_w.models.cards import card, licence
from regime_w.models.manifests import new_artefact, write_manifest
from regime_w.report.publication import check_chain, check_report
from regime_w.report.render import render
from regime_w.report.summary import plain, summarise
from regime_w.runtime.errors import UserError
from regime_w.runtime.hub import send
from regime_w.runtime.records import read_json, write_json, write_text


def artefact(folder: Path, made_from: dict[str, Any], **files: str) -> str:
    """A folder with a manifest; returns its fingerprint."""
    with new_artefact(folder) as new:
        (new / "README.md").write_text("the folder's own card\n")
        for name, text in files.items():
            (new / name.replace("__", ".")).write_text(text)
        return str(write_manifest(new, made_from)["fingerprint"])


def own_config() -> dict[str, Any]:
    config = demo_config(run="demo", rounds=1)
    base = config["base_model"] | {"source": "hub", "hub_id": "someone/base", "revision": "abc123", "licence": "MIT"}
    source = config["questions"]["eval"]["generated"]
    return load(config | {"base_model": base, "questions": config["questions"] | {"eval": {SET: source}}})


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """Folders and files of a run as its stages leave them, weights but for a few bytes; the arguments of `publish`."""
    config = own_config()
    own, _ = recipes_of(config)
    asked = {name: read_by(trained_by(own, number), number, config) for number, name in enumerate(("sft", "round1"))}
    source = {key: config["base_model"][key] for key in ("source", "hub_id", "revision", "path", "licence")}
    before = artefact(tmp_path / "base", source, config__json="{}", model__safetensors="base")
    models, adapters = {"base": tmp_path / "base"}, {}
    for name in ("sft", "round1"):
        adapters[name], models[name] = tmp_path / f"{name}_lora", tmp_path / name
        key = "base" if name == "sft" else "policy"
        weights = {
            "adapter_config__json": '{"base_model_name_or_path": "/home/me/base"}',
            "adapter_model__safetensors": name,
        }
        adapter = artefact(adapters[name], {key: before, "params": asked[name]}, **weights)
        merged = {"config__json": "{}", "model__safetensors": f"merged {name}"}
        before = artefact(models[name], {"base": before, "adapter": adapter}, **merged)
    answers = {"base": base_rows(), "sft": sft_rows(), "round1": sft_rows()}
    evaluations = {SET: {name: save(tmp_path / f"answers/{name}.jsonl", rows) for name, rows in answers.items()}}
    whole = that_makes(config) | {"study": None}
    manifests = {name: folder / "manifest.json" for name, folder in models.items()}
    report = {name: tmp_path / f"eval_report.{name}" for name in ("html", "md", "json")} | {
        "config": tmp_path / "config.yaml"
    }
    make_report(report, evaluations, manifests, whole)
    examples = {"round1": save(tmp_path / "preferences.jsonl", [{"prompt": "p", "chosen": "c", "rejected": "r"}])}
    return {
        "params": {"hub_id": "me/demo", "private": True, "pairs": True, "model": None, "asked": asked},
        "card": lineage(own, 1),
        "config": whole,
        "inputs": {"models": models, "adapters": adapters, "examples": examples, "evaluations": evaluations, "report": report},
        "output": tmp_path / "published.json",
    }  # fmt: skip


def make_report(report: Any, evaluations: Any, manifests: Any, config: Any) -> None:
    summary = summarise(PARAMS, evaluations=evaluations, manifests=manifests, config=config)
    write_json(report["json"], summary)
    html, md = render(summary)
    write_text(report["html"], html)
    write_text(report["md"], md)
    write_text(report["config"], yaml.safe_dump(plain(config)))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with standing_in() as hub:
        yield hub


def publish(run: dict[str, Any], hub: Hub, token: str = TOKEN, **params: Any) -> Any:
    words = [
        word
        for name in ("card", "config", "inputs")
        for word in (f"--{name}", json.dumps(run[name], default=str))
    ]  # fmt: skip
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(run["output"].parent / "hf"),
    }
    return stage(
        "publish", "--params", json.dumps(run["params"] | params), *words, "--output", run["output"], env=environment
    )


def test_what_is_published_and_that_a_second_time_sends_nothing(run: dict[str, Any], hub: Hub) -> None:
    """The first time the storage fails on the model's weights: what is there by then is not sent again."""
    weights = hashlib.sha256(b"merged round1").hexdigest()
    hub.refuse.add(weights)
    done = publish(run, hub)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: me/demo: the hub refuses what was sent")
    assert "Traceback" not in done.stderr
    assert not run["output"].exists()
    assert len(hub.commits) == 2  # pairs and adapters
    sent = len(hub.uploads)
    hub.refuse.clear()
    done = publish(run, hub)
    assert done.returncode == 0, done.stderr
    assert hub.uploads[sent:] == [weights]
    assert len(hub.commits) == 3

    assert {key: own["private"] for key, own in hub.repositories.items()} == {
        ("dataset", "me/demo-pairs"): True,
        ("model", "me/demo-lora"): True,
        ("model", "me/demo"): True,
    }
    report = {f"report/{name}" for name in ("eval_report.html", "eval_report.md", "eval_report.json", "config.yaml")}
    files = hub.files("model", "me/demo")
    assert set(files) == {"README.md", "config.json", "model.safetensors", *report}
    assert files["model.safetensors"] == b"merged round1"
    adapters = hub.files("model", "me/demo-lora")
    assert set(adapters) == {"README.md"} | {
        f"{name}/{file}" for name in ("sft", "round1") for file in ("adapter_config.json", "adapter_model.safetensors")
    }
    assert json.loads(adapters["sft/adapter_config.json"]) == {"base_model_name_or_path": "someone/base"}
    assert set(hub.files("dataset", "me/demo-pairs")) == {"README.md", "round1/preferences.jsonl"}
    record = read_json(run["output"])
    own = record["repositories"]["me/demo"]
    assert own["commit"] == hub.commits[-1]
    assert own["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    kept = [file for file in run["output"].parent.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert not kept
    assert TOKEN not in done.stdout + done.stderr

    card_of_the_model = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert card_of_the_model["base_model"] == "someone/base"
    assert card_of_the_model["license"] == "mit"
    (index,) = card_of_the_model["model-index"]
    metrics = {each["name"]: each for each in index["results"][0]["metrics"]}
    greedy = metrics["accuracy of greedy answers"]
    assert greedy["value"] == 80.0
    assert (greedy["args"]["low"], greedy["args"]["high"], greedy["args"]["questions"]) == (49.02, 94.33, 10)
    text = files["README.md"].decode()
    assert "| round1 | 10 | 80.0 (49.0 to 94.3)" in text
    assert 'from_pretrained("me/demo"' in text
    assert 'revision="abc123"' in adapters["README.md"].decode()


def test_a_wrong_token_is_one_line_before_anything_is_made(run: dict[str, Any], hub: Hub) -> None:
    done = publish(run, hub, token="hf_of_someone_else")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: the hub: the hub does not take the token; set HF_TOKEN to one with the right to write, or run"
        " `hf auth login`"
    )
    assert not hub.repositories
    assert "hf_of_someone_else" not in done.stdout + done.stderr


def test_visibility_is_never_changed_in_silence(hub: Hub) -> None:
    api = HfApi(endpoint=hub.url, token=TOKEN)
    hub.repositories["model", "me/open"] = {"private": False, "files": {}}
    with pytest.raises(UserError, match=r"me/open: is public on the hub and publish.private is true; change one"):
        send(api, "me/open", {"a.txt": b"secret"}, private=True)
    assert not hub.commits
    send(api, "me/open", {"a.txt": b"open"}, private=False)
    assert hub.files("model", "me/open") == {"a.txt": b"open"}
    with pytest.raises(UserError, match="the token may not write there"):
        send(api, "others/model", {"a.txt": b"1"}, private=True)


def test_an_edit_makes_one_commit_takes_old_shards_away_and_leaves_a_users_files(hub: Hub) -> None:
    api = HfApi(endpoint=hub.url, token=TOKEN)
    shards = {f"model-{i}.safetensors": f"shard {i}".encode() for i in range(2)}
    send(api, "me/model", shards | {"README.md": b"# one"}, private=True, replaces=["*.safetensors"])
    hub.files("model", "me/model")["LOGO.png"] = b"theirs"
    again = send(api, "me/model", shards | {"README.md": b"# one"}, private=True, replaces=["*.safetensors"])
    assert len(hub.commits) == 1
    assert set(again["files"]) == {*shards, "README.md"}
    send(api, "me/model", {"model.safetensors": b"whole"}, private=True, replaces=["*.safetensors"])
    assert set(hub.files("model", "me/model")) == {"LOGO.png", "README.md", "model.safetensors"}
    assert len(hub.commits) == 2


def check(run: dict[str, Any]) -> None:
    inputs = run["inputs"]
    manifests = check_chain(inputs["models"], inputs["adapters"], run["params"]["asked"], run["config"])
    check_report(inputs["report"], manifests, inputs["evaluations"], run["config"])


def test_a_link_of_another_chain_is_refused(run: dict[str, Any], tmp_path: Path) -> None:
    check(run)
    asked = run["params"]["asked"]
    other = run | {"params": {"asked": asked | {"round1": asked["round1"] | {"seed": 99}}}}
    with pytest.raises(UserError, match="round1_lora: was trained with other settings than the config's"):
        check(other)
    base = run["config"]["base_model"] | {"revision": "other"}
    with pytest.raises(UserError, match=r"was made with base_model\.revision 'abc123', the config has 'other'"):
        check(run | {"config": run["config"] | {"base_model": base}})
    (tmp_path / "round1/model.safetensors").write_text("merged ROUND1")
    with pytest.raises(UserError, match=r"model.safetensors: its bytes changed"):
        check(run)
    artefact(tmp_path / "round1", {"base": "another", "adapter": "one"}, model__safetensors="x")
    with pytest.raises(UserError, match="round1: was not merged from"):
        check(run)
    artefact(tmp_path / "sft_lora", {"base": "another", "params": asked["sft"]}, model__safetensors="x")
    with pytest.raises(UserError, match="sft_lora: was trained on another model than"):
        check(run)


def test_a_report_of_something_else_is_refused(run: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the report of another config than this one"):
        check(run | {"config": run["config"] | {"seed": 99}})
    report = run["inputs"]["report"]
    page = report["html"].read_text()
    report["html"].write_text(page.replace("80", "99"))
    with pytest.raises(UserError, match=r"eval_report\.html: does not say what"):
        check(run)
    report["html"].write_text(page)
    answers = run["inputs"]["evaluations"][SET]["sft"]
    lines = answers.read_text()
    answers.write_text(lines + lines.splitlines(True)[0])
    with pytest.raises(UserError, match=r"sft.jsonl: is not what .* was made from"):
        check(run)
    answers.write_text(lines)
    summary = read_json(report["json"])
    summary["provenance"]["models"]["round1"]["fingerprint"] = "0"
    write_json(report["json"], summary)
    with pytest.raises(UserError, match="is about another model round1"):
        check(run)


def test_cards_say_what_a_model_was_made_from_and_follow_nothing_else(run: dict[str, Any]) -> None:
    config = own_config()
    facts = run["card"]
    for kind in ("model", "adapter"):
        text = card(facts, kind)
        for said in ("someone/base", "abc123", facts["config_hash"], "## Arms", "## Limits", "How to load", "MIT"):
            assert said in text
        assert "/home/" not in text
        assert "model-index" not in text
    assert card({}, "model").startswith("---\nlibrary_name: transformers\n---\n")
    report = config | {"report": config["report"] | {"title": "Another"}, "merge": {"device": "cpu"}}
    assert lineage(recipes_of(report)[0], 1) == facts
    other = lineage(recipes_of(config | {"pairs": config["pairs"] | {"per_question": 9}})[0], 1)
    assert other["config_hash"] != facts["config_hash"]
    sft = lineage(recipes_of(config)[0], 0)
    assert sft == lineage(recipes_of(config | {"pairs": config["pairs"] | {"per_question": 9}})[0], 0)
    assert not sft["arms"]
    given = lineage(recipes_of(config | {"start": {"rollouts": None, "preferences": "/home/me/pairs.jsonl"}})[0], 1)
    assert not given["arms"]
    assert "- round 1 began with another tool's preferences" in card(given, "model")
    assert "/home/me" not in card(given, "model")


def test_what_is_lacking_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a dry run of `publish` alone: who does not ask for it needs no token."""
    clone = clone_to(tmp_path / "clone")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = snakemake(clone, "publish", "--dry-run")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: publish.hub_id is not set; name the model's repository, hub_id: OWNER/NAME",
        "error: publish: no token for the hub; set HF_TOKEN, or run `hf auth login`",
    ]
    assert "publish" not in planned(clone)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    jobs = planned(clone, "--config", "publish={hub_id: me/demo, model: round1}", target="publish")
    assert {"publish", "eval_report", "train_dpo"} <= set(jobs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"publish": {"model": "round9"}}, "publish.model: this run trains no round9; it trains sft, round1, round2"),
        (
            {"publish": {"hub_id": "me/x"}, "method": "none", "sft": {"method": "none"}},
            "publish.hub_id: this run trains nothing, so that there is no model to publish; take it out",
        ),
        ({"publish": {"hub_id": "me/a--b"}}, "is no name on the hub"),
        ({"tracking": {"to": ["wandb", "wandb"]}}, "to names a tracker twice"),
    ],
)
def test_what_cannot_be_published_or_tracked_is_a_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load(laid_over(demo_config(), changes))


def test_licences_have_the_hubs_names() -> None:
    assert licence("Apache-2.0") == {"license": "apache-2.0"}
    assert licence("My own (v2)") == {"license": "other", "license_name": "my-own-v2"}
    assert licence(None) == {}
