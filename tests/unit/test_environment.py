"""Set-up: what is installed where, what is refused before anything is fetched, and locks that agree with what was asked for."""

import importlib.util
import json
import re
import sys
import tomllib
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from helpers import ROOT

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
KINDS = ("cpu", "gpu", "dev", "vllm-cpu", "outside")
Version = namedtuple("Version", "major minor micro")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"envs/{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Setup:
    """environment.py with locks of its own, an environment without packages, and a pip that only notes what it was told."""

    def __init__(self, folder: Path) -> None:
        self.environment = module("environment")
        self.environment.HERE = folder
        self.environment.create = self.create
        self.environment.pip = self.pip
        self.folder = folder / ".venv"
        self.told: list[tuple[str, ...]] = []
        self.index = ["torch"]
        self.fails = ""
        for kind in KINDS:
            self.lock(kind, "torch==2.13.0\n")

    def lock(self, kind: str, text: str) -> None:
        (self.environment.HERE / f"{kind}.lock").write_text(text)

    def create(self, folder: Path) -> None:
        (folder / "bin").mkdir()
        (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
        (folder / "bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (folder / "bin/python").chmod(0o755)
        self.told.append(("venv",))

    def pip(self, folder: Path, *arguments: str) -> None:
        if "--report" in arguments:
            entries = [{"metadata": {"name": name}} for name in self.index]
            Path(arguments[arguments.index("--report") + 1]).write_text(json.dumps({"install": entries}))
        else:
            self.told.append(arguments)
        if self.fails and self.fails in arguments:
            raise self.environment.Told("pip could not install")

    def ensure(self, kind: str = "cpu", **options) -> list[tuple[str, ...]]:
        """What pip was told this time."""
        self.told.clear()
        self.environment.ensure(self.folder, kind, **options)
        return [words for words in self.told if words != ("install", "pip>=23.2")]


@pytest.fixture
def setup(tmp_path, monkeypatch) -> Setup:
    monkeypatch.setattr(sys, "version_info", Version(3, 11, 7))
    return Setup(tmp_path)


def of_lock(setup: Setup, kind: str) -> tuple[str, ...]:
    return "install", "--no-deps", "-r", str(setup.environment.HERE / f"{kind}.lock")


def test_an_environment_is_made_once_and_again_where_its_lock_changes(setup):
    assert setup.ensure() == [("venv",), ("install", "--no-deps", "torch==2.13.0"), of_lock(setup, "cpu")]
    assert setup.ensure() == []
    setup.lock("cpu", "torch==2.14.0\n")
    assert setup.ensure() == [("install", "--no-deps", "torch==2.14.0"), of_lock(setup, "cpu")]
    assert setup.ensure() == []


def test_the_environment_of_the_tests_and_that_for_gpus_serve_runs_on_a_cpu_too(setup):
    setup.ensure("dev")
    assert setup.ensure("cpu") == []
    assert setup.ensure("gpu") == [("install", "--no-deps", "torch==2.13.0"), of_lock(setup, "gpu")]
    assert setup.ensure("cpu") == []
    with pytest.raises(setup.environment.Told, match=r"holds the packages for GPUs.*VENV=\.venv-dev"):
        setup.ensure("dev")
    assert setup.ensure("gpu") == []


@pytest.mark.parametrize("kind", ["cpu", "dev", "vllm-cpu"])
def test_cuda_is_not_fetched_unasked(setup, monkeypatch, kind):
    setup.index = ["torch", "nvidia-cudnn-cu13", "triton"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(
        setup.environment.Told, match=r"5\.5 GB on disk.*no GPU.*TORCH_INDEX=URL.*TORCH_CUDA=yes"
    ) as told:
        setup.ensure(kind)
    assert "\n" not in str(told.value)
    assert setup.told == [("venv",), ("install", "pip>=23.2")]
    # Said so, or on a machine with a GPU: with what torch itself asks for.
    assert setup.ensure(kind, cuda=True) == [("venv",), ("install", "torch==2.13.0"), of_lock(setup, kind)]


@pytest.mark.parametrize(("answer", "taken"), [("y", True), ("", False), ("n", False)])
def test_at_a_terminal_cuda_is_asked_for(setup, monkeypatch, answer, taken):
    setup.index = ["torch", "cuda-toolkit"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: answer)
    if taken:
        assert ("install", "torch==2.13.0") in setup.ensure()
    else:
        with pytest.raises(setup.environment.Told, match="nothing was fetched"):
            setup.ensure()


def test_the_cpu_build_comes_from_the_index_that_is_named(setup):
    index = ("--extra-index-url", "https://index.example/cpu")
    told = setup.ensure(torch_index=index[1])
    assert told == [("venv",), ("install", "--no-deps", *index, "torch==2.13.0"), of_lock(setup, "cpu")]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_begun_and_not_finished_is_made_again(setup, capsys, kind):
    setup.fails = "-r"
    with pytest.raises(setup.environment.Told):
        setup.ensure(kind)
    setup.fails = ""
    assert setup.ensure(kind)[0] == ("venv",)
    assert "was not finished: made again" in capsys.readouterr().out
    assert setup.ensure(kind) == []


def test_an_upgrade_that_was_not_finished_is_made_again(setup):
    setup.ensure()
    setup.lock("cpu", "torch==2.14.0\n")
    setup.fails = "-r"
    with pytest.raises(setup.environment.Told):
        setup.ensure()
    setup.lock("cpu", "torch==2.13.0\n")  # back on the old branch: the environment may hold either
    setup.fails = ""
    assert setup.ensure()[0] == ("venv",)


def test_a_moved_folder_is_made_again(setup, tmp_path, capsys):
    setup.ensure()
    setup.folder.rename(tmp_path / ".venv-moved")
    setup.folder = tmp_path / ".venv-moved"
    assert setup.ensure()[0] == ("venv",)
    assert f"was made as {tmp_path}/.venv: made again" in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["no python", "python does not run", "no pip", "no record's text", "a cut record"])
def test_what_lost_its_python_or_its_record_is_made_again(setup, loss):
    setup.ensure()
    python, record = setup.folder / "bin/python", setup.folder / ".made.json"
    if loss == "no python":
        python.unlink()
        python.symlink_to("/nowhere/python3.11")
    elif loss == "python does not run":
        python.write_text("#!/nowhere/python\n")
    elif loss == "no pip":
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    else:
        record.write_text("" if loss == "no record's text" else record.read_text()[:20])
    assert setup.ensure()[0] == ("venv",)
    assert setup.ensure() == []


def test_what_a_killed_venv_leaves_is_made_again(setup):
    setup.folder.mkdir()
    (setup.folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (setup.folder / "lib/python3.11/site-packages/pip-23.2.1.dist-info").mkdir(parents=True)
    assert setup.ensure()[0] == ("venv",)


@pytest.mark.parametrize("theirs", ["notes.txt", "lib/python3.11/site-packages/numpy-2.4.6.dist-info/RECORD"])
@pytest.mark.parametrize("configured", [True, False])
def test_what_somebody_else_made_is_left_alone(setup, theirs, configured):
    path = setup.folder / theirs
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    if configured and "numpy" in theirs:
        (setup.folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    with pytest.raises(setup.environment.Told, match="was not made by make: remove it, or name another folder, VENV="):
        setup.ensure()
    assert path.read_text() == "mine"


def test_a_link_to_another_disk_stays(setup, tmp_path):
    (tmp_path / "scratch").mkdir()
    setup.folder.symlink_to(tmp_path / "scratch")
    setup.ensure()
    (setup.folder / ".made.json").write_text("{}")
    setup.ensure()
    assert setup.folder.is_symlink()
    assert (tmp_path / "scratch/.made.json").is_file()


def test_a_python_that_does_not_fit_says_what_is_missing(setup, monkeypatch):
    monkeypatch.setattr(setup.environment, "RUNNING", "3.14")
    monkeypatch.setattr(sys, "version_info", Version(3, 14, 0))
    with pytest.raises(
        setup.environment.Told, match=r"is Python 3\.14, the pinned packages need 3\.11, 3\.12 or 3\.13"
    ):
        setup.ensure()
    assert not setup.folder.exists()


def test_a_python_without_venv_says_which_package_has_it(setup, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    with pytest.raises(setup.environment.Told, match=r"without venv and ensurepip.*apt-get install python3\.11-venv"):
        setup.ensure()


def test_an_environment_that_is_whole_needs_no_python_but_its_own(setup, monkeypatch):
    setup.ensure()
    monkeypatch.setattr(sys, "version_info", Version(3, 14, 0))
    assert setup.ensure() == []
    with pytest.raises(setup.environment.Told):  # but one that the user names is looked at
        setup.ensure(asked=True)


def test_a_python_that_the_user_names_makes_the_environment_again(setup, monkeypatch, capsys):
    monkeypatch.setattr(setup.environment, "RUNNING", HERE)
    setup.ensure(asked=True)
    assert setup.ensure(asked=True) == []
    monkeypatch.setattr(setup.environment, "RUNNING", "3.10")
    assert setup.ensure() == []
    assert setup.ensure(asked=True)[0] == ("venv",)
    assert re.search(r"has Python 3\.\d+: made again", capsys.readouterr().out)


# Locks


def pins(name: str) -> dict[str, list[str]]:
    """Package -> its lines in a file of requirements, what the file includes with it."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "envs" / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            line = re.sub(r"\[.*?\]", "", line)  # extras
            found.setdefault(re.split("[=<> ]", line)[0].lower().replace("_", "-"), []).append(line)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_package_that_is_asked_for_stands_in_the_lock_as_it_was_pinned(kind):
    asked, locked = pins(f"{kind}.txt"), pins(f"{kind}.lock")
    assert {name: [line.lower() for line in lines] for name, lines in asked.items()} == {
        name: locked[name] for name in asked
    }


@pytest.mark.parametrize("kind", KINDS)
def test_locks_pin_all_and_name_no_host(kind):
    lines = [line for found in pins(f"{kind}.lock").values() for line in found]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+( ; .+)?", line) for line in lines)
    assert len(lines) > 2 * len(pins(f"{kind}.txt"))
    cuda = [line for line in lines if re.match(r"(nvidia-(?!ml-py)|cuda-|triton)", line)]
    assert bool(cuda) == (kind == "gpu")


def test_the_environment_of_the_tests_holds_that_of_runs():
    """At the same versions; a marker may be wider there."""
    cpu, dev = (
        {line.split(" ")[0] for lines in pins(name).values() for line in lines} for name in ("cpu.lock", "dev.lock")
    )
    assert cpu <= dev


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_conda_environments_pin_what_the_lock_pins(kind):
    text = (ROOT / f"envs/{kind}.yaml").read_text()
    assert text == module("lock").conda(kind)
    (pip,) = [entry["pip"] for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, dict)]
    assert set(pip) == {line for lines in pins(f"{kind}.lock").values() for line in lines}


def test_pythons_that_fit_are_those_that_the_project_names():
    environment = module("environment")
    (first, last) = re.findall(
        r"\d+", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )[1::2]
    assert ((3, int(first)), (3, int(last) - 1)) == (environment.FIRST, environment.LAST)


def test_a_version_stands_in_three_places():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    versions = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == version
