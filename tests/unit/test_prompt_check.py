"""The check of prompts in base_model: what it prints, and templates that fail, loop or swell, each in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, byte_level
from helpers import CHAT_TEMPLATE, save_random_model, stage
from training_inputs import CHAT, PROMPTS

from regime_w.runtime.errors import UserError
from regime_w.tasks.prompt_check import check_prompts, try_template

pytestmark = pytest.mark.e2e  # templates are tried in processes of their own
TRUST = {"trust_remote_code": False}
IN_CHAT = PROMPTS | {"prompt": CHAT}
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def folder_of(folder: Path, template: str) -> Path:
    byte_level(template, ["</s>"], eos_token="</s>").save_pretrained(folder)
    return folder


def test_the_first_prompt_of_each_style_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_random_model(tmp_path / "model")
    for params in (PROMPTS, IN_CHAT):
        check_prompts(folder, {"prompt": params}, TRUST)
        out = capsys.readouterr().out
        for style in ("plain", "wolfram"):
            assert f"prompt, style {style}: " in out
        assert "  ids: [0, " in out
        assert "Completions end at: </s>" in out
    assert "Be {exact}." in out
    assert "user: How much is 3 + 4?\\nAnswer: " in out


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('out of order') }}", "fails: out of order"),
        (LOOP, "takes more than 2 s or 2 GB"),
        ("{{ ('x' * 1000000000) * 9 }}", "fails: MemoryError|takes more than"),
        ("{{ ''.__class__.__mro__ }}", "fails: "),
    ],
)
def test_a_template_is_run_with_bounds(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        try_template(folder_of(tmp_path / "model", template), {"prompt": IN_CHAT}, TRUST, seconds=2)


def test_a_trial_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be tried, for the reason above"):
        try_template(folder_of(tmp_path / "model", CHAT_TEMPLATE), {"prompt": {}}, TRUST)


def test_a_machine_of_many_cores_starts_no_threads_within_the_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1000")
    try_template(folder_of(tmp_path / "model", CHAT_TEMPLATE), {"prompt": IN_CHAT}, TRUST)


def test_a_template_whose_token_the_model_does_not_embed(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "model")
    FAMILIES["qwen2.5"].build().save_pretrained(folder)
    with pytest.raises(
        UserError,
        match=r"questions\.eval\.math\.prompt: it uses '<\|im_end\|>', id [0-9]+, and the model embeds 2[0-9]+ tokens",
    ):
        check_prompts(folder, {"questions.eval.math.prompt": IN_CHAT}, TRUST)


def base_model(source: Path, output: Path, prompts: dict[str, Any]) -> Any:
    params = {"source": "local", "hub_id": None, "revision": None, "path": str(source), "licence": None, "seed": 0}
    params["trust_remote_code"] = False
    return stage(
        "base_model", "--params", json.dumps(params), "--prompts", json.dumps({"prompt": prompts}), "--output", output,
    )  # fmt: skip


def test_base_model_takes_what_can_be_asked_and_leaves_nothing_of_the_rest(tmp_path: Path) -> None:
    source = save_random_model(tmp_path / "source")
    done = base_model(source, tmp_path / "base", IN_CHAT)
    assert done.returncode == 0, done.stderr
    assert "prompt, style wolfram: 'system: Be {exact}." in done.stdout
    (source / "chat_template.jinja").write_text("{{ raise_exception('no messages today') }}")
    done = base_model(source, tmp_path / "other", IN_CHAT)
    assert done.returncode == 2
    assert "no messages today" in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("other*"))
