"""Reads a YAML file into the typed configuration, and refuses what it does not understand, with file and line.

Every ConfigError reads `file:line: what is wrong`, with a hint where a near name was probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from postane.config.model import Config
from postane.core.address import is_public_name
from postane.core.errors import ConfigError

_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")


class _Marked:
    """Plain values beside the line of each key: `lines["smtp.limits"]`."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {"": 1}


def load(path: Path) -> Config:
    """The configuration in `path`. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the file is not UTF-8"
        raise ConfigError(f"{path}: {reason}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """The configuration in `text`; `name` stands before the line number in errors."""
    marked = _Marked()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not YAML: {error.problem}") from error
    if node is None:
        raise ConfigError(f"{name}:1: the file is empty; at least `host:` is needed")
    value = _plain(node, "", marked, name)
    if not isinstance(value, dict):
        raise ConfigError(f"{name}:1: the file must be a mapping of keys")
    _refuse_unknown(value, Config, "", marked, name)
    try:
        config = msgspec.convert(value, Config)
    except msgspec.ValidationError as error:
        message = str(error)
        found = _PLACE.search(message)
        place = (found["path"] if found else "").lstrip(".")
        said = _PLACE.sub("", message)
        line = _line_of(place, marked)
        raise ConfigError(f"{name}:{line}: {place or 'the file'}: {_in_words(said)}") from error
    _check(config, marked, name)
    return config


def _plain(node: yaml.Node, place: str, marked: _Marked, name: str) -> Any:
    line = node.start_mark.line + 1
    marked.lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = f"{place}.{key}" if place else key
            if key in values:
                raise ConfigError(f"{name}:{key_node.start_mark.line + 1}: key {key!r} is given twice")
            marked.lines[inner] = key_node.start_mark.line + 1
            values[key] = _plain(value_node, inner, marked, name)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{place}[{number}]", marked, name) for number, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _refuse_unknown(value: Mapping[str, Any], section: type, place: str, marked: _Marked, name: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(section)}
    for key, inner in value.items():
        here = f"{place}.{key}" if place else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1, 0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(fields))}"
            raise ConfigError(f"{name}:{marked.lines[here]}: key {key!r} is not known; {hint}")
        kind = fields[key].type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(inner, dict):
            _refuse_unknown(inner, kind, here, marked, name)


def _line_of(place: str, marked: _Marked) -> int:
    while place and place not in marked.lines:
        place = re.sub(r"(\.[^.\[]*|\[[^\]]*\])$", "", place) if re.search(r"[.\[]", place) else ""
    return marked.lines.get(place, 1)


def _in_words(message: str) -> str:
    return message.replace("Object missing required field", "needs the key").replace("`", "'")


def _check(config: Config, marked: _Marked, name: str) -> None:
    """What no single field can tell."""

    def refuse(place: str, message: str) -> None:
        raise ConfigError(f"{name}:{_line_of(place, marked)}: {place}: {message}")

    if not is_public_name(config.host.lower()):
        refuse("host", f"{config.host!r} is not a full host name such as mail.example.org")
    if bool(config.tls.certificate) != bool(config.tls.key):
        refuse("tls", "certificate and key go together")
    if config.delivery.local == "maildir" and not config.delivery.maildir:
        refuse("delivery.local", "maildir needs delivery.maildir, the root of the mailboxes")
    for service in ("smtp", "submission", "submissions"):
        for address in getattr(config.smtp.listen, service):
            if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}", address):
                refuse(f"smtp.listen.{service}", f"{address!r} is not address:port")
    if config.spool.large_message * 2 > config.spool.segment_size:
        refuse("spool.large_message", "at most half of spool.segment_size")
    if config.queue.retry_most < config.queue.retry_first:
        refuse("queue.retry_most", "shorter than queue.retry_first")
