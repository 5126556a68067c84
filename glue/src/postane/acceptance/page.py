"""The page that a provider hands to a customer: one file, nothing fetched, good on paper. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from typing import Any

import jinja2

from postane.acceptance import seal
from postane.acceptance.words import Language, Words


def page(document: Mapping[str, Any], language: Language) -> str:
    """HTML of a signed document."""
    words = Words(language)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for check in document["checks"]:
        groups.setdefault(check["name"].partition(".")[0], []).append(check)
    signature = document[seal.SIGNATURE]
    return _template().render(
        words=words,
        document=document,
        groups=groups,
        when=words.time(datetime.datetime.fromisoformat(document["begun"])),
        fingerprint=seal.verify(document).fingerprint,
        digest=seal.digest(document),
        signature=signature["value"],
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("postane.acceptance"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("certificate.html.j2")
