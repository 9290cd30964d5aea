import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.evaluation.mistakes import (
    COLOURS,
    FEMALE,
    KINDS,
    MALE,
    MANY,
    SUBJECTS,
    coloured_things,
    colours,
    count_mistakes,
    counts,
    sexes,
    verdicts,
    wilson,
)

SEX, COLOUR, THING, COUNT = KINDS
CAPTIONS = st.lists(
    st.sampled_from([*sorted(MALE | FEMALE | COLOURS.keys() | SUBJECTS.keys()), "a", "and", "two", "of"])
)
TEXT = st.one_of(st.text(), CAPTIONS.map(" ".join))


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("A man and his dog .", {"male"}),
        ("Two ladies with the man's hat .", {"male", "female"}),
        ("GIRLS", {"female"}),
        ("A person with her dog in a man-made lake", None),  # no pronouns, no half words
        ("A mankind of boyish humans", None),
    ],
)
def test_sexes_are_those_of_nouns(caption, said):
    assert sexes(caption) == ({} if said is None else {"sex": said})


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("A tan dog , a beige rug and a golden ball", {"brown"}),
        ("a black-and-white dog on gray ice", {"black", "white", "grey"}),
        ("A blond man was bored", None),
    ],
)
def test_shades_are_one_colour(caption, said):
    assert colours(caption) == ({} if said is None else {"colour": said})


@pytest.mark.parametrize(
    ("caption", "things"),
    [
        ("A black and white dog in a red shirt", {"dog": {"black", "white"}, "shirt": {"red"}}),
        ("A brown dog and a black-white dog", {"dog": {"brown", "black", "white"}}),
        ("Two brown dogs , a red striped shirt", {"dog": {"brown"}, "shirt": {"red"}}),
        ("A man in red and a dog in white .", {}),
        ("red", {}),
    ],
)
def test_a_colour_belongs_to_what_stands_behind_it(caption, things):
    assert coloured_things(caption) == things


@pytest.mark.parametrize(
    ("caption", "people"),
    [
        ("A man on a bike", {1}),
        ("Two young boys", {2}),
        ("A couple of kids", {2}),
        ("3 girls", {3}),
        ("People", set(range(2, MANY + 1))),
        ("A group of people", set(range(2, MANY + 1))),
        ("Two teams of men", set(range(2, MANY + 1))),  # two groups are not two people
        ("One of the men", set(range(2, MANY + 1))),
        ("A man and a woman", {2}),
        ("A man and two small boys", {3}),
        ("A baby boy", {1, 2}),  # one person, but the words leave it open
        ("The man with his son", {1, 2}),
        ("Two men in a ring , one man punching the other", {2, 3}),
        ("Two men and three boys", {3, 4, 5}),
        ("A man , a woman and a child", {2, 3}),
        ("A man and eleven , no , ten women", {MANY}),
        ("A dog", None),
    ],
)
def test_people_are_counted(caption, people):
    assert counts(caption).get("people") == people


def test_dogs_are_counted_apart_from_people():
    assert counts("A man with two small black and white dogs and a puppy") == {"people": {1}, "dogs": {2, 3}}
    assert counts("A brown dog chases another dog") == {"dogs": {2}}


@pytest.mark.parametrize(
    ("kind", "caption", "references", "verdict"),
    [
        (SEX, "A man runs", ["A woman runs", "A person runs"], "contradicted"),
        (SEX, "A man runs", ["A woman runs", "A boy runs"], "confirmed"),
        (SEX, "A man runs", ["A person runs", "Someone runs"], "unconfirmed"),
        (SEX, "A man and a woman run", ["Two men run"], "contradicted"),
        (SEX, "A dog runs", ["A woman runs"], None),
        (COLOUR, "A red car", ["A blue car", "A car"], "contradicted"),
        (COLOUR, "A red car", ["A blue car", "A man in red"], "confirmed"),  # what has the colour is not seen
        (COLOUR, "A red and a blue car", ["A blue car"], "contradicted"),
        (COLOUR, "A red car", ["A car"], "unconfirmed"),
        (THING, "A red car", ["A blue car", "A man in a red shirt"], "contradicted"),
        (THING, "A red car", ["A blue bus"], "unconfirmed"),
        (THING, "A red car", ["Two red cars", "A blue car"], "confirmed"),
        (COUNT, "Two dogs run", ["A dog runs", "A dog"], "contradicted"),
        (COUNT, "Two dogs run", ["A dog runs", "Dogs run"], "confirmed"),
        (COUNT, "Two dogs run", ["Three dogs run", "Animals run"], "contradicted"),
        (COUNT, "A man runs", ["A group of people run"], "contradicted"),
        (COUNT, "A man and a dog", ["A man"], "unconfirmed"),
        (COUNT, "Two men and a dog", ["A man"], "contradicted"),  # outweighs the dog nobody mentions
        (COUNT, "A ball", ["A man"], None),
    ],
)
def test_verdicts(kind, caption, references, verdict):
    assert verdicts(kind, [caption], [references]) == [verdict]


def test_each_kind_is_counted_with_its_share_and_an_interval():
    references = [["A man .", "A boy .", "Someone ."]] * 3 + [["A woman .", "A girl .", "A person ."]]
    result = count_mistakes(["A man", "A girl", "A person", "A man"], references)
    assert list(result) == ["sex", "colour", "colour of the same thing", "count"]
    sex = result["sex"]
    assert sex["captions"] == {
        "named": 3, "contradicted": 2, "unconfirmed": 0, "confirmed": 1, "share": 2 / 3, "interval": wilson(2 / 3, 3),
    }  # fmt: skip
    # The references of each picture name one sex, in two of three captions.
    assert sex["people_left_out"] == {
        "named": 8, "contradicted": 0, "unconfirmed": 0, "confirmed": 8, "share": 0.0, "interval": wilson(0.0, 4),
    }  # fmt: skip
    assert (sex["captions_left_out"]["named"], sex["captions_left_out"]["contradicted"]) == (9, 6)
    assert result["colour"]["captions"]["share"] is None
    assert json.loads(json.dumps(result)) == result


def test_people_who_disagree_are_counted_too():
    people = count_mistakes(["A dog"], [["A man", "A woman", "A woman"]])["sex"]["people_left_out"]
    assert (people["contradicted"], people["confirmed"]) == (1, 2)
    alone = count_mistakes(["A man"], [["A man"]])["sex"]
    assert (alone["captions"]["confirmed"], alone["captions_left_out"]["named"]) == (1, 0)


def test_wilsons_interval():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    assert wilson(81 / 263, 263) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx([0.0624, 0.1605], abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx([0.0, 0.1611], abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx([0.0061, 0.1718], abs=5e-5)


def test_a_caption_too_few_is_said():
    with pytest.raises(InputError, match="1 captions but 2 lists of references"):
        count_mistakes(["A man"], [["A man"], ["A boy"]])


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=4)), max_size=4))
def test_any_text_is_counted(pictures):
    captions, references = [c for c, _ in pictures], [r for _, r in pictures]
    for groups in count_mistakes(captions, references).values():
        for tally in groups.values():
            assert tally["named"] == tally["confirmed"] + tally["contradicted"] + tally["unconfirmed"]
            if tally["named"]:
                assert 0 <= tally["interval"][0] <= tally["share"] <= tally["interval"][1] <= 1


@given(TEXT, st.lists(TEXT, max_size=4))
def test_what_a_reference_says_word_for_word_is_never_contradicted(caption, others):
    for kind in KINDS:
        assert verdicts(kind, [caption], [[*others, caption]])[0] in (None, "confirmed")
