"""Count the captions whose sex, colours or counts the references contradict.

Words are compared, not images. References leave out much that is true, so a right caption can be counted; a reference
can use a wrong word of something else, so a wrong caption can be missed. To measure this noise, each reference is also
judged against the image's other references by the same rules.

For each kind, captions that name nothing of that kind (no sex, no colour, no count) are left out. What a caption names
is

- confirmed, if the references agree;
- contradicted, if references mention the same topic and none agrees;
- unconfirmed, if no reference mentions the topic.

A caption with a contradicted claim is contradicted; otherwise, one with an unconfirmed claim is unconfirmed.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any, Literal

from imgcap.errors import InputError

Verdict = Literal["contradicted", "unconfirmed", "confirmed"]
VERDICTS: tuple[Verdict, ...] = ("contradicted", "unconfirmed", "confirmed")  # the first found is the caption's
Claim = frozenset[str] | frozenset[int]
Claims = Mapping[str, Claim]
"""What a caption says, by topic: {"sex": {"male"}}, {"colour": {"red", "white"}}, {"dogs": {2}}."""


# The words


def _set(line: str) -> frozenset[str]:
    return frozenset(line.split())


MALE = _set(
    "man men boy boys guy guys gentleman gentlemen male males father fathers dad dads son sons brother brothers "
    "husband husbands groom grooms groomsmen cowboy cowboys policeman policemen fireman firemen fisherman fishermen "
    "businessman businessmen cameraman batsman schoolboy schoolboys"
)
FEMALE = _set(
    "woman women girl girls lady ladies female females mother mothers mom moms mum mums daughter daughters sister "
    "sisters wife wives bride brides bridesmaid bridesmaids cowgirl cowgirls policewoman policewomen businesswoman "
    "businesswomen princess schoolgirl schoolgirls"
)  # no pronouns: in these captions his and her are often a dog's

_SHADES = {
    "black": "black",
    "white": "white",
    "red": "red maroon",
    "blue": "blue navy",
    "green": "green",
    "yellow": "yellow",
    "orange": "orange",
    "pink": "pink",
    "purple": "purple violet lavender",
    "grey": "grey gray silver",
    "brown": "brown tan beige golden",  # people call one dog by all four; blond is left to hair
}
COLOURS = {word: colour for colour, words in _SHADES.items() for word in words.split()}

_NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: number for number, word in enumerate(_NUMERALS, 1)}
NUMBERS |= {str(number): number for number in NUMBERS.values()} | {"couple": 2, "pair": 2, "both": 2}
MANY = 11  # stands for more than ten

_ONE = {
    "people": "person someone somebody man boy guy gentleman father dad son brother husband groom cowboy policeman "
    "fireman fisherman businessman woman girl lady mother mom daughter sister wife bride bridesmaid cowgirl "
    "policewoman child kid baby toddler infant adult teenager teen player skateboarder snowboarder skier surfer rider "
    "biker cyclist bicyclist motorcyclist climber hiker racer runner skater swimmer wrestler dancer worker performer "
    "photographer",
    "dogs": "dog puppy pup hound greyhound poodle retriever terrier collie",
}
_SEVERAL = {
    "people": "people persons men women gentlemen ladies children babies policemen firemen fishermen businessmen wives",
    "dogs": "puppies",
}
_GROUPS = {"people": "crowd crowds audience team teams family families"}  # a number here counts groups, not people
Form = Literal["one", "several", "group"]
SUBJECTS: dict[str, tuple[str, Form]] = {w: (subject, "one") for subject, line in _ONE.items() for w in line.split()}
SUBJECTS |= {f"{w}s": (subject, "several") for w, (subject, _) in SUBJECTS.items()}
SUBJECTS |= {w: (subject, "several") for subject, line in _SEVERAL.items() for w in line.split()}
SUBJECTS |= {w: (subject, "group") for subject, line in _GROUPS.items() for w in line.split()}

# Words that end a phrase: a colour before them describes nothing, and the search for a number stops at them.
_BREAKS = _set(
    "a an the and or but is are was were be in on at with by to from of for while as that who which wearing near over "
    "his her its their"
)
_REACH = 5  # words looked back from a noun: enough for "two small black and white dogs"
_BESIDE_COLOURS = _set("striped plaid spotted colored coloured haired furry fluffy")


# What a caption claims


def words(caption: str) -> list[str]:
    """Return a caption's words in lower case; a hyphenated word is one word, and an apostrophe separates words."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", caption.lower())


def sexes(caption: str) -> Claims:
    """Return under "sex" the sexes that nouns name: "male", "female" or both.

    This cannot tell which person is meant, ignores pronouns, and takes "boy scout" and "girls' bicycle" for persons.
    """
    found = {sex for sex, nouns in (("male", MALE), ("female", FEMALE)) if not nouns.isdisjoint(words(caption))}
    return {"sex": frozenset(found)} if found else {}


def colours(caption: str) -> Claims:
    """Return under "colour" all colours named; shades of a colour count as that colour.

    This cannot tell what has the colour: a red car in a reference confirms a red shirt. References do not name every
    colour either: if nobody mentions the green lawn, a caption that does is contradicted. So a contradicted colour is
    often one that nobody else mentions, rather than a wrong one.
    """
    found = {COLOURS[part] for word in words(caption) for part in word.split("-") if part in COLOURS}
    return {"colour": frozenset(found)} if found else {}


def coloured_things(caption: str) -> Claims:
    """Return the colours of each thing that follows a colour: {"dog": {"black", "white"}} for a black and white dog.

    A caption is contradicted here only if references give the same thing other colours, so fewer captions are counted
    than in `colours`, and these are more likely wrong. This misses things that a reference calls by another name, and
    cannot tell which of two dogs is meant.
    """
    things: dict[str, frozenset[str]] = {}
    run: frozenset[str] = frozenset()
    for word in words(caption):
        here = frozenset(COLOURS[part] for part in word.split("-") if part in COLOURS)
        if here:
            run |= here
        elif run and word != "and" and word not in _BESIDE_COLOURS:
            if word not in _BREAKS:
                thing = word.removesuffix("s")
                things[thing] = things.get(thing, frozenset()) | run
            run = frozenset()
    return things


def counts(caption: str) -> Claims:
    """Return under "people" and "dogs" the numbers that a caption may mean, {2} for "two dogs"; 11 is more than ten.

    A singular noun means one; a plural means the number in front of it ("two", "a couple of") or else two or more. A
    later noun adds to the count if an indefinite article or a number above one introduces it ("a man and a boy": {2}).
    Otherwise, or after a plural, it may or may not mean the same ("a man and his son": {1, 2}; "two men, a tall man in
    front": {2, 3}).

    This misses numbers far from their noun, takes "dog house" for a dog, and counts only what is mentioned: five people
    in the background count only if the caption mentions them.
    """
    spans: dict[str, tuple[int, int]] = {}
    tokens = words(caption)
    for place, word in enumerate(tokens):
        if word not in SUBJECTS:
            continue
        subject, form = SUBJECTS[word]
        new, number = _introduction(tokens[:place])
        low, high = (1, 1) if form == "one" else (number, number) if form == "several" and number else (2, MANY)
        if subject in spans:
            least, most = spans[subject]
            low, high = least + low if new and least == most == 1 else max(least, low), most + high
        spans[subject] = (min(low, MANY), min(high, MANY))
    return {subject: frozenset(range(low, high + 1)) for subject, (low, high) in spans.items()}


def _introduction(before: Sequence[str]) -> tuple[bool, int | None]:
    """Return whether the words before a noun introduce something new, and their number if it is above one."""
    backwards = [*reversed(before), ""]
    for word, previous in list(pairwise(backwards))[:_REACH]:
        if word in NUMBERS:
            return NUMBERS[word] > 1, NUMBERS[word] if NUMBERS[word] > 1 else None  # "one" may refer back
        if word in ("a", "an", "another"):
            return True, None
        within = (word == "and" and previous in COLOURS) or (word == "of" and previous in NUMBERS)
        if word in SUBJECTS or (word in _BREAKS and not within):  # a black and white dog, a couple of dogs
            return False, None
    return False, None


# How claims agree with the references


def _all_named(claim: Claim, references: Sequence[Claim]) -> bool:
    return claim <= frozenset[Any]().union(*references)


def _one_possible(claim: Claim, references: Sequence[Claim]) -> bool:
    return any(not claim.isdisjoint(reference) for reference in references)


@dataclass(frozen=True)
class Kind:
    """A kind of mistake: how to read a caption's claims, and when a claim agrees with the references' on its topic."""

    name: str
    claims: Callable[[str], Claims]
    agrees: Callable[[Claim, Sequence[Claim]], bool]


KINDS = (
    Kind("sex", sexes, _all_named),
    Kind("colour", colours, _all_named),
    Kind("colour of the same thing", coloured_things, _all_named),
    Kind("count", counts, _one_possible),
)


def judge(kind: Kind, caption: Claims, references: Sequence[Claims]) -> Verdict | None:
    """Return the verdict on a caption's claims; None if it makes none."""
    found: set[Verdict] = set()
    for topic, claim in caption.items():
        speaking = [reference[topic] for reference in references if topic in reference]
        found.add("unconfirmed" if not speaking else "confirmed" if kind.agrees(claim, speaking) else "contradicted")
    return next((verdict for verdict in VERDICTS if verdict in found), None)


def verdicts(kind: Kind, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[Verdict | None]:
    """Return the verdict on each image's caption against all its references."""
    return [
        judge(kind, kind.claims(caption), [kind.claims(reference) for reference in row])
        for caption, row in zip(captions, references, strict=True)
    ]


def count_mistakes(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Count mistakes of a split's captions by kind, and the mistakes that the same rules find in people's captions.

    Args:
        captions: one for each image, raw text.
        references: the raw references of each image.

    Returns:
        For each kind of `KINDS`, under its name:

        - "captions": the captions against all references of their images;
        - "captions_left_out": the captions with each reference left out in turn, for comparison with the next;
        - "people_left_out": each reference against the others of its image.

        Each has "named" (captions that name something of the kind), "contradicted", "unconfirmed", "confirmed" (counts
        that add up to "named"), "share" (contradicted of named, None if nothing is named) and "interval", Wilson's 95%
        interval of the share. Its trials are images, since captions of one image are not independent.

    Raises:
        InputError: the numbers of captions and lists of references differ.
    """
    if len(captions) != len(references):
        raise InputError(f"There are {len(captions)} captions but {len(references)} lists of references.")
    return {kind.name: _count(kind, captions, references) for kind in KINDS}


def _count(kind: Kind, captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    rows = [
        (kind.claims(caption), [kind.claims(reference) for reference in row])
        for caption, row in zip(captions, references, strict=True)
    ]
    return {
        "captions": _tally([[judge(kind, claims, row)] for claims, row in rows]),
        "captions_left_out": _tally(
            [[judge(kind, claims, others) for _, others in _left_out(row)] for claims, row in rows]
        ),
        "people_left_out": _tally([[judge(kind, one, others) for one, others in _left_out(row)] for _, row in rows]),
    }


def _left_out(row: Sequence[Claims]) -> Iterator[tuple[Claims, list[Claims]]]:
    """Yield each reference with the others; nothing if there is only one."""
    for place, one in enumerate(row if len(row) > 1 else ()):
        yield one, [*row[:place], *row[place + 1 :]]


def _tally(pictures: Sequence[Sequence[Verdict | None]]) -> dict[str, Any]:
    counted = Counter(verdict for picture in pictures for verdict in picture if verdict)
    named = counted.total()
    share = counted["contradicted"] / named if named else None
    return {
        "named": named,
        **{verdict: counted[verdict] for verdict in VERDICTS},
        "share": share,
        "interval": None if share is None else wilson(share, sum(any(picture) for picture in pictures)),
    }


def wilson(share: float, trials: int) -> list[float]:
    """Return [low, high], the 95% interval of a share (Wilson 1927, "Probable inference", JASA 22).

    scipy's version needs whole counts; here the trials are images, and a share of their captions may not be whole.
    """
    z = 1.959964
    centre = share + z * z / (2 * trials)
    reach = z * sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # At 0 and 1 the share is an end of its interval, and rounding must not exclude it.
    return [max(0.0, min(share, (centre - reach) / scale)), min(1.0, max(share, (centre + reach) / scale))]
