"""Clean captions, and build the word-level tokenizer from them."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before transformers, which imports torchvision

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, START, END, UNK = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL_TOKENS = (PAD, START, END, UNK)  # their positions are their ids, which are also ImgcapConfig's defaults

# Latin letters that Unicode does not decompose into a plain letter and an accent, in lower case.
LATIN = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i"}  # noqa: RUF001

# The tokenizer's own normaliser does the cleaning, so that training, tokenizer.json and clean_caption cannot differ.
# Apostrophes and hyphens inside words stay ("man's", "t-shirt"); all other punctuation is removed.
CLEANER = normalizers.Sequence(
    [
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        *(normalizers.Replace(letter, plain) for letter, plain in LATIN.items()),
        normalizers.Replace(Regex("[\u2018\u2019\u0060\u00b4]"), "'"),
        normalizers.Replace(Regex("[^a-z0-9'-]+"), " "),
        normalizers.Replace(Regex("(?<![a-z0-9])['-]+|['-]+(?![a-z0-9])"), " "),
        normalizers.Replace(Regex(" +"), " "),
        normalizers.Strip(),
    ]
)
_PLAIN = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])


def clean_caption(text: str) -> str:
    """Return a caption in lower case, without accents, punctuation and noise, with one space between words."""
    return str(CLEANER.normalize_str(text))


def lost_letters(text: str) -> str:
    """Return the letters that `clean_caption` would remove because they cannot be written in a to z."""
    plain = _PLAIN.normalize_str(text)
    return "".join(c for c in plain if c.isalpha() and not c.isascii() and c not in LATIN)


def build_tokenizer(captions: Iterable[str], min_count: int = 5) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of the words that occur at least `min_count` times, the most frequent first.

    Encoding puts the start token in front and no end token behind, as generation needs it; the collator adds the end.
    """
    counts = Counter(word for caption in captions for word in clean_caption(caption).split())
    words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = CLEANER
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # joins words by one space
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, vocabulary[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END, unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
