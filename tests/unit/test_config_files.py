"""Config files: laid over each other, read strictly, shown with the source of each value."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT

from regime_w.config.claims import check_claim, claim, owner_of
from regime_w.config.files import MOST_VALUES, configured, layers_of, leaves, merged, origins, read
from regime_w.config.show import lines
from regime_w.runtime.errors import UserError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(*files: Path, **values: Any) -> list[str]:
    return [layer.name for layer in layers_of(files, values)]


# extends


def test_a_file_is_laid_over_what_it_extends(place: Path) -> None:
    write(place / "a.yaml", "run: a\ndpo: {beta: 0.1, loss_type: [sigmoid, sft]}\nstyles: {x: one}\n")
    write(place / "sub/b.yaml", "extends: ../a.yaml\nrun: b\ndpo: {beta: 0.2}\nstyles: {y: two}\n")
    top = write(place / "c.yaml", "extends: [sub/b.yaml]\ndpo: {loss_type: [sigmoid]}\n")
    layers = layers_of([top], {"run": "cli", "dpo": {"beta": 0.3}})
    assert [layer.name for layer in layers] == ["a.yaml", "sub/b.yaml", "c.yaml", "--config"]
    assert merged(layers) == {
        "run": "cli",
        "dpo": {"beta": 0.3, "loss_type": ["sigmoid"]},
        "styles": {"x": "one", "y": "two"},
    }
    assert origins(layers) == {
        ("run",): "--config",
        ("dpo", "beta"): "--config",
        ("dpo", "loss_type"): "c.yaml",
        ("styles", "x"): "a.yaml",
        ("styles", "y"): "sub/b.yaml",
    }


def test_paths_are_of_the_files_folder_and_then_of_the_repository(place: Path) -> None:
    top = write(place / "mine/run.yaml", "extends: configs/gsm8k.yaml\n")
    assert names(top) == ["configs/gsm8k.yaml", "mine/run.yaml"]
    write(place / "mine/configs/gsm8k.yaml", "seed: 1\n")
    assert names(top) == ["mine/configs/gsm8k.yaml", "mine/run.yaml"]


def test_a_file_counts_once_where_it_is_first_named(place: Path) -> None:
    """Else what two files extend would take back what the first of them says."""
    write(place / "shared.yaml", "seed: 1\nrounds: 1\n")
    first = write(place / "first.yaml", "extends: shared.yaml\nseed: 2\n")
    second = write(place / "second.yaml", "extends: shared.yaml\nrounds: 3\n")
    assert names(first, second) == ["shared.yaml", "first.yaml", "second.yaml"]
    assert merged(layers_of([first, second])) == {"seed": 2, "rounds": 3}


def test_an_overlay_inherits_nothing_of_the_default_run(place: Path) -> None:
    top = write(place / "mine.yaml", "run: mine\n")
    assert names(top) == ["mine.yaml"]
    assert names() == ["configs/demo.yaml", "config.yaml"]
    assert names(seed=1) == ["configs/demo.yaml", "config.yaml", "--config"]
    assert [layer.name for layer in layers_of([], {"run": "x"}, "a module", default=False)] == ["a module"]
    write(place / "config.yaml", "run: here\n")
    assert merged(layers_of([])) == {"run": "here"}
    assert names() == ["config.yaml"]


def test_the_command_line_can_extend_too(place: Path) -> None:
    write(place / "more.yaml", "seed: 3\nrounds: 2\n")
    top = write(place / "mine.yaml", "run: mine\nseed: 1\n")
    assert merged(layers_of([top], {"extends": "more.yaml", "rounds": 4})) == {"run": "mine", "seed": 3, "rounds": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: a.yaml\n", "a.yaml extends itself: a.yaml -> a.yaml"),
        ("extends: b.yaml\n", "extends itself: a.yaml -> b.yaml -> a.yaml"),
        ("extends: none.yaml\n", "a.yaml: extends none.yaml, which is neither in"),
        ("extends: {a: 1}\n", "a.yaml: extends names config files, found {'a': 1}"),
        ("extends: [1]\n", "a.yaml: extends names config files, found 1"),
        ("extends: ''\n", "a.yaml: extends names config files, found ''"),
        (f"extends: {'x/' * 3000}\n", "which is neither in"),
        ('extends: "\\0"\n', "a.yaml: extends names config files"),
    ],
)
def test_what_cannot_be_extended_is_one_line(place: Path, text: str, message: str) -> None:
    write(place / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(UserError) as caught:
        layers_of([write(place / "a.yaml", text)])
    assert message in str(caught.value)
    assert len(caught.value.lines) == 1


# Reading


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dpo: {beta: 0.7}\nseed: 1\ndpo: {epochs: 2}\n", "x.yaml, line 3: the key 'dpo' stands in line 1 already"),
        ("dpo:\n  beta: 0.7\n  beta: 0.7\n", "x.yaml, line 3: the key 'beta' stands in line 2 already"),
        ("arms:\n  - {name: a, name: b}\n", "x.yaml, line 2: the key 'name'"),
        ('{"dpo": {"beta": 1, "beta": 2}}', "x.yaml: the key 'beta' stands there twice"),
        ("a: [1\nb: 2\n", "x.yaml, line 2: not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("a: &a [*a]\n", "x.yaml, line 1: nested too deep for a config, or an anchor inside itself"),
        ("a: &a {b: *a}\n", "x.yaml, line 1: nested too deep for a config, or an anchor inside itself"),
        ("a: " + "[" * 60 + "]" * 60, "x.yaml, line 1: nested too deep"),
        ("a: " + "[" * 20_000, "not YAML"),
        ('{"a": ' + "[" * 20_000, "nested too deep"),
        ("a: !!python/object:os.system x\n", "line 1: 'x' cannot be read"),
        ("a: !!python/object/apply:os.system [x]\n", "is nothing that a config holds"),
        ("a: !!set {b, c}\n", "is nothing that a config holds"),
        ("? [a, b]\n: c\n", "a key is a list"),
        ("a: {<<: 1}\n", "<< takes a mapping in"),
        (f"a: {'9' * 5000}\n", "is no number that can be read"),
        ("a: 2026-02-31\n", "is no number that can be read"),
        ("a: !!float ''\n", "is no number that can be read"),
        ("a: !!bool maybe\n", "is no number that can be read"),
        ("a: !!timestamp x\n", "is no number that can be read"),
        ("- a\n", "keys with values were expected, found a list"),
        ("", "keys with values were expected, found nothing"),
        ("a: \x07\n", "not YAML"),
        ("x: " + "1:" * 200_000 + "1", "is no number that can be read"),
        ("x: " + "y" * 500_001, "0.5 MB, a config has 0.5 MB at most"),
    ],
)  # fmt: skip
def test_files_that_are_no_config_are_one_line(place: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(place / "x.yaml", text))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_bytes_that_are_no_text(place: Path) -> None:
    (place / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.yaml: not UTF-8"):
        read(place / "x.yaml")
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        read(place / "none.yaml")


@pytest.mark.parametrize("opening", ["[{}]", "{{{}}}"])
def test_nested_anchors_build_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, opening: str) -> None:
    """Nine levels of ten would be a billion values: reading ends at the first that is too many."""

    def entries(level: int) -> str:
        inner = [f"*a{level - 1}" if level else "x"] * 10
        return ", ".join(inner if opening[0] == "[" else [f"k{number}: {each}" for number, each in enumerate(inner)])

    path = write(place / "x.yaml", "".join(f"a{n}: &a{n} {opening.format(entries(n))}\n" for n in range(9)))
    built = 0
    from regime_w.config import files

    value = files._Reader.value

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal built
        built += 1
        return value(self, *arguments)

    monkeypatch.setattr(files._Reader, "value", counted)
    with pytest.raises(UserError, match="more than 50,000 values"):
        read(path)
    assert built == MOST_VALUES + 1


def test_keys_are_texts_as_they_are_written(place: Path) -> None:
    text = "no: 1\n017: 2\n2026-01-31: 3\n~: 4\nx: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 1, a: 9}]}\n"
    assert read(write(place / "x.yaml", text)) == {
        "no": 1, "017": 2, "2026-01-31": 3, "~": 4, "x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2, "c": 1},
    }  # fmt: skip


def test_json_is_read_with_tabs_and_a_byte_order_mark(place: Path) -> None:
    (place / "x.json").write_bytes(b'\xef\xbb\xbf{\n\t"run": "a",\n\t"seed": 1e0\n}\n')
    assert read(place / "x.json") == {"run": "a", "seed": 1.0}


def test_thousands_of_corrections_are_read(place: Path) -> None:
    text = "".join(f"      train-{number:05d}: '1 -> 2'\n" for number in range(7473))
    path = write(
        place / "x.yaml", f"extends: configs/demo.yaml\nrun: x\nquestions:\n  train:\n    corrections:\n{text}"
    )
    layers, whole = configured(layers_of([path]), gpus=0)
    assert len(whole["questions"]["train"]["corrections"]) == 7473
    assert origins(layers)[("questions", "train", "corrections", "train-07472")] == "x.yaml"


# Showing


def test_what_is_shown_is_the_configuration(place: Path) -> None:
    layers, whole = configured(layers_of([ROOT / "configs/smollm2.yaml"], {"seed": "7"}), gpus=1)
    text = "\n".join(lines(whole, origins(layers)))
    assert dict(leaves(yaml.safe_load(text))) == dict(leaves(whole))
    shown: dict[str, str] = {}
    for line in text.splitlines():
        shown.setdefault(line.split(":")[0].strip(), line.rpartition("# ")[2])
    assert shown["seed"] == "--config"
    assert shown["variants"] == "configs/smollm2.yaml"
    assert shown["train-00167"] == "configs/gsm8k.yaml"
    assert shown["arms"] == "default"


def test_the_command_shows_and_refuses(place: Path) -> None:
    def show(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "regime_w.config.show", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = show("configs/abel.yaml", "--config", "dpo={beta: 0.2}", "rounds=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# configs/gsm8k.yaml, configs/abel.yaml, --config\nrun: abel ")
    assert yaml.safe_load(done.stdout)["dpo"]["beta"] == 0.2
    done = show("configs/abel.yaml", "--config", "dpo={bata: 0.2}", "seed=-1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert all(line.startswith("error: --config: ") for line in done.stderr.splitlines())


def test_a_reader_may_leave_early(place: Path) -> None:
    command = f"{sys.executable} -m regime_w.config.show configs/smollm2.yaml | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("# configs/gsm8k.yaml, configs/smollm2.yaml\n", "")


# One run, one config


def test_a_run_belongs_to_the_file_that_names_it(place: Path) -> None:
    write(place / "a.yaml", "run: a\n")
    write(place / "b.yaml", "extends: a.yaml\n")
    write(place / "more.yaml", "seed: 1\n")
    for files, owner in ((["a"], "a.yaml"), (["b"], "b.yaml"), (["a", "more"], "a.yaml"), (["more"], "more.yaml")):
        assert owner_of(layers_of([Path(f"{name}.yaml") for name in files], {"run": "x"})) == owner
    assert owner_of(layers_of([])) == "config.yaml"


def test_another_file_with_the_same_run_is_told(place: Path) -> None:
    def config(**changes: Any) -> dict[str, Any]:
        return configured(layers_of([ROOT / "config.yaml"], changes), gpus=0)[1]

    check_claim(config(), "a.yaml")
    claim(config(), "a.yaml")
    claim(config(seed=1), "a.yaml")  # a changed config of its own
    check_claim(config(seed=1), "b.yaml")  # a copy
    check_claim(config(seed=1, resources={"jobs_per_gpu": 2}), "b.yaml")
    with pytest.raises(UserError) as caught:
        check_claim(config(dpo={"beta": 0.5}), "b.yaml")
    line = str(caught.value)
    assert line.startswith(
        "run demo: what is there was made by a.yaml, and b.yaml differs in dpo.beta 0.03, here 0.5; seed 1, here 0;"
    )
    assert "results/demo/claimed_by.json" in line
    assert json.loads((place / "results/demo/claimed_by.json").read_text())["file"] == "a.yaml"
    (place / "results/demo/claimed_by.json").write_text("[]")
    with pytest.raises(UserError, match="not what this pipeline writes"):
        check_claim(config(), "b.yaml")
