"""Write a data set's card: the numbers of its images and captions, and statistics of the captions."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from imgcap.data.loading import CaptionedImages, load_rows
from imgcap.data.vocabulary import clean_caption
from imgcap.errors import InputError
from imgcap.hub.push import Content, one_sentence

SPLITS = ("train", "validation", "test")
BEGIN, END = "<!-- written by imgcap -->", "<!-- end -->"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SECTION = """## Images and captions

| split | images | captions | captions an image | words a caption |
|---|---|---|---|---|
{rows}

The training captions have {words} different words after cleaning, of which {rare} occur once. The most frequent ones:
{frequent}.

```python
from datasets import load_dataset

rows = load_dataset("{repo}", split="{split}")
```

A captioner is trained on it by `python train.py configs/attention.yaml data={repo}` of imgcap.
"""


def dataset_content(api: HfApi, repo: str, source: str) -> Content:
    """Return the card of a data set of images with captions, as its repository's README.md.

    An existing card keeps its text and its front matter, which `datasets` reads; only the section between the two marks
    is replaced.

    Args:
        api: reads the existing card.
        repo: id of the data set on the Hub.
        source: folder or Hub id of the images and captions to count.

    Raises:
        InputError: the data set cannot be read, or has none of the three splits.
    """
    splits = _load_splits(source)
    card = DatasetCard(_present_card(api, repo) or f"---\n{{}}\n---\n\n# {repo.rpartition('/')[2]}\n")
    total = sum(map(len, splits.values()))
    size = next((name for bound, name in SIZES if total < bound), "n>1M")
    ours = {"task_categories": ["image-to-text"], "language": ["en"], "size_categories": [size]}
    for name, value in ours.items():
        if not card.data.get(name):
            card.data[name] = value
    card.text = _with_section(card.text, _describe(repo, splits))
    return Content("dataset", {"README.md": f"{str(card).rstrip()}\n".encode()})


def _load_splits(source: str) -> dict[str, CaptionedImages]:
    splits, problem = {}, None
    for name in SPLITS:
        try:
            splits[name] = load_rows(source, name)
        except InputError as error:
            if "has no split" not in str(error):
                raise
            problem = error
    if not splits and problem is not None:
        raise problem
    return splits


def _present_card(api: HfApi, repo: str) -> str:
    with one_sentence(repo, "dataset"):
        try:
            return Path(api.hf_hub_download(repo, "README.md", repo_type="dataset")).read_text()
        except (EntryNotFoundError, RepositoryNotFoundError):
            return ""


def _describe(repo: str, splits: Mapping[str, CaptionedImages]) -> str:
    rows = "\n".join(f"| {name} | {_counts(images)} |" for name, images in splits.items())
    split = "train" if "train" in splits else next(iter(splits))
    counts = Counter(word for row in splits[split].captions for text in row for word in clean_caption(text).split())
    return SECTION.format(
        rows=rows, repo=repo, split=split, words=len(counts), rare=sum(count == 1 for count in counts.values()),
        frequent=", ".join(word for word, _ in counts.most_common(10)),
    )  # fmt: skip


def _counts(images: CaptionedImages) -> str:
    lengths = [len(clean_caption(text).split()) for row in images.captions for text in row]
    each: Any = Counter(len(row) for row in images.captions)
    captions = str(min(each)) if len(each) == 1 else f"{min(each)} to {max(each)}"
    return f"{len(images)} | {len(lengths)} | {captions} | {sum(lengths) / len(lengths):.1f}"


def _with_section(text: str, section: str) -> str:
    marked = f"{BEGIN}\n{section.rstrip()}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return f"{text.rstrip()}\n\n{marked}"
    return f"{before}{marked}{rest.partition(END)[2].lstrip()}"
