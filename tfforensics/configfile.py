"""YAML files and command lines <-> Config.

One YAML file an experiment. A variant names its base and only what differs:

    base: demo.yaml
    model:
      backbone: lite1

Any key can also be set on the command line, `--model.backbone lite1`. Unknown keys, wrong
types and impossible values are one-line errors that list what is allowed.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tfforensics.command import UsageError
from tfforensics.config import Config

CONFIGS = Path(__file__).parents[1] / "configs"
DEFAULT = CONFIGS / "demo.yaml"


def read(path: Path) -> dict[str, Any]:
    """Reads a YAML file and the bases it stands on into one nested dict.

    Raises:
        UsageError: no such file, not YAML, an unknown key, or bases that go round in a circle.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise UsageError(f"{path}: `base` goes round in a circle")
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _OnceAKey) or {}
    except OSError as error:
        raise UsageError(f"--config: cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: expected sections with keys, got {type(settings).__name__}")
    base = settings.pop("base", None)
    _refuse_unknown(settings, Config, str(path))
    if base is None:
        return settings
    if not isinstance(base, str):
        raise UsageError(f"{path}: base: expected a file name, got {base!r}")
    return _merged(_read(path.parent / base, (*above, path.resolve())), settings)


class _OnceAKey(yaml.SafeLoader):
    """YAML's plain values; a key that is there twice is an error, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} is there twice")
        return super().construct_mapping(node, deep)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, section by section; a value, a list or a mapping is replaced whole."""
    sections = {name for name, value in base.items() if isinstance(value, dict)}
    return base | {
        key: base[key] | value if key in sections and isinstance(value, dict) else value
        for key, value in changes.items()
    }


def _refuse_unknown(settings: dict[str, Any], section: type, where: str) -> None:
    hints = typing.get_type_hints(section)
    for key, value in settings.items():
        if key not in hints:
            raise UsageError(f"{where}: unknown key {key!r}; allowed: {', '.join(hints)}")
        inner = _section(section, key)
        if inner is not None:
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {key}: expected keys and values, got {value!r}")
            _refuse_unknown(value, inner, f"{where}: {key}")
        # jsonargparse takes a null for "not given" and passes it on whatever the type.
        elif value is None and type(None) not in typing.get_args(hints[key]):
            raise UsageError(f"{where}: {key}: expected a value, got null")


def _section(section: type, key: str) -> type | None:
    """The dataclass that a key of `section` holds, or None for a plain value."""
    hint = typing.get_type_hints(section)[key]
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def parse(
    arguments: Sequence[str], parser: Any, settings: dict[str, Any] | None = None
) -> tuple[Config, Any]:
    """Reads `--section.key value` arguments over the settings of a file.

    Args:
        arguments: command-line arguments without the program's name.
        parser: from `argument_parser`, to which the caller may have added its own options.
        settings: of `read`; None for the defaults.

    Returns:
        The configuration and the namespace that holds the caller's own options.

    Raises:
        UsageError: one line that names the key, what was expected and what came.
    """
    import jsonargparse

    known = [f"--{name}" for name in _keys(Config)]
    sections = [f.name for f in dataclasses.fields(Config)]
    for argument in arguments:
        name = argument.partition("=")[0]
        section, dot, _ = name.removeprefix("--").partition(".")
        if name.startswith("--") and name not in known and (dot or section in sections):
            allowed = [k for k in known if k.startswith(f"--{section}.")] or [
                f"--{name}.KEY" for name in sections
            ]
            raise UsageError(f"unknown option {name}; allowed: {', '.join(allowed)}")
    try:
        parsed = parser.parse_args(list(arguments), namespace=parser.parse_object(settings or {}))
        built = parser.instantiate(parsed)
    except (argparse.ArgumentError, jsonargparse.ArgumentError) as error:
        raise UsageError(_one_line(str(error))) from error
    return Config(**{f.name: built[f.name] for f in dataclasses.fields(Config)}), built


def argument_parser(**options: Any) -> Any:
    """A parser that has every key of Config as an option."""
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False, **options)
    parser.add_class_arguments(Config, nested_key=None)
    return parser


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain values: what `config.yaml` of a run holds."""
    return _plain(dataclasses.asdict(config))


def from_dict(settings: dict[str, Any], where: str = "config.yaml") -> Config:
    """The configuration that `to_dict` wrote.

    Raises:
        UsageError: an unknown key, a wrong type or an impossible value.
    """
    _refuse_unknown(settings, Config, where)
    return parse([], argument_parser(), settings)[0]


def differences(old: Config, new: Config) -> list[str]:
    """The keys in which two configurations differ, "section.key: old -> new"."""
    before, after = flat(to_dict(old)), flat(to_dict(new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _keys(section: type, prefix: str = "") -> list[str]:
    keys = []
    for f in dataclasses.fields(section):
        inner = _section(section, f.name)
        keys += [prefix + f.name] if inner is None else _keys(inner, f"{prefix}{f.name}.")
    return keys


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key: {"data.batch": 16, ...}."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, dict)
        leaves |= flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return leaves


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _one_line(message: str) -> str:
    """jsonargparse's message as "key: expected ..., got ...", in YAML's words."""
    message = " ".join(message.split())
    union = re.match(
        r'Parser key "([^"]+)": .*? Subtypes: \[(.*)\] Errors: .*? Given value: (.*)$', message
    )
    if union:
        options = union[2].replace(", <class 'NoneType'>", " or null")
        message = f"{union[1]}: expected {options}, got {union[3]}"
    message = re.sub(r'^Parser key "([^"]+)": Expected an? ', r"\1: expected ", message)
    message = message.replace("tuple[", "[").replace("'tuple'", "'list'").replace("tuple ", "list ")
    message = re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.Literal", "one of ")
    return message.replace(". Got value:", ", got")
