"""Load the texts for people from the files in `texts/`, and choose the language of a request.

`texts/fr.json` would add French; its keys are flat and begin with the part of the app. `texts/mistakes/fr.json` holds
the sentences of errors, which code that knows no request raises in English: the keys are those English sentences, with
placeholders where they hold a value.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any, Protocol

import gradio as gr
from gradio.i18n import I18nData
from markupsafe import Markup, escape

FOLDER = Path(__file__).parent / "texts"
ENGLISH = "en"
COOKIE = "imgcap-language"
"""Cookie of the language menu; without it the browser's list of languages decides."""


@dataclass(frozen=True)
class Texts:
    """The texts in one language. Texts that its file lacks are in English."""

    language: str
    messages: Mapping[str, str]
    mistakes: Mapping[str, str] = field(default_factory=dict)
    """The sentences of errors, by the English ones."""

    def __call__(self, key: str, /, **values: Any) -> str:
        """Return a text with its placeholders filled in."""
        return self.messages[key].format(**values)

    def html(self, key: str, /, **values: Any) -> Markup:
        """Return a text as HTML, in which everything is escaped except values that are Markup."""
        return escape(self.messages[key]).format(**values)

    def sentence(self, english: str) -> str:
        """Return an error's English sentence in this language, or unchanged if the language's file lacks it.

        Values in it, such as "12 seconds", are sought in the file as well, and numbers are written as in `number`.
        """
        if re.fullmatch(r"\d+\.\d+", english):
            return self.number(english)
        if english in self.mistakes:
            return self.mistakes[english]
        for pattern, text in self._patterns:
            if found := pattern.fullmatch(english):
                return text.format(**{name: self.sentence(value) for name, value in found.groupdict().items()})
        return english

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """The sentences with placeholders as patterns, the longest first since it is the most particular one."""
        return [
            (_pattern(english), text)
            for english, text in sorted(self.mistakes.items(), key=lambda one: -len(one[0]))
            if "{" in english
        ]

    def number(self, plain: str) -> str:
        """Return a number or percentage as it is written in this language: "12.5" is "12,5" in German."""
        number, percent, _ = plain.replace(".", self("number.decimal_sign")).partition("%")
        return self("number.percent", number=number) if percent else number

    def count(self, key: str, number: int, /, **values: Any) -> str:
        """Return the text of `KEY.one` or `KEY.other` with the number in its placeholder `{number}`."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", number=number, **values)


def _pattern(english: str) -> re.Pattern[str]:
    """Return the pattern of a sentence, with a group for each placeholder."""
    parts = Formatter().parse(english)
    return re.compile("".join(re.escape(text) + (f"(?P<{name}>.+?)" if name else "") for text, name, _, _ in parts))


def load(folder: Path = FOLDER) -> dict[str, Texts]:
    """Return the texts of each language with a file in the folder, English first."""
    found, mistakes = _read(folder), _read(folder / "mistakes")
    english = found.pop(ENGLISH)
    return {
        code: Texts(code, english | messages, mistakes.get(code, {}))
        for code, messages in ({ENGLISH: english} | found).items()
    }


def _read(folder: Path) -> dict[str, dict[str, str]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


LANGUAGES = load()


class Asker(Protocol):
    """A request of Starlette's or of Gradio's, from which the language is read."""

    headers: Mapping[str, str]
    cookies: Mapping[str, str]


def texts_of(request: Asker | gr.Request) -> Texts:
    """Return the texts in the language chosen in the menu, or else the browser's, or else English."""
    chosen = request.cookies.get(COOKIE)
    return LANGUAGES.get(chosen or "") or LANGUAGES[match(request.headers.get("accept-language", ""))]


def match(accepted: str) -> str:
    """Return the available language that an Accept-Language header prefers; English if it names none."""
    wanted: list[tuple[float, str]] = []
    for part in accepted.split(",")[:50]:
        found = re.fullmatch(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*", part)
        if found:
            wanted.append((float(found[2] or 1), found[1].lower()))
    wanted.sort(key=lambda one: -one[0])
    return next((language for quality, language in wanted if quality and language in LANGUAGES), ENGLISH)


class Labels:
    """Texts of Gradio's components, which the browser translates: `labels("caption.photo")` replaces a string.

    Only `label`, `info`, `placeholder`, `title` and `value` are translated, and in a longer string only one text.
    """

    def __init__(self) -> None:
        self._used: set[str] = set()

    def __call__(self, key: str) -> I18nData:
        """Return a placeholder for a text, which must have no placeholders itself. Raises KeyError for unknown keys."""
        LANGUAGES[ENGLISH].messages[key]
        self._used.add(key)
        return I18nData(key)

    def translations(self) -> gr.I18n:
        """Return all texts used so far, in every language, for `launch`."""
        return gr.I18n(**{
            language: {key: texts.messages[key] for key in sorted(self._used)} for language, texts in LANGUAGES.items()
        })  # fmt: skip


def language_script(texts: Texts) -> str:
    """Return a script that gives the browser the server's choice of language and the texts of the app's scripts.

    Gradio's frontend takes its language from `navigator.language`, so this script must run before it.
    """
    scripts = {key: text for key, text in texts.messages.items() if key.startswith("script.")}
    data = json.dumps({"language": texts.language, "texts": scripts}, ensure_ascii=True).replace("</", "<\\/")
    return (
        f"window.imgcap = {data};\n"
        'Object.defineProperty(navigator, "language", { get: () => window.imgcap.language });\n'
        "document.documentElement.lang = window.imgcap.language;\n"
    )
