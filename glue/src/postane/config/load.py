"""Reads a YAML file into the typed configuration, and refuses what it does not understand, with file and line.

Every ConfigError reads `file:line: what is wrong`, with a hint where a near name was probably meant.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import yaml

from postane.config.model import Config
from postane.core.address import is_public_name
from postane.core.errors import ConfigError

_HINTS: dict[type[Exception], str] = {
    FileNotFoundError: "--config FILE or $POSTANE_CONFIG names another; `postane config reference` explains the keys",
    PermissionError: "run it as root",
}
_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")


class WrongValueError(Exception):
    """A check from another floor refuses a value; `place` is its key, as in "filters.use"."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


Check = Callable[[Config], None]


class _Marked:
    """Plain values beside the line of each key: `lines["smtp.limits"]`."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {"": 1}


def load(path: Path, *checks: Check) -> Config:
    """The configuration in `path`, which each of `checks` may refuse by a WrongValueError. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the file is not UTF-8"
        raise ConfigError(f"{path}: {reason}", hint=_HINTS.get(type(error), "")) from error
    return parse(text, str(path), *checks)


def parse(text: str, name: str, *checks: Check) -> Config:
    """The configuration in `text`; `name` stands before the line number in errors."""
    marked = _Marked()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ConfigError(f"{name}:1: the file is empty; at least `host:` is needed")
        value = _plain(node, "", marked, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{name}:{line}: a character that no text file has: U+{error.character:04X}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}:1: lists within lists without an end") from error
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
    try:
        for check in checks:
            check(config)
    except WrongValueError as error:
        raise ConfigError(f"{name}:{_line_of(error.place, marked)}: {error}") from error
    return config


def _plain(node: yaml.Node, place: str, marked: _Marked, name: str) -> Any:
    line = node.start_mark.line + 1
    marked.lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{name}:{key_node.start_mark.line + 1}: a key is a word, not a list or a mapping")
            key = str(key_node.value)
            inner = f"{place}.{key}" if place else key
            if key in values:
                raise ConfigError(f"{name}:{key_node.start_mark.line + 1}: key {key!r} is given twice")
            marked.lines[inner] = key_node.start_mark.line + 1
            values[key] = _plain(value_node, inner, marked, name)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{place}[{number}]", marked, name) for number, item in enumerate(node.value)]
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except ValueError as error:  # a date that no calendar has
        raise ConfigError(f"{name}:{line}: {place}: {node.value!r} needs quotes: {error}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name}:{line}: {place}: {node.value} is no number to reckon with")
    return value


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


_KINDS = {
    "object": "keys with values",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "date": "a date",
    "datetime": "a date",
}


def _in_words(message: str) -> str:
    """msgspec's sentence in the words of the reference page."""
    message = re.sub(
        r"`(\w+)`",
        lambda found: _KINDS.get(found[1], f"'{found[1]}'"),
        message.replace("Object missing required field", "needs the key"),
    )
    if message.endswith(", got nothing"):
        message += " (write a value, or leave the key out)"
    return message.replace("Expected", "expected").replace("Invalid enum value", "not a choice:")


_SECRET = re.compile(r"token$|secret|passw(or)?d|api_?key|auth_?key|private_?key|access_key$", re.IGNORECASE)
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_door(text: str) -> bool:
    """`host:port`, `1.2.3.4:port` or `[::]:port`."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        return False
    return _is_ip(host[1:-1], 6) if host.startswith("[") and host.endswith("]") else bool(re.fullmatch(_NAME, host))


def _is_ip(text: str, *versions: int) -> bool:
    try:
        return ip_address(text).version in (versions or (4, 6)) and "%" not in text
    except ValueError:
        return False


def _check(config: Config, marked: _Marked, name: str) -> None:
    """What no single field can tell."""

    def hold(right: bool, place: str, message: str) -> None:
        if not right:
            raise ConfigError(f"{name}:{_line_of(place, marked)}: {place}: {message}")

    host = config.host
    hold(is_public_name(host.lower()), "host", f"{host!r} is not a full host name such as mail.example.org")
    for place, path in (("state", config.state), ("runtime", config.runtime)):
        hold(path.startswith("/"), place, f"{path!r} is not a path from the root, such as /var/lib/postane")
    hold(bool(config.tls.certificate) == bool(config.tls.key), "tls", "certificate and key go together")

    for service in ("smtp", "submission", "submissions"):
        for address in getattr(config.smtp.listen, service):
            hold(_is_door(address), f"smtp.listen.{service}", f"{address!r} is not address:port")
    for network in config.smtp.relay_from:
        hold(_is_network(network), "smtp.relay_from", f"{network!r} is no network such as 192.0.2.0/24 or ::1/128")
    hold(_is_door(config.api.listen), "api.listen", f"{config.api.listen!r} is not address:port")
    banner, sign = config.smtp.banner, config.smtp.tag_separator
    hold(banner.isascii() and banner.isprintable(), "smtp.banner", "only ASCII that can be seen, on one line")
    hold(sign in "+-_=#~!|", "smtp.tag_separator", f"{sign!r} is none of + - _ = # ~ ! |")

    url = config.directory.url
    hold(not url or "://" in url, "directory.url", "not a URL such as sqlite:////var/lib/postane/directory.sqlite3")
    room = config.spool.large_message * 2 <= config.spool.segment_size
    hold(room, "spool.large_message", "at most half of spool.segment_size")
    filters = config.filters
    hold(len(set(filters.use)) == len(filters.use), "filters.use", "a filter is named twice")
    for name_of in filters.options:
        hold(
            name_of in filters.use, f"filters.options.{name_of}", "options for a filter that filters.use does not name"
        )
    queue = config.queue
    hold(queue.retry_most >= queue.retry_first, "queue.retry_most", "shorter than queue.retry_first")
    ordered = queue.local_retry_most >= queue.local_retry_first
    hold(ordered, "queue.local_retry_most", "shorter than queue.local_retry_first")

    delivery = config.delivery
    rooted = delivery.local != "maildir" or delivery.maildir.startswith("/")
    hold(rooted, "delivery.local", "maildir needs delivery.maildir, the root of the mailboxes")
    reached = delivery.lmtp.startswith("/") or _is_door(delivery.lmtp)
    hold(reached, "delivery.lmtp", f"{delivery.lmtp!r} is neither the path of a socket nor host:port")
    smarthost = delivery.smarthost
    hold(not smarthost or _is_door(smarthost), "delivery.smarthost", f"{smarthost!r} is not host:port")
    for address in config.dns.addresses:
        hold(_is_ip(address), "dns.addresses", f"{address!r} is not an IP address")
    certificates = config.certificates
    for place in ("directory", "staging"):
        url = getattr(certificates, place)
        hold(not url or url.startswith("https://"), f"certificates.{place}", f"{url!r} is not an https:// URL")
    for place in ("ca_bundle", "external_account", "webroot"):
        path = getattr(certificates, place)
        hold(not path or path.startswith("/"), f"certificates.{place}", f"{path!r} is not a path from the root")
    email = certificates.account_email
    hold(not email or "@" in email.strip("@"), "certificates.account_email", f"{email!r} is not an address")
    for name_of, target in config.dns.targets.items():
        here = f"dns.targets.{name_of}"
        hold(
            target.type != "octodns" or "." in target.provider, f"{here}.provider", "octodns needs the provider's class"
        )
        for option in target.options:
            secret = _SECRET.search(option) is not None
            hold(not secret, f"{here}.options.{option}", f"belongs into a file: secret_files: {{{option}: FILE}}")
    prefix = config.dkim.selector_prefix
    label = re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", prefix)
    hold(label is not None, "dkim.selector_prefix", f"{prefix!r} is not a DNS label of a-z, 0-9 and -")
