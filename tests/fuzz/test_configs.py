"""Hostile configs: each is accepted whole or refused in one line, and schema and model agree."""

import copy
import datetime
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz.guard import attempt, ends, repeatable
from fuzz.hostile import numbers, texts, values
from helpers import ROOT, demo_config
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from regime_w.config import files
from regime_w.config.plan import auto_shards, problems_of
from regime_w.config.recipes import recipes_of
from regime_w.config.schema import Config, load, schema
from regime_w.models.modules import LLAMA
from regime_w.runtime.errors import UserError

COUNTS = [pytest.param(200, id="smoke"), pytest.param(5_000, marks=pytest.mark.fuzz, id="full")]
SCHEMA = schema()
VALID = Draft202012Validator(SCHEMA)
DEFAULT = demo_config()
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]

# What YAML can hold beyond JSON, and what is near a bound or of another type.
strange = st.one_of(
    st.sampled_from((datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31), b"\xff", {1}, 1j, ..., float("nan"))),
    st.sampled_from((float("inf"), -float("inf"), 10**400, 10**5000, 2**63, -(2**63), 1e308, "x" * 5_000, "1e-4", "5", "")),
    st.sampled_from(({1: "a"}, {None: 1}, {(1, 2): 3}, {True: {}}, [[]], {}, [], "demo\n", "a; touch pwned", "../x", "/", "\0")),
    st.sampled_from(("$(touch pwned)", "/dev/null", "x/" * 3_000, "{run}", "{{question}}", "{question}", "auto", "null", "no")),
    st.integers(0, 1).map(lambda index: (RECURSIVE, DEEP)[index]),
)  # fmt: skip
replacements = st.one_of(strange, numbers, texts, values)
# JSON has no half characters.
whole = texts.map(lambda text: text.encode("utf-8", "replace").decode())


def of_schema(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a part of the schema accepts."""
    if "$ref" in part:
        return st.deferred(lambda: section(part["$ref"].rpartition("/")[2]))
    if either := part.get("anyOf") or part.get("oneOf"):
        return st.one_of(*map(of_schema, either))
    if "enum" in part:
        return st.sampled_from(part["enum"])
    if "const" in part:
        return st.just(part["const"])
    kind = part.get("type")
    if kind == "integer":
        above = part.get("exclusiveMaximum")
        return st.integers(part.get("minimum"), part.get("maximum") if above is None else above - 1)
    if kind == "number":
        low, high = part.get("exclusiveMinimum", part.get("minimum")), part.get("exclusiveMaximum", part.get("maximum"))
        bounds = {"exclude_min": "exclusiveMinimum" in part, "exclude_max": "exclusiveMaximum" in part}
        return st.floats(low, high, allow_nan=False, allow_infinity=False, **bounds)
    if kind == "string":
        least = part.get("minLength", 0)
        return (
            st.from_regex(part["pattern"], fullmatch=True)
            if "pattern" in part
            else whole.filter(lambda text: len(text) >= least)
        )
    if kind == "array" and "prefixItems" in part:
        return st.tuples(*map(of_schema, part["prefixItems"])).map(list)
    if kind == "array":
        return st.lists(of_schema(part["items"]), min_size=part.get("minItems", 0), max_size=3)
    if kind == "object":
        if named := part.get("patternProperties"):
            ((pattern, own),) = named.items()
            names = st.from_regex(pattern, fullmatch=True)
            return st.dictionaries(names, of_schema(own), min_size=part.get("minProperties", 0), max_size=2)
        more = part.get("additionalProperties")
        return st.dictionaries(whole, of_schema(more) if isinstance(more, dict) else whole, max_size=3)
    return {"boolean": st.booleans(), "null": st.none()}[kind]


CACHE: dict[str, st.SearchStrategy[Any]] = {}


def section(name: str) -> st.SearchStrategy[Any]:
    """A section with some of its keys, each as the schema has it."""
    if name not in CACHE:
        part = SCHEMA["$defs"][name] if name else SCHEMA
        fields = {key: of_schema(own) for key, own in part["properties"].items()}
        needed = {key: fields.pop(key) for key in part.get("required", ())}
        CACHE[name] = st.fixed_dictionaries(needed, optional=fields)
    return CACHE[name]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values below a config."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    return found + [place for key, item in pairs for place in places(item, (*path, key))]


PLACES = places(DEFAULT)
edits = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(("set", "set", "set", "drop", "add")), replacements, texts),
    min_size=1,
    max_size=3,
)


def edited(changes: list[tuple[tuple[Any, ...], str, Any, str]]) -> dict[str, Any]:
    """The default config with values replaced, keys dropped and unknown ones added; edits that no longer fit fall away."""
    raw = copy.deepcopy(DEFAULT)
    for path, kind, value, key in changes:
        at = raw
        try:
            for step in path[:-1]:
                at = at[step]
            if kind == "set":
                at[path[-1]] = value
            elif kind == "drop":
                del at[path[-1]]
            else:
                at[path[-1]][key] = value
        except (KeyError, IndexError, TypeError):
            continue
    return raw


def holds(raw: dict[str, Any]) -> bool:
    """Load a config, and hold an accepted one to what the rules do with it. Returns whether it was accepted."""
    with ends(raw):
        config, message = attempt(lambda: load(raw))
        if config is None:
            assert message.startswith("config: "), message
            return False
        text = json.dumps(config, allow_nan=False)
        assert load(config) == config
        VALID.validate(json.loads(text))
        attempt(lambda: recipes_of(config))
        for gpus in (0, 8):
            for problem in problems_of(config, gpus, LLAMA):
                attempt(partial(tell, problem))
            assert 1 <= len(auto_shards(config, gpus)) <= 10_000
    return True


def tell(problem: str) -> None:
    raise UserError(problem)


def objections(raw: dict[str, Any]) -> dict[str, Any]:
    """The types of pydantic's objections to a config."""
    try:
        Config.model_validate_json(json.dumps(raw), strict=False)
    except ValidationError as error:
        return {item["type"]: item for item in error.errors()}
    return {}


def accepted(count: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], bool]) -> float:
    """Run the check on `count` examples; the share that it was true for."""
    seen = passed = 0

    @repeatable(count)
    @given(strategy)
    def run(raw: Any) -> None:
        nonlocal seen, passed
        seen += 1
        passed += check(raw)

    run()
    assert seen >= count
    return passed / seen


@pytest.mark.parametrize("count", COUNTS)
def test_edits_of_the_default(count: int) -> None:
    share = accepted(count, edits, lambda changes: holds(edited(changes)))
    assert 0.02 < share < 0.9


@pytest.mark.parametrize(
    "value", ["\0", "x" * 5_000, "x/" * 3_000, "/etc/shadow/x", "\ud800", "\n", "~root", "/proc/self/mem"]
)
@pytest.mark.parametrize("key", ["questions.train.path", "base_model.path", "sft.adapter"])
def test_paths_that_no_file_system_takes(key: str, value: str) -> None:
    *sections, last = key.split(".")
    holds(edited([((*sections, last), "set", value, "")]))


inside = st.dictionaries(st.one_of(st.sampled_from(sorted(DEFAULT["dpo"])), texts), replacements, max_size=2)
overlays = st.dictionaries(
    st.one_of(st.sampled_from(sorted(DEFAULT)), st.just("dpo"), texts), st.one_of(inside, replacements), max_size=2
)


@pytest.mark.parametrize("count", COUNTS)
def test_overlays_of_studies_and_benchmarks(count: int) -> None:
    """What only a recipe, or a machine without GPU, lays over the config is held to the same."""

    def check(overlay: dict[str, Any]) -> bool:
        study = {"recipes": {"own": {}, "other": overlay}, "baselines": ["own"], "reference": "own"}
        raw = copy.deepcopy(DEFAULT) | {"study": study}
        if holds(raw):
            with ends(overlay):
                recipes, _ = attempt(lambda: recipes_of(load(raw)))
            return recipes is not None
        return False

    assert accepted(count // 5, overlays, check) > 0


@pytest.mark.parametrize("count", COUNTS)
def test_what_the_schema_accepts_the_model_accepts(count: int) -> None:
    """But for rules that tie keys to each other, which a schema cannot say: those are refused with their sentence."""

    def check(raw: dict[str, Any]) -> bool:
        VALID.validate(raw)
        assert set(refused := objections(raw)) <= {"value_error"}, refused
        # Styles and arms are names that must meet: here they do, so that many are accepted whole.
        tied = copy.deepcopy(raw)
        arms = tied.get("arms", [])
        tied["styles"] = {arm["style"]: "x" for arm in arms if arm["style"] != "plain"} | {
            "wolfram": "x",
            "maudlin": "x",
        }
        for number, arm in enumerate(arms):
            arm["name"] = f"arm{number}"
        for name in (
            *("sft", "start", "coherence", "dpo", "rejection_sampling", "prompt", "benchmark"),
            *("outside_check", "tracking", "publish", "labels"),
        ):
            tied.pop(name, None)
        asked, sets = tied["questions"], tied["questions"]["eval"]
        sets.pop("heldout", None)
        for number, source in enumerate(
            sources := asked["train"] if isinstance(asked["train"], list) else [asked["train"]]
        ):
            source |= {"name": f"part{number}"} if len(sources) > 1 else {}
        for source in (*sources, *sets.values()):
            source |= {"path": "x", "hub_id": "x", "n": 1, "split": "train", "form": "number"}
            for key in ("task", "prompt", "evaluate"):  # overlays, which are sections with their own ties
                source.pop(key, None)
        sets.setdefault("one", {"source": "hub", "hub_id": "x"})
        tied["base_model"] |= {"path": "x", "hub_id": "x"}
        tied["base_model"].pop("tiny", None)
        engine = tied.setdefault("engine", {})
        engine.get("vllm", {}).pop("tensor_parallel_size", None)
        engine["openai"] = {"base_url": "http://x/v1"}
        tied.pop("study", None)
        tied["rounds"] = max(2, tied.get("rounds", 2))
        tied["reward"] = {"beta": 0.0, "lambda_length": 0.0}
        tied["generate"] = tied["evaluate"] = {"max_new_tokens": 32}
        assert holds(tied), tied
        return holds(raw)

    accepted(count // 2, section(""), check)  # each makes two configs


# The text of config files

WRITTEN = [path.read_text() for path in (ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml")))]
WHOLE = yaml.safe_dump(DEFAULT, sort_keys=False)
NESTED = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 10)}]\n" for n in range(9))
PIECES = (
    *("&a ", "*a", "<<: *a", "<<: [*a, *a]", "&a [*a]", "&a {b: *a}", NESTED, "!!set {a, b}", "!!binary aGk="),
    *("!!python/name:os.system ", "!!float ", "!x ", "? ", "- ", ": ", ":", "{", "}", "[", "]", ", ", "|\n  ", ">-\n"),
    *("---\n", "...\n", "%YAML 1.1\n", "\t", "\r", "\n", "\n\n", "  ", '"', "'", "#", "@", "`", "\0", "\x07", "\x85"),
    *("\u2028", "\ufeff", "\U0001f600", "~", "null", "yes", "=", "1:1:1", "1:" * 5000, "0x1f", "017", "0b1", "1_000"),
    *(".nan", "-.inf", "1e400", "1e-4", "9" * 5000, "2026-01-31", "2026-02-31 25:61:61", "x" * 5000, "[" * 2000),
    *("- " * 2000, "extends: config.yaml\n", "extends: [configs/demo.yaml]\n", "extends: .\n", "run: x\n", "dpo:\n"),
    *("dpo: {beta: 1}\n", "- {name: a}\n"),
)  # fmt: skip
changes_of_text = st.lists(
    st.tuples(
        st.sampled_from(("insert", "insert", "cut", "twice", "indent", "remark", "remark")),
        st.integers(0, 10**6),
        st.integers(1, 60),
        st.one_of(st.sampled_from(PIECES), texts),
    ),
    min_size=1,
    max_size=3,
)
texts_of_yaml = st.one_of(
    st.tuples(st.sampled_from([*WRITTEN, WHOLE, WHOLE]), changes_of_text),
    st.tuples(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), changes_of_text),
)


def changed_text(text: str, changes: list[tuple[str, int, int, str]]) -> str:
    for kind, place, length, piece in changes:
        lines = text.splitlines(True) or [""]
        at, line = place % (len(text) + 1), place % len(lines)
        if kind == "insert":
            text = text[:at] + piece + text[at:]
        elif kind == "cut":
            text = text[:at] + text[at + length :]
        elif kind == "remark":
            remark = "".join(letter for letter in piece if letter.isprintable())
            text = "".join([*lines[:line], f"# {remark}\n", *lines[line:]])
        elif kind == "twice":
            text = "".join(lines[: line + length] + lines[line:])
        else:
            text = "".join([*lines[:line], " " * (length % 5) + lines[line], *lines[line + 1 :]])
    return text


@pytest.mark.parametrize(
    "count", [pytest.param(200, id="smoke"), pytest.param(2_000, marks=pytest.mark.fuzz, id="full")]
)
def test_texts_of_config_files(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is accepted whole or refused in lines, at most as many values built as a config may have."""
    built = 0
    value = files._Reader.value

    def counted(*arguments: Any) -> Any:
        nonlocal built
        built += 1
        return value(*arguments)

    monkeypatch.setattr(files._Reader, "value", counted)
    path = tmp_path / "hostile.yaml"

    def check(item: tuple[str, list[tuple[str, int, int, str]]]) -> bool:
        nonlocal built
        built = 0
        path.write_text(changed_text(*item), encoding="utf-8", errors="surrogatepass", newline="")
        try:
            _, config = files.configured(files.layers_of([path]), gpus=1)
        except UserError as error:
            for line in error.lines:
                assert line.isprintable(), line
                assert 0 < len(line) < 2_100, line
            config = None
        assert built <= 5 * (files.MOST_VALUES + 1)  # of the file, and of what it extends
        return config is not None and holds(config)

    assert 0.02 < accepted(count, texts_of_yaml, check) < 0.9
