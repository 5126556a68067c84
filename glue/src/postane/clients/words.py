"""All words that people read in what mail programs are told, in each language; a test holds the languages equal."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "tr"]

LANGUAGES: tuple[Language, ...] = ("en", "tr")

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "help": "How to set up your mail program",
        "profile.name": "Mail for {address}",
        "profile.description": "Sets up {address} at {provider}. It holds no password: you are asked for it.",
        "profile.consent": "This profile adds the mailbox {address}. You can remove it at any time in the settings.",
    },
    "tr": {
        "help": "E-posta programınızı nasıl kurarsınız",
        "profile.name": "{address} postası",
        "profile.description": "{address} posta kutusunu kurar ({provider}). İçinde parola yoktur, size sorulur.",
        "profile.consent": "Bu profil {address} posta kutusunu ekler. Ayarlardan istediğiniz zaman kaldırabilirsiniz.",
    },
}


def word(language: Language, key: str, **values: str) -> str:
    return WORDS[language][key].format(**values)
