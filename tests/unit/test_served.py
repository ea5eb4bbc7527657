"""Completions of a served model: against a stand-in of a server on the loopback, which fails as servers do."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, save_random_model
from served_model import EOS, Stand

from regime_w.models.manifests import write_manifest
from regime_w.runtime.errors import UserError
from regime_w.sampling.engines.interface import CannotSwitch, Request

pytest.importorskip("openai")

from regime_w.sampling.engines.openai import open_served

KEY = "sk-not-in-any-file"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with Stand() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_random_model(tmp_path_factory.mktemp("served") / "model")
    write_manifest(folder, {"source": "hub", "hub_id": "someone/a-model"})
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits half a second before it asks again, and longer each time."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)


def params(stand: Stand, **changed: Any) -> dict[str, Any]:
    own = {"base_url": stand.url, "serve": None, "concurrency": 8, "timeout": 20.0, "retries": 3, "start_timeout": 60}
    return own | changed


def requests(count: int = 40) -> list[Request]:
    return [Request(f"key{n}", (1, 5, n + 5), 0.5, 0.9, 16, 1000 + n, ("Question",), (3,)) for n in range(count)]


def test_every_request_has_its_own_seed_and_the_ids_come_back(stand: Stand, model: Path) -> None:
    stand.models = [{"id": "policy", "root": str(model)}]
    with open_served(model, params(stand)) as engine:
        engine.load(64)
        made = {completion.key: completion for completion in engine.generate(requests())}
    assert sorted(made) == sorted(request.key for request in requests())
    assert all(made[r.key].token_ids == (5 + r.seed % 7, 6, 7, EOS) for r in requests())
    assert {(c.finish_reason, c.num_tokens) for c in made.values()} == {("stop", 4)}
    assert Counter(body["seed"] for body in stand.asked) == Counter(request.seed for request in requests())
    (body,) = [body for body in stand.asked if body["seed"] == 1003]
    wanted = {"model": "policy", "prompt": [1, 5, 8], "temperature": 0.5, "top_p": 0.9, "max_tokens": 16}
    wanted |= {"stop": ["Question"], "stop_token_ids": [3], "return_token_ids": True, "skip_special_tokens": False}
    # What the model's generation_config.json says must not come in.
    wanted |= {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    assert wanted.items() <= body.items()
    assert 1 < stand.most <= 8


def test_a_server_that_is_busy_fails_or_hangs_up_is_asked_again(stand: Stand, model: Path) -> None:
    stand.models = [{"id": str(model)}]
    stand.faults = {1000: [429, 503], 1001: [500], 1002: [0, 0]}
    with open_served(model, params(stand)) as engine:
        engine.load(64)
        assert len(list(engine.generate(requests(5)))) == 5
    assert Counter(body["seed"] for body in stand.asked) == {1000: 3, 1001: 2, 1002: 3, 1003: 1, 1004: 1}


def test_what_fails_for_good_is_one_line_and_what_came_is_kept(stand: Stand, model: Path) -> None:
    stand.models = [{"id": str(model)}]
    stand.faults = {1004: [400], 1003: [503] * 9}
    for seed, said in ((1004, "status 400"), (1003, "status 503")):
        with open_served(model, params(stand)) as engine:
            engine.load(64)
            with pytest.raises(UserError, match=f"{said}.*run again"):
                list(engine.generate([request for request in requests(5) if request.seed == seed]))


def test_a_server_without_token_ids_is_refused(stand: Stand, model: Path) -> None:
    stand.models, stand.returns_ids = [{"id": str(model)}], False
    with open_served(model, params(stand)) as engine:
        engine.load(64)
        with pytest.raises(UserError, match="returns no token ids"):
            list(engine.generate(requests(1)))


def test_a_server_of_another_model_is_refused_before_anything_is_asked(
    stand: Stand, model: Path, tmp_path: Path
) -> None:
    stand.models = [{"id": "mine", "root": "/somewhere/else"}]
    with (
        open_served(model, params(stand)) as engine,
        pytest.raises(UserError, match="serves /somewhere/else, and this"),
    ):
        engine.load(64)
    stand.models = [{"id": "someone/a-model"}]
    with open_served(model, params(stand)) as engine:
        engine.load(64)  # the base by its hub id
        with pytest.raises(CannotSwitch):
            engine.switch(tmp_path)
    assert not stand.asked


def test_no_server_is_one_line(stand: Stand, model: Path) -> None:
    nobody = params(stand, base_url="http://127.0.0.1:9/v1")
    with open_served(model, nobody) as engine, pytest.raises(UserError, match=r"127\.0\.0\.1:9.*is a server there"):
        engine.load(64)


def test_the_key_comes_from_the_environment(stand: Stand, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    stand.models = [{"id": str(model)}]
    with open_served(model, params(stand)) as engine:
        engine.load(64)
    assert stand.keys == {f"Bearer {KEY}"}


def test_a_server_of_its_own_for_each_model(model: Path, tmp_path: Path) -> None:
    other = save_random_model(tmp_path / "other")
    code = ROOT / "tests/served_model.py"
    own = {"concurrency": 2, "timeout": 20.0, "retries": 0, "start_timeout": 60, "base_url": None}
    with open_served(model, own | {"serve": f"{sys.executable} {code} {{model}} {{port}}"}) as engine:
        engine.load(64)
        first = engine.server
        assert len(list(engine.generate(requests(3)))) == 3
        engine.switch(other)
        assert first is not None
        assert first.poll() is not None
        assert len(list(engine.generate(requests(3)))) == 3
        second = engine.server
    assert second is not None
    assert second.poll() is not None
    with open_served(model, own | {"serve": f"{sys.executable} -c pass {{model}} {{port}}"}) as engine:  # noqa: SIM117
        with pytest.raises(UserError, match="the server ended with status 0"):
            engine.load(64)
