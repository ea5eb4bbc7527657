"""The configuration: one source for schema, defaults and checks; pins agree between pip and conda."""

import json

import pytest
import yaml
from helpers import ROOT
from jsonschema import Draft202012Validator

from regime_w.config.plan import auto_shards, check_gpus, check_verifier, shards_for, verifier_file
from regime_w.config.schema import Config, load, schema
from regime_w.runtime.errors import UserError


def config(**changes):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    return raw | changes


def keys(value, prefix=""):
    """Dotted keys of a nested config, sections only where the names are the schema's."""
    if not isinstance(value, dict) or prefix in ("styles", "questions.train.corrections", "questions.eval.corrections"):
        return {prefix}
    return {prefix} | {key for name, part in value.items() for key in keys(part, f"{prefix}.{name}".lstrip("."))}


def test_the_committed_schema_is_the_models():
    """Regenerate with: python -m regime_w.config.schema > config.schema.json"""
    assert json.loads((ROOT / "config.schema.json").read_text()) == schema()
    Draft202012Validator.check_schema(schema())


def test_every_key_stands_in_the_default_config_and_has_a_place_in_the_schema():
    assert keys(config()) == keys(load(config()))
    Draft202012Validator(schema()).validate(config())


@pytest.mark.parametrize("name", ["abel", "smollm2"])
def test_overlays_name_known_keys(name):
    overlay = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())
    assert keys(overlay | {"study": None}) <= keys(load(config())) | {"study"}
    assert not overlay.get("base_model", {}).get("trust_remote_code", False)


def test_whole_and_decimal_numbers_are_one_value():
    raw = config()
    whole = load(raw | {"report": raw["report"] | {"gpu_hour_usd": 1}})
    assert json.dumps(whole["report"]["gpu_hour_usd"]) == "1.0"


@pytest.mark.parametrize(
    ("verifier", "said"),
    [
        ("numbers", "task.verifier"),
        ("grade.py", "task.verifier"),
        ("{run}/grade.py:f", "task.verifier"),
        ("grade.py:not-a-name", "task.verifier"),
    ],
)
def test_verifiers_that_cannot_be(verifier, said):
    with pytest.raises(UserError, match=said):
        load(config(task={"verifier": verifier}))


def test_a_score_needs_a_verifier_that_gives_one():
    raw = config()
    scored = raw["reward"] | {"correct": "score"}
    with pytest.raises(UserError, match=r"reward\.correct: number gives no score"):
        load(raw | {"reward": scored})
    assert load(raw | {"reward": scored, "task": {"verifier": "mine.py:grade"}})["reward"]["correct"] == "score"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "No such file"),
        ("def grade(:", "not Python"),
        ("def grades(): ...", "no function 'grade', it has grades"),
        ("x = 1", "no function 'grade', it has none"),
    ],
)
def test_a_users_verifier_is_checked_before_any_job(tmp_path, code, said):
    path = tmp_path / "own.py"
    if code is not None:
        path.write_text(code)
    with pytest.raises(UserError, match=said):
        check_verifier("task.verifier", f"{path}:grade")


@pytest.mark.parametrize("code", ["def grade(): ...", "from a import b as grade", "grade = print", "class grade: ..."])
def test_a_users_verifier_may_come_from_anywhere(tmp_path, code):
    (tmp_path / "own.py").write_text(code)
    check_verifier("task.verifier", f"{tmp_path / 'own.py'}:grade")
    assert verifier_file(f"{tmp_path / 'own.py'}:grade") == [f"{tmp_path / 'own.py'}"]
    assert verifier_file("latex") == []


def test_weights_that_let_a_wrong_answer_win():
    raw = config()
    with pytest.raises(UserError, match="wrong"):
        load(raw | {"reward": raw["reward"] | {"alpha": 0.4}})
    with pytest.raises(UserError, match="wrong"):
        load(
            raw
            | {"reward": raw["reward"] | {"lambda_length": 1.0}, "generate": raw["generate"] | {"max_new_tokens": 600}}
        )


def test_shards_follow_the_work_and_the_gpus():
    raw = load(config())
    raw["generate"] |= {"shards": "auto", "n_samples": 500}
    assert auto_shards(raw, 8) == ["0-of-1"]
    raw["generate"]["n_samples"] = 7473
    assert len(auto_shards(raw, 8)) == 8
    assert len(auto_shards(raw, 0)) == 1
    raw["engine"]["vllm"]["tensor_parallel_size"] = 4
    assert len(auto_shards(raw, 8)) == 2


@pytest.mark.parametrize(
    ("trajectories", "engines", "shards"),
    [
        (1, 8, 1),
        (8_000, 8, 1),
        (8_001, 8, 2),
        (59_784, 512, 8),
        (400_001, 1, 2),
        (8_000_000, 8, 24),
        (8_000_000, 512, 512),
    ],
)
def test_shards_are_neither_tiny_nor_huge(trajectories, engines, shards):
    assert shards_for(trajectories, engines) == shards


def test_more_gpus_than_there_are():
    raw = load(config())
    raw["dpo"]["gpus"] = 8
    with pytest.raises(UserError, match=r"dpo\.gpus is 8 but 2 GPU\(s\) are here"):
        check_gpus(raw, 2, 1)
    check_gpus(raw, 8, 1)
    with pytest.raises(UserError, match=r"dpo\.gpus is 8, .* unset REGIME_W_JOBS_PER_GPU"):
        check_gpus(raw, 8, 2)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_conda_environments_pin_what_pip_pins(kind):
    pinned = {
        line.strip()
        for name in ("base", kind)
        for line in (ROOT / f"envs/{name}.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    conda = yaml.safe_load((ROOT / f"envs/{kind}.yaml").read_text())
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert set(pip) == pinned


def test_every_field_is_described_or_named_plainly():
    described = [field for model in _models(Config) for field in model.model_fields.values() if field.description]
    assert len(described) > 60


def _models(model, seen=None):
    seen = seen if seen is not None else set()
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(part, "model_fields"):
                    _models(part, seen)
    return seen
