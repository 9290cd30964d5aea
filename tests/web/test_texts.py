"""The texts are whole in every language, and a request is answered in the right one."""

import json
import re
from pathlib import Path
from string import Formatter

import pytest

from imgcap.web.texts import ENGLISH, FOLDER, LANGUAGES, Labels, language_script, load, match, texts_of

WEB = FOLDER.parent
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
OTHERS = sorted(FILES.keys() - {ENGLISH})
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for pattern in ("**/*.py", "templates/*.html", "static/*.js")
    for path in sorted(WEB.glob(pattern))
)
QUOTED = set(re.findall(r"""["'`]([a-z_]+(?:\.[a-z0-9_]+)+)["'`]""", SOURCES))
OPENINGS = set(re.findall(r"""["'`]([a-z_]+(?:\.[a-z0-9_]+)*\.)["'{]""", SOURCES))
"""Of keys that end in a value: f"reading.advice.{reason}", "batch." ~ verdict."""
ENDINGS = set(re.findall(r"""f["']\{[a-z_]+\}(\.[a-z_]+)["']""", SOURCES))
"""Of keys that begin with a value: f"{name}.tab"."""
SCRIPT = {f"script.{key}" for key in re.findall(r"""\b(?:text|fill)\("([a-z0-9_]+)\"""", SOURCES)}


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", OTHERS)
class TestEachLanguage:
    def test_has_every_text_and_no_other(self, language):
        assert FILES[language].keys() ^ FILES[ENGLISH].keys() == set()

    def test_has_the_placeholders_of_the_english_text(self, language):
        differing = {
            key: (text, FILES[language][key])
            for key, text in FILES[ENGLISH].items()
            if placeholders(text) != placeholders(FILES[language][key])
        }
        assert differing == {}

    def test_is_translated(self, language):
        same = [key for key, text in FILES[ENGLISH].items() if len(text.split()) > 3 and FILES[language][key] == text]
        assert same == []


@pytest.mark.parametrize("language", FILES)
def test_a_file_is_sorted_and_holds_plain_texts(language):
    assert list(FILES[language]) == sorted(FILES[language])
    assert all(isinstance(text, str) and text.strip() == text != "" for text in FILES[language].values())


def is_used(key: str) -> bool:
    stem = re.sub(r"\.(one|other)$", "", key)
    return (
        {key, stem} & (QUOTED | SCRIPT) != set()
        or any(key.startswith(opening) for opening in OPENINGS)
        or any(key.endswith(ending) for ending in ENDINGS)
    )


def test_every_text_is_used():
    assert [key for key in FILES[ENGLISH] if not is_used(key)] == []


def test_every_key_in_the_code_has_a_text():
    calls = r"""\b(?:t|texts|labels|texts\.html)\(\s*["']([a-z_]+\.[a-z0-9_.]*[a-z0-9_])["']"""
    assert {key for key in re.findall(calls, SOURCES) if key not in FILES[ENGLISH]} == set()
    assert FILES[ENGLISH].keys() >= SCRIPT


def test_a_language_is_one_file_and_what_it_lacks_is_english(tmp_path: Path):
    for name, texts in {"en": {"a.b": "one {x}", "a.c": "two"}, "fr": {"a.b": "un {x}"}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(texts))
    languages = load(tmp_path)
    assert list(languages) == ["en", "fr"]
    assert languages["fr"]("a.b", x=3) == "un 3"
    assert languages["fr"]("a.c") == "two"
    assert languages["fr"].html("a.b", x="<i>") == "un &lt;i&gt;"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"), ("de", "de"), ("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,es;q=0.5,en;q=0.4", "es"), ("*", "en"),
        ("en;q=0.2, ES-mx;q=0.7", "es"), ("de;q=0, en", "en"), ("zz" * 9_000, "en"), ("de;q=nonsense,es", "es"),
    ],
)  # fmt: skip
def test_the_browsers_languages_decide(accepted, language):
    assert match(accepted) == language


def test_every_kind_of_page_speaks_the_language_that_is_chosen(open_app):
    client, _ = open_app()
    page = client.get("/login", headers={"accept-language": "de"}).text
    assert '<html lang="de">' in page
    answer = client.post("/language", data={"language": "es", "next": "/login?next=%2Fhistory"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fhistory")
    assert '<html lang="es">' in client.get("/login", headers={"accept-language": "de"}).text
    client.post("/language", data={"language": "xx", "next": "https://elsewhere.test/"})
    assert '<html lang="es">' in client.get("/nowhere", headers={"accept": "text/html"}).text


def test_an_unknown_cookie_is_ignored():
    request = type("Request", (), {"cookies": {"imgcap-language": "../en"}, "headers": {"accept-language": "de"}})
    assert texts_of(request).language == "de"


@pytest.mark.parametrize(
    ("language", "variance", "percentage"),
    [("en", "0.0512", "76%"), ("de", "0,0512", "76\u00a0%"), ("es", "0,0512", "76\u00a0%")],
)
def test_numbers_are_written_as_the_language_writes_them(language, variance, percentage):
    texts = LANGUAGES[language]
    assert texts.number("0.0512") == variance
    assert texts.number("76%") == percentage
    assert texts.number("1234") == "1234"


def test_a_number_in_a_sentence_of_an_error_is_too():
    assert "größer als 0,5 MB" in LANGUAGES["de"].sentence("The request is larger than 0.5 MB; send less.")
    assert "0.5 MB" in LANGUAGES["en"].sentence("The request is larger than 0.5 MB; send less.")


def test_labels_translate_what_components_show():
    labels = Labels()
    labels("caption.photo")
    assert labels.translations().translations_dict["de"] == {"caption.photo": FILES["de"]["caption.photo"]}
    with pytest.raises(KeyError):
        labels("caption.nothing")


def test_the_script_carries_the_texts_of_scripts_alone():
    script = language_script(LANGUAGES["de"])
    assert '"language": "de"' in script
    assert "script.close" in script
    assert "reading.advice" not in script


def test_gradios_page_has_the_language_before_any_script_of_gradios(member):
    page = member.get("/", headers={"accept-language": "de"}).text
    assert page.index('"language": "de"') < page.index('<script type="module"')
    member.cookies.set("imgcap-language", "es")
    assert '"language": "es"' in member.get("/", headers={"accept-language": "de"}).text
