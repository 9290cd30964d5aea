from pathlib import Path

import coco
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

from imgcap.evaluation.ptb import tokenize

RECORDED = [tuple(line.split("\t")) for line in coco.TOKENS.read_text().splitlines()]


def differences(captions: list[str], expected: list[str]) -> list[tuple[str, str, str]]:
    triples = ((caption, tokens, tokenize(caption)) for caption, tokens in zip(captions, expected, strict=True))
    return [triple for triple in triples if triple[1] != triple[2]]


def test_recorded_tokens_of_the_archive() -> None:
    assert len(RECORDED) > 800
    captions, expected = zip(*RECORDED, strict=True)
    assert differences(list(captions), list(expected)) == []


def test_the_record_is_what_the_archive_says() -> None:
    coco.require_java()
    captions = coco.CAPTIONS.read_text().splitlines()
    assert list(zip(captions, coco.tokenize_with_jar(captions), strict=True)) == RECORDED


@pytest.mark.external
def test_every_caption_of_flickr8k(test_data: Path) -> None:
    import pandas as pd

    coco.require_java()
    tables = sorted((test_data / "flickr8k").rglob("*.parquet"))
    columns = [f"caption_{number}" for number in range(5)]
    captions = [caption for table in tables for caption in pd.read_parquet(table, columns=columns).stack()]
    assert len(captions) == 40_000
    assert differences(captions, coco.tokenize_with_jar(captions)) == []


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("A dog isn't happy.", "a dog is n't happy"),
        ("The U.S. flag, at 3 p.m.!", "the u.s. flag at 3 p.m."),
        ("(a t-shirt)", "-lrb- a t-shirt -rrb-"),
        ("two\nlines\tof text", "two lines of text"),
        ("\u2028 ...  ", ""),
        ("", ""),
    ],
)
def test_examples(caption: str, tokens: str) -> None:
    assert tokenize(caption) == tokens


@given(st.text())
def test_any_text_gives_clean_tokens(text: str) -> None:
    tokens = tokenize(text).split(" ")
    assert tokens == [""] or all(tokens)
    assert not set(tokens) & set(PUNCTUATIONS)
    assert not any(character in token for token in tokens for character in "\n\r\t")
    assert tokenize(" ".join(text.split())) == " ".join(tokens)


@given(st.lists(st.from_regex("[a-z]{2,9}", fullmatch=True).filter(lambda word: word not in
       {"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"})))  # fmt: skip
def test_plain_words_are_tokens(words: list[str]) -> None:
    assert tokenize(" ".join(words).capitalize()) == " ".join(words)
