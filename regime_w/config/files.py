"""A run's config files: read strictly, laid over each other, and which of them says what.

    layers = layers_of([Path("configs/abel.yaml")], {"seed": 1})   # what it extends first, the command line last
    layers, config = configured(layers, gpus=8)                    # checked, with all defaults
    origins(layers)[("base_model", "hub_id")]                      # "configs/abel.yaml"

A file may name others that it is laid over, `extends: configs/gsm8k.yaml` or a list of them, by paths from its own folder
or from this repository. Mappings are merged key by key, all else is replaced as a whole. A file counts once, where it is
named first. config.yaml is the run where no file is named.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from regime_w.config.schema import load
from regime_w.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT = "config.yaml"
COMMAND_LINE = "--config"
EXTENDS = "extends"
MOST_BYTES = 500_000
# Values of a file, those behind an alias counted wherever it stands: a few nested anchors make billions.
MOST_VALUES = 50_000
MOST_DEPTH = 40
# Characters of a number or a date: YAML 1.1 reads 1:1:1:... as one to the base of 60, in time that grows with its square.
MOST_DIGITS = 100
TOO_MANY = f"more than {MOST_VALUES:,} values, an anchor's counted wherever it stands, are no config's"
TOO_DEEP = "nested too deep for a config, or an anchor inside itself"
# libyaml's, which reads thousands of lines ten times faster, where PyYAML was built with it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"
MAPPING, SEQUENCE, TEXT = (f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str"))

Values = dict[str, Any]


class Layer(NamedTuple):
    """Values of one file, or of the command line, which has no path."""

    name: str
    path: Path | None
    values: Values
    named: str = ""  # the file that was asked for, which this is or which extends it


def layers_of(
    files: Sequence[Path], values: Mapping[str, Any] | None = None, name: str = COMMAND_LINE, default: bool = True
) -> list[Layer]:
    """The layers of a run, the lowest first: `files` with what they extend, then `values`, which are called `name`.

    Without files the `default` run's, config.yaml of the working directory or else of this repository. UserError for a
    file that is no config, that extends what is not there, or itself.
    """
    own = [Path(DEFAULT) if Path(DEFAULT).is_file() else ROOT / DEFAULT] if default and not files else list(files)
    found: dict[Path, Layer] = {}
    for path in own:
        _lay(path, [], found, name_of(path))
    # Through YAML's own types: Snakemake hands over mappings that cannot be changed.
    given = _plain(dict(values or {}))
    for path in _extended(given.pop(EXTENDS, None), Path(), name):
        _lay(path, [], found, name_of(path))
    return [*found.values(), Layer(name, None, given)] if given else list(found.values())


def configured(layers: Sequence[Layer], gpus: int) -> tuple[list[Layer], Values]:
    """The checked configuration of these layers, and the layers; the benchmark has one more on a machine without GPU."""
    layers = list(layers)
    config = load(merged(layers), origins(layers))
    if config["benchmark"] and not gpus:
        layers.append(Layer("benchmark.without_gpu", None, config["benchmark"]["without_gpu"]))
        config = load(merged(layers), origins(layers))
    return layers, config


def merged(layers: Sequence[Layer]) -> Values:
    """What the layers say together."""
    whole: Values = {}
    for layer in layers:
        whole = laid_over(whole, layer.values)
    return whole


def laid_over(below: Any, above: Mapping[str, Any]) -> Values:
    """A copy of a mapping with another laid over it, nested mappings key by key, lists as a whole."""
    whole = dict(below) if isinstance(below, Mapping) else {}
    for key, value in above.items():
        whole[key] = laid_over(whole.get(key), value) if isinstance(value, Mapping) else value
    return whole


def origins(layers: Sequence[Layer]) -> dict[tuple[str, ...], str]:
    """The name of the layer that each value comes from, by its path; a list is one value, an empty mapping none."""

    def named(values: Mapping[str, Any], name: str) -> Values:
        return {
            key: named(value, name) if isinstance(value, Mapping) and value else name for key, value in values.items()
        }

    whole: Values = {}
    for layer in layers:
        whole = laid_over(whole, named(layer.values, layer.name))
    return {path: name for path, name in leaves(whole) if isinstance(name, str)}


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of all that is no mapping, and of empty mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def read(path: Path) -> Values:
    """The mapping that a YAML or JSON file holds, keys as they are written.

    UserError with the line where it is no such file, names a key twice, or holds more than a config does.
    """
    where = name_of(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"{where}: {path.stat().st_size / 1e6:.1f} MB, a config has {MOST_BYTES / 1e6:g} MB at most; put corrections"
                " into a file of their own (questions.train.corrections: FILE)"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}; name a config file that can be read") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: not UTF-8; save the file as UTF-8") from None
    values = _json(text, where) if text.lstrip().startswith("{") else None
    if values is None:
        values = _yaml(text, where)
    if not isinstance(values, dict):
        raise UserError(f"{where}: keys with values were expected, found {_kind(values)}; see config.yaml")
    return values


def name_of(path: Path) -> str:
    """A file as a user would name it: from the working directory, or from this repository, where it lies below one."""
    absolute = Path(os.path.normpath(path.absolute()))
    for folder in (Path.cwd(), ROOT):
        if absolute.is_relative_to(folder):
            return str(absolute.relative_to(folder))
    return str(absolute)


def _lay(path: Path, chain: list[Path], found: dict[Path, Layer], named: str) -> None:
    """Add a file's layer behind those of what it extends; `chain` is the way that led to it, from the file `named`."""
    own = path.resolve()
    if own in chain:
        way = " -> ".join(name_of(each) for each in [*chain[chain.index(own) :], own])
        raise UserError(f"{name_of(own)} extends itself: {way}; take one of them out")
    if own in found:
        return
    values = read(path)
    for other in _extended(values.pop(EXTENDS, None), path.absolute().parent, name_of(path)):
        _lay(other, [*chain, own], found, named)
    found[own] = Layer(name_of(path), path.absolute(), values, named)


def _extended(names: Any, folder: Path, where: str) -> list[Path]:
    """Paths of the files that `names`, a text or a list of texts, means in a config of this folder."""
    names = [] if names is None else names if isinstance(names, list) else [names]
    paths = []
    for each in names:
        if not isinstance(each, str) or not each or "\0" in each:
            raise UserError(f"{where}: extends names config files, found {each!r:.60}; write a path or a list of paths")
        there = [path for path in (folder / each, ROOT / each) if _is_file(path)]
        if not there:
            raise UserError(f"{where}: extends {each:.200}, which is neither in {folder.absolute()} nor in {ROOT}")
        paths.append(there[0])
    return paths


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False


def _plain(value: Any, depth: int = 0) -> Any:
    """The same of plain mappings and lists; what nests too deep is left for the schema to refuse."""
    if isinstance(value, Mapping) and depth < MOST_DEPTH:
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    return value


def _json(text: str, where: str) -> Any:
    """The values of a JSON file; None where it is none, though YAML may begin with a brace too."""

    def unique(pairs: list[tuple[str, Any]]) -> Values:
        whole = dict(pairs)
        if len(whole) < len(pairs):
            twice = next(key for key, number in Counter(key for key, _ in pairs).items() if number > 1)
            raise UserError(f"{where}: the key {twice!r:.60} stands there twice; remove one")
        return whole

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise UserError(f"{where}: {TOO_DEEP}") from None
    except ValueError:
        return None


def _yaml(text: str, where: str) -> Any:
    try:
        # Without recursion, so that no depth hurts; and before anything is built.
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH or number > 2 * MOST_VALUES:  # keys are events too
                line = getattr(event.start_mark, "line", 0) + 1
                raise UserError(f"{where}, line {line}: {TOO_DEEP if depth > MOST_DEPTH else TOO_MANY}")
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Reader(loader, where).value(node, 0)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark or error.context_mark, "line", None)
        place = where if line is None else f"{where}, line {line + 1}"
        raise UserError(f"{place}: not YAML ({error.problem or error.context}); mend the line") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not YAML ({error}); mend the file") from None


class _Reader:
    """Plain values of YAML's nodes, each key once."""

    def __init__(self, loader: Any, where: str) -> None:
        self.loader, self.where, self.values = loader, where, 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self.error(node, TOO_MANY)
        if depth > MOST_DEPTH:
            raise self.error(node, TOO_DEEP)
        if isinstance(node, yaml.ScalarNode):
            if node.tag != TEXT and len(node.value) > MOST_DIGITS:
                raise self.error(
                    node, f"{node.value!r:.60} is no number that can be read; write it plainly, or quote it"
                )
            try:
                return self.loader.construct_object(node)
            except yaml.YAMLError:
                raise self.error(node, f"{node.value!r:.60} cannot be read as {node.tag}; write it plainly") from None
            except (ValueError, OverflowError, LookupError, AttributeError, TypeError):  # PyYAML checks no tag
                raise self.error(node, f"{node.value!r:.60} is no number that can be read; write it plainly") from None
        if node.tag not in (MAPPING, SEQUENCE):
            raise self.error(node, f"{node.tag} is nothing that a config holds; write a plain mapping or list")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth + 1) for each in node.value]
        return self.mapping(node, depth)

    def mapping(self, node: yaml.Node, depth: int) -> Values:
        """Keys are texts as they are written: `no`, 017 and 2026-01-31 are not what YAML would make of them."""
        lines: dict[str, int] = {}
        below: Values = {}
        own: Values = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, "a key is a list or a mapping; write a text")
            line = key.start_mark.line + 1
            if key.value in lines:
                raise self.error(
                    key, f"the key {key.value!r:.60} stands in line {lines[key.value]} already; remove one"
                )
            lines[key.value] = line
            if key.tag != MERGE:
                own[key.value] = self.value(value, depth + 1)
                continue
            for each in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                if not isinstance(each, yaml.MappingNode):
                    raise self.error(key, "<< takes a mapping in; write the keys")
                below |= self.value(each, depth + 1)
        return below | own

    def error(self, node: yaml.Node, what: str) -> UserError:
        return UserError(f"{self.where}, line {node.start_mark.line + 1}: {what}")


def _kind(value: Any) -> str:
    return "nothing" if value is None else "a list" if isinstance(value, list) else f"{value!r:.60}"
