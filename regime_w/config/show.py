"""Print the whole configuration that a run would have, as YAML, and where each value comes from.

    python -m regime_w.config.show                                     # config.yaml
    python -m regime_w.config.show configs/abel.yaml --config seed=1 'dpo={beta: 0.2}'

Files and values are read as Snakemake's --configfile and --config; what is wrong is told, a line each, with status 2.
"""

import argparse
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from regime_w.config.files import configured, layers_of, origins
from regime_w.runtime.errors import UserError, run
from regime_w.runtime.gpu import visible_gpus

COLUMN = 60  # in which the comments begin, where a line is no longer
DEFAULT = "default"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="config files, laid over each other")
    parser.add_argument("--config", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="laid over them")
    args = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    layers, config = configured(layers_of(args.files, _values(args.config)), len(visible_gpus()))
    print(f"# {', '.join(layer.name for layer in layers)}")
    print("\n".join(lines(config, origins(layers))))


def lines(config: Mapping[str, Any], sources: Mapping[tuple[str, ...], str]) -> list[str]:
    """YAML lines of a configuration, each value with the source of its path."""
    return list(_lines(config, sources, ()))


def _lines(values: Mapping[str, Any], sources: Mapping[tuple[str, ...], str], above: tuple[str, ...]) -> Iterator[str]:
    for key, value in values.items():
        path, name = (*above, key), "  " * len(above) + _flow(key)
        if isinstance(value, Mapping) and value:
            yield f"{name}:"
            yield from _lines(value, sources, path)
            continue
        source = next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), DEFAULT)
        if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            yield f"{name + ':':{COLUMN}}  # {source}"
            yield from (f"{'  ' * len(path)}- {_flow(each)}" for each in value)
        else:
            yield f"{f'{name}: {_flow(value)}':{COLUMN}}  # {source}"


class _OneLine(yaml.SafeDumper):
    """Texts of several lines in one, with escapes."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_OneLine.add_representer(str, _text)


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.dump(
        value, Dumper=_OneLine, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _values(entries: list[str]) -> dict[str, Any]:
    from snakemake.cli import parse_config  # takes a second

    try:
        return dict(parse_config(entries))
    except ValueError as error:
        raise UserError(f"--config: {error}") from None


if __name__ == "__main__":
    run(main)
