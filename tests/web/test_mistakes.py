"""Every sentence of an error that a page can show exists in every language, and no language has another."""

import ast
import importlib
import json
import re
from itertools import product
from pathlib import Path
from string import Formatter

import pytest

from imgcap.web.texts import ENGLISH, FOLDER, LANGUAGES

PACKAGE = FOLDER.parents[1]
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (FOLDER / "mistakes").glob("*.json")}
OTHERS = sorted(LANGUAGES.keys() - {ENGLISH})
SHOWING = ("images", "accounts", "web")
"""Packages whose errors reach a page; of the others, the files below alone."""
ALSO = ("captioner.py", "blur/content.py", "inference/batching.py")
NOT_SHOWN = re.compile(
    # read by an operator in the terminal or in a log
    r"IMGCAP_(?!DATASET\.)|[Tt]he database |Only SQLite|The backup |There is a file |The data folder |Another imgcap "
    r"|The limit .* in the settings|pip install|imgcap\[alt-text\]|The app cannot |Port |The data set has no test split"
    # read by a programmer, or about files that only the command line opens
    r"|shape|Pixels must be|The queue |A source could|There is no file of that name|The file cannot be read"
    r"|That is a folder|Gradio checks|alternative text|metadata is damaged"
    # an example, and what is logged
    r"|A brown dog is|A dog runs|ended in|ended its|ended and|could not be captioned further"
)
VALUE = "7"
"""Stands for a value that is known only when the error is raised."""


def sentences(path: Path) -> set[str]:
    """Return the sentences in a source file, other than docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = importlib.import_module(".".join(["imgcap", *path.relative_to(PACKAGE).with_suffix("").parts]))
    skipped = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    } | {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in skipped:
            found |= spell(node, vars(module))
    return {one for one in found if re.fullmatch(r"[A-Z0-9].* .* .*[.]|7 files are .*|7 at once .*", one)}


def spell(node: ast.expr, names: dict[str, object]) -> set[str]:
    """Return the texts that an expression can have, with the module's constants filled in."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, ast.JoinedStr):
        return {"".join(parts) for parts in product(*(spell(part, names) for part in node.values))}
    if isinstance(node, ast.FormattedValue):
        inner = node.value
        if isinstance(inner, ast.Name) and inner.id.isupper() and isinstance(names.get(inner.id), str):
            return {names[inner.id]}
        if isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name):
            table = names.get(inner.value.id)
            return set(table.values()) if isinstance(table, dict) else {VALUE}
        return {VALUE}
    return {VALUE}


def shown() -> set[str]:
    paths = [
        path for name in SHOWING for path in sorted((PACKAGE / name).rglob("*.py")) if "migrations" not in path.parts
    ]
    found = set().union(*(sentences(path) for path in [*paths, *(PACKAGE / name for name in ALSO)]))
    return {one for one in found if not NOT_SHOWN.search(one)}


SHOWN = shown()


@pytest.mark.parametrize("language", OTHERS)
class TestEachLanguage:
    def test_has_every_sentence(self, language):
        texts = LANGUAGES[language]
        assert len(SHOWN) > 80
        assert sorted(one for one in SHOWN if texts.sentence(one) == one) == []

    def test_keeps_the_values(self, language):
        sentence = LANGUAGES[language].sentence
        assert [one for one in sorted(SHOWN) if sentence(one).count(VALUE) != one.count(VALUE)] == []

    def test_has_no_sentence_that_nobody_raises(self, language):
        fragments = {one for one in FILES[language] if not one.endswith((".", "}"))}  # values of placeholders
        texts = {one: re.sub(r"\{\w+\}", VALUE, one) for one in FILES[language].keys() - fragments}
        patterns = {one: re.compile(re.escape(text).replace(VALUE, ".+")) for one, text in texts.items()}
        unused = {one for one, pattern in patterns.items() if not any(pattern.fullmatch(each) for each in SHOWN)}
        assert unused == {"This reading is not in your history. {reason}"}  # two sentences
        assert fragments == {
            "1 second",
            "{number} seconds",
            "{number} minutes",
            "JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP",
        }

    def test_has_the_placeholders_of_the_english_sentence(self, language):
        def names(text: str) -> list[str]:
            return sorted(name for _, name, _, _ in Formatter().parse(text) if name)

        assert {one: text for one, text in FILES[language].items() if names(one) != names(text)} == {}


def test_the_files_hold_the_same_sentences_in_order():
    assert sorted(FILES) == OTHERS
    assert all(list(file) == sorted(FILES["de"]) for file in FILES.values())


def test_values_are_translated_too():
    spanish = LANGUAGES["es"].sentence
    assert spanish("Too many tries to sign in; try again in 3 minutes.") == (
        "Demasiados intentos de iniciar sesión; inténtalo de nuevo en 3 minutos."
    )
    assert spanish("PDF files are not supported: send a JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF or BMP.") == (
        "Los archivos PDF no se admiten: envía JPEG, PNG, WebP, GIF, HEIC, AVIF, TIFF o BMP."
    )
    assert spanish("This reading is not in your history. The server is busy; try again in a minute.") == (
        "Esta lectura no está en tu historial. El servidor está ocupado; inténtalo de nuevo en un minuto."
    )


def test_what_no_file_has_stays_as_it_is():
    assert LANGUAGES["de"].sentence("Nobody wrote this one.") == "Nobody wrote this one."
    assert LANGUAGES[ENGLISH].sentence("The file is empty: choose a picture.") == "The file is empty: choose a picture."


@pytest.mark.parametrize(
    ("language", "said"), [("de", "Das Passwort ist zu kurz"), ("es", "La contraseña es demasiado")]
)
def test_pages_and_scripts_get_the_readers_language(open_app, language, said):
    client, _ = open_app()
    asks = {"accept-language": language}
    weak = {"username": "ada", "password": "short"}
    assert said in client.post("/login/register", data=weak, headers=asks).text
    missing = client.get("/history/9.jpg", headers=asks | {"sec-fetch-mode": "cors"}).json()
    assert missing["detail"] == LANGUAGES[language].sentence(
        "Sign in first: send an access token as Authorization: Bearer, or POST username and password to /login and "
        "send its cookie."
    )
    program = client.get("/history/9.jpg").json()
    assert program["detail"].startswith("Sign in first")
