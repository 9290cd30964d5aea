import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from imgcap.data.vocabulary import LATIN, SPECIAL_TOKENS, START, UNK, build_tokenizer, clean_caption, lost_letters

CAPTIONS = ["A dog runs .", "a dog swims", "The dog 's t-shirt", "a cat"]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A black dog is running , through the water .", "a black dog is running through the water"),
        ('The man\'s T-shirt says "hello" !', "the man's t-shirt says hello"),
        ("  Two\tgirls;  'laughing' -- outside...", "two girls laughing outside"),
        ("Caf\u00e9 in M\u00fcnchen & Z\u00fcrich", "cafe in munchen zurich"),
        ("the dog \u2019s ball #12", "the dog s ball 12"),
        ("Gro\u00dfe Stra\u00dfe, K\u00f8benhavn, \u0141\u00f3d\u017a", "grosse strasse kobenhavn lodz"),
        (" .,!? ", ""),
        ("", ""),
    ],
)
def test_cleaning(raw, clean):
    assert clean_caption(raw) == clean


@given(st.text(max_size=80))
def test_cleaning_is_idempotent_and_leaves_only_words(text):
    clean = clean_caption(text)
    assert clean_caption(clean) == clean
    assert set(clean) <= set("abcdefghijklmnopqrstuvwxyz0123456789'- ")
    assert "  " not in clean
    assert clean == clean.strip()
    assert not any(word.startswith(("'", "-")) or word.endswith(("'", "-")) for word in clean.split())


def test_rare_words_become_unk_and_special_tokens_come_first():
    tokenizer = build_tokenizer(CAPTIONS, min_count=2)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*SPECIAL_TOKENS, "a", "dog"]
    ids = tokenizer("A DOG barks!").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [START, "a", "dog", UNK]
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]


def test_the_vocabulary_does_not_depend_on_the_order_of_captions():
    assert build_tokenizer(CAPTIONS, 1).get_vocab() == build_tokenizer(reversed(CAPTIONS), 1).get_vocab()


def test_a_saved_tokenizer_cleans_and_encodes_alike(tmp_path):
    tokenizer = build_tokenizer(CAPTIONS, min_count=1)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "The DOG's  t-shirt, swims!"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(tokenizer("A dog runs.").input_ids, skip_special_tokens=True) == "a dog runs"


def test_letters_that_cannot_be_written_are_named():
    assert lost_letters("A caf\u00e9 in K\u00f8benhavn, 100%") == ""
    assert lost_letters("a \u72d7 runs") == "\u72d7"
    assert all(clean_caption(letter) == clean_caption(letter.upper()) == plain for letter, plain in LATIN.items())


@given(st.text(max_size=40))
def test_what_is_not_lost_stays(text):
    letters = sum(c.isalpha() for c in clean_caption(text))
    assert bool(letters) or not any(c.isalpha() for c in text) or lost_letters(text)
