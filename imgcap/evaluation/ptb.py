r"""Split captions into Penn Treebank tokens, as COCO's caption evaluation does.

`tokenize` returns the result of pycocoevalcap's `PTBTokenizer`: the tokens of Stanford CoreNLP 3.4.1's tokenizer with
`-lowerCase`, without COCO's list of punctuation. That program is a Java archive. This module is a Python lexer of the
same language, written from the archive's output (which words keep their full stop, where an apostrophe splits, ...), so
that scores need no Java; tests/evaluation/test_ptb.py compares it with the archive.

It covers English captions in Latin letters with any ASCII and common typographic characters. It may differ from the
archive in other scripts, in runs of mixed curly quotes and after an abbreviation joined to the next word ("etc.x").
"""
# ruff: noqa: RUF001  # a tokenizer must distinguish look-alike characters

import re

_A = "['’\x92]"  # an apostrophe
_L = r"(?:[^\W\d_²³¹¼½¾\u2070-\u218f]|[\u0300-\u036f\xad])"  # a letter, a combining mark or a soft hyphen
_W = rf"(?:{_L}|[0-9])"
_EN = "(?![A-Za-z])"

_SPLIT_WORDS = (("can", "not"), ("gim", "me"), ("gon", "na"), ("got", "ta"), ("lem", "me"), ("wan", "na"))
_ABBREVIATIONS = (
    "adj adm adms adv al ala alex apr ariz assn assoc asst atty attys aug ave bancorp bhd bldg blvd brig bros calif "
    "capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla "
    "fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs "
    "mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph ph.d plc ppte "
    "pptes ppty pptys pres prof profs pte ptes pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr "
    "st ste supt supts sys tel tenn thu thurs treas tue tues univ va vs vt wed wis wisc wm wyo"
)
_CAPITALISED_ABBREVIATIONS = "Az Ark Del Ill La Mass Miss Ore Pa Tex Wash"
_ABBREVIATIONS_BEFORE_A_NUMBER = "art ca fig figs no nos op pp prop"
_SENTENCE_STARTERS = (
    "A About According After An As At But He Her Here However If In It Last Many More Now Once One Other Our She Since "
    "So Some Such That The Their Then There These They This We What When While Yet You"
)


def _cases(words: str) -> str:
    """Return a pattern of the words as given, capitalised and in capitals, longest first."""
    forms = {form for word in words.split() for form in (word, word.capitalize(), word.title(), word.upper())}
    return "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))


_ABBREVIATION = f"(?:{_cases(_ABBREVIATIONS)}|{_cases(_CAPITALISED_ABBREVIATIONS)})"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+"
_TAG_NAME = r"[A-Za-z][A-Za-z0-9_:.-]*"
_WORD = rf"{_L}{_W}*(?:[.!?]{_L}{_W}*)*"
_HYPHENATED = rf"(?:[dDoOlL]{_A}{_L})?{_W}+(?:[-_‐‑](?:[dDoOlL]{_A}{_L})?{_W}+)*"
_HOST = "[^\\s\"`'<>|!?(){}$,-_]+"  # the range from , to _ leaves out capitals and digits, as the original does
_PATH = r"/[^\s\"<>|()]+[^\s\"<>|.!?(){},-]"

# Every rule is tried at each position: the longest match wins, and among equals the earliest. If a rule has a group,
# the group is the token, and the rest is context that counts towards the length.
_RULES = tuple(
    re.compile(pattern)
    for pattern in (
        # mark-up and addresses
        rf"<[!?][A-Za-z-][^>]*>|</?{_TAG_NAME}(?: +{_TAG_NAME}(?: *= *(?:\"[^\"]*\"|'[^']*'|{_TAG_NAME}))?)* */?>",
        r"(?i:&(?:lt|gt|nbsp|quot|mdash|ndash|#[0-9]+|[a-z](?:acute|grave|uml|circ|tilde|cedil));)",
        rf"(?i:https?):/{_PATH}",
        rf"(?:[wW]{{3}}\.(?:[^\s\"<>|.!?(){{}},]+\.)+[A-Za-z]{{2,4}}|(?:{_HOST}\.)+(?:com|net|org|edu))(?:{_PATH})?",
        r"<?[A-Za-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?",
        rf"@[A-Za-z_][A-Za-z0-9_]*|#{_L}+",
        # words that split, and apostrophes
        *(rf"((?i:{first}))(?i:{second})(?!{_A}?[A-Za-z])" for first, second in _SPLIT_WORDS),
        rf"({_A}[tT])(?i:is|was)",
        rf"([A-Za-z]*[A-MO-Za-mo-z])[nN](?:{_A}|`)[tT]",
        rf"[nN](?:{_A}|`)[tT]",
        rf"([A-Za-z]+)'(?i:[smd]|re|ve|ll){_EN}",
        rf"'(?i:[smd]|re|ve|ll){_EN}|[’\x92](?i:[smd]|re|ve|ll)",
        rf"[lLdDjJ]{_A}|y{_A}(?=[A-Za-z])|Y{_A}(?=[a-z])|(?i:ol|somethin|dunkin){_A}",
        rf"{_A}(?i:em|till?|cause|[2-9]0s)|{_A}[nN]{_A}",
        rf"({_A}(?:[nN]|[0-9]{{2}}))(?:\s|$)",
        rf"(?i:[eo]{_A}er|ev{_A}ry|c{_A}mon|s{_A}mores|nor{_A}easter)",
        rf"[A-HJ-XZdnol](?:{_A}|`){_L}{{2,}}|{_L}+[aeiouyAEIOUY](?:{_A}|`)[aeiouA-Z]{_L}*",
        # words
        _WORD,
        _HYPHENATED,
        rf"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:{_ACRONYM}\.|{_W}+))+",
        rf"{_W}+(?:-{_L}+){{0,2}}(?:\\?/{_W}+(?:-{_L}+){{0,2}}){{1,2}}",
        r"[A-Z]+(?:[+&][A-Z]+)+|[cC]\+\+|[cCfF]#",
        # full stops that stay with their word
        rf"([A-Za-z])\.\s+(?:{_SENTENCE_STARTERS.replace(' ', '|')})(?:\s|$)",
        rf"{_ABBREVIATION}\.|{_ACRONYM}\.|[A-Za-z]\.",
        rf"((?:{_cases(_ABBREVIATIONS_BEFORE_A_NUMBER)})\.)\s?[0-9]",
        rf"((?:{_WORD}|{_HYPHENATED})\.)[,;:]",
        # numbers and money
        r"[-+]?(?:[0-9]*(?:[.:,][0-9]+)+|[0-9]+)",
        r"[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}",
        r"[0-9]{1,4}(?:[- ]?[0-9]{1,4})?(?:\\?/|⁄)[0-9]{1,4}",
        r"\([0-9]{2,3}\) ?[0-9]{3,4}[- ]?[0-9]{3,5}",
        r"(?:\+\+?)?(?:[0-9]{2,4}[- ])?[0-9]{2,4}[- ][0-9]{3,4}[- ]?[0-9]{3,5}",
        r"[A-Z]+\$",
        # faces, runs, single characters
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])|-_-|[Oo]_[Oo]|\^_\^|>_<|[Tt]_[Tt]|=_=",
        r"[!?]+|\*+|_+|@+|#+|<<|>>|-{2,}|\.{3,}|\. \. \.|''|``|[‘’“”]{2}|\\\*",
        r"\S",
    )
)

# Most of a caption: words that no rule could make longer, and separate full stops and commas.
_PLAIN = re.compile(r"([A-Za-z]{2,})(?:,?(?=\s)|[.,]?$)|a(?=\s)|[.,](?= [A-Za-z]|$)")
_NOT_PLAIN = frozenset("".join(word) for word in _SPLIT_WORDS) | frozenset(
    f"{_ABBREVIATIONS} {_CAPITALISED_ABBREVIATIONS}".lower().split()
)

_ENTITIES = re.compile(r"(?i:&amp;|&apos;)")
_CLITIC = re.compile(rf"(?i:{_A}(?:[smd]|re|ve|ll)|n{_A}t)")
_SPELLINGS = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "&lt;": "<", "&gt;": ">",
    "£": "#", "€": "$", "¤": "$", "\x80": "$", "₠": "$", "₢": "$", "₮": "$", "¢": "cents",
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
}  # fmt: skip
# COCO's list also names "-LRB-" and the other brackets, but the tokenizer lower-cases them, so they are not removed.
_REMOVED = re.compile(
    r"[.?!,:;'\"`‘’‛“”«»‹›…–—―\x85\x91-\x94\x96\x97※\xad-]|-{2,4}|\.[. ]+|''|``|’’|‘‘|(?i:&(?:nbsp|quot|mdash|ndash);)"
)
_WRITTEN = re.compile(
    rf"[!-~£€¤\x80₠₢₮¢½¼¾⅓⅔]|{_W}"
    r"|[¡¥-©¬®-¹¿×÷˂-˅˒-˟˥-˫˭˯-˿‖‗‚„-•‰-‸※‾-⁂⁄⁰-₎₤℀-⅏⅕-⅞←-➓➔-⯿、。〒！-／：-＠［-｀｛-･]"
)
_IN_TOKENS = str.maketrans({"(": "-lrb-", ")": "-rrb-", " ": "\xa0", "\xad": None})
_IN_CURLY_QUOTES = str.maketrans({"‘": "`", "’": "'", "“": "``", "”": "''"})


def tokenize(caption: str) -> str:
    """Return a caption's tokens in lower case without punctuation, joined by single spaces.

    A token that contains a space ("1 1/2", a telephone number) has a no-break space there, as in the original.
    Characters that the original cannot tokenize (emoji) are left out. An empty caption gives an empty string.
    """
    text = _ENTITIES.sub(lambda entity: "&" if "m" in entity[0].lower() else "'", " ".join(caption.split()))
    tokens: list[str] = []
    place = 0
    while place < len(text):
        plain = _PLAIN.match(text, place)
        word = plain[0].rstrip(".,").lower() if plain else ""
        if plain and word not in _NOT_PLAIN:
            tokens.append(word)
            place = plain.end()
        elif text[place] == " ":
            place += 1
        else:
            end = _token_end(text, place)
            tokens.append(_spelling(text[place:end]))
            place = end
    return " ".join(filter(None, tokens))


def _token_end(text: str, start: int) -> int:
    """Return the end of the token that starts at `start`, which must not be a space."""
    longest, end = start, start
    for rule in _RULES:
        found = rule.match(text, start)
        if found and found.end() > longest:
            longest, end = found.end(), found.end(found.lastindex or 0)
    return end


def _spelling(token: str) -> str:
    """Return a token as the original tokenizer spells it, empty if COCO's evaluation leaves it out."""
    if _REMOVED.fullmatch(token) or (len(token) == 1 and not _WRITTEN.match(token)):
        return ""
    if _CLITIC.fullmatch(token):
        return re.sub(_A, "'", token).lower()
    if len(token) == 2 and not token.strip("‘’“”"):
        return token.translate(_IN_CURLY_QUOTES)
    return _SPELLINGS.get(token.lower()) or token.lower().translate(_IN_TOKENS)
