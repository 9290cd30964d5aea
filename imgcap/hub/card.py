"""Write the model card beside a checkpoint: measured numbers, recipe, provenance and terms."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from imgcap.data import FLICKR8K
from imgcap.inference.engines.manifest import read_check
from imgcap.inference.judging.confidence import EXPECTED_CIDER, LOG_PROBABILITY, PROBABILITY, Curve
from imgcap.inference.judging.expected_ngrams import FILE as NGRAMS
from imgcap.inference.judging.expected_ngrams import MORE_BEAMS

MODEL, DATA = "<this model>", "<its data>"
"""Placeholders for the ids in a card and its script, until they are pushed."""

TEMPLATE = """---
{{ card_data }}
---

# imgcap {{ config.decoder }}: {{ config.encoder }} + LSTM captions

Writes an English sentence for a photograph: a torchvision {{ config.encoder }} without its classifier, and an LSTM
decoder of kind `{{ config.decoder }}` with {{ config.vocab_size }} words. Trained on {{ data.title }} with
imgcap, whose app refuses blurred images before they reach this model.

## Use

```python
from transformers import pipeline

captioner = pipeline("image-text-to-text", model="<this model>", trust_remote_code=True)
captioner("photo.jpg", text="")
```

It needs transformers 5 or newer, and a torchvision of the same release as torch (`pip install -U transformers torch
torchvision`): transformers 4 cannot load it, and a torchvision that does not fit torch stops with `operator
torchvision::nms does not exist`. `trust_remote_code=True` runs the Python files beside the weights; read them first.

## Measured

Validation split of {{ data.title }} ({{ scores.n }} images), captions as imgcap shows them (beam {{ beams }}, its rules
of wording{% if ngrams %}, n-grams that it predicts from the image{% endif %}, and its choice among the captions found;
`generate()` alone has a beam of {{ generated }} only), raw references, PTB tokens, CIDEr-D with the split's own
document frequencies; 95% bootstrap intervals over images.

| metric | value | 95% interval |
|---|---|---|
{{ rows }}

{% if variety %}{{ variety }}

{% endif %}On the Hub, `reproduce.py` beside the weights measures them again with the code in `code/`, and compares:

```bash
uv run https://huggingface.co/<this model>/resolve/main/reproduce.py
```

`python reproduce.py` does the same where the packages named at its head are installed.{{ exported }}

## How it was made

{{ provenance }}

`python train.py recipe.yaml` with:

```yaml
{{ recipe }}```

The whole log is in `log.jsonl`, the scores in `scores.json`.

## Limits

{% if data.flickr8k -%}
It knows what Flickr8k's six thousand training photographs show: dogs, people, sport, water, snow. For other subjects
it writes the nearest thing that it knows, just as fluently. Do not rely on it where a wrong description can do harm.
{%- else -%}
It knows what its training images show. For other subjects it writes the nearest thing that it knows, just as fluently.
Do not rely on it where a wrong description can do harm.
{%- endif %}

Of its captions of these validation images, {{ share(mistakes["sex"].captions) }} of those that name somebody's sex are
contradicted by the references: some of them name a sex, but none this one. Of those that say how many people or dogs
there are, {{ share(mistakes["count"].captions) }} are contradicted; of those that name a colour,
{{ share(mistakes["colour"].captions) }}, which includes colours that people merely leave out, and
{{ share(mistakes["colour of the same thing"].captions) }} if only other colours of the very same thing count. The rules
compare words and do not look at the image, so some of this is noise. The last two columns measure the noise: they
compare the model's captions, and people's own, with the image's other references by the same rules.

| kind | captions that name it | contradicted | share | against one reference fewer | people |
|---|---|---|---|---|---|
{%- for kind, groups in mistakes.items() %}
| {{ kind }} | {{ groups.captions.named }} | {{ groups.captions.contradicted }} | {{ share(groups.captions) }} |
{{- " " }}{{ share(groups.captions_left_out) }} | {{ share(groups.people_left_out) }} |
{%- endfor %}

In brackets are Wilson's 95% intervals. The rules are in `imgcap/evaluation/mistakes.py`, all counts in `mistakes.json`.

## Terms

{% if data.flickr8k -%}
Flickr8k (M. Hodosh, P. Young, J. Hockenmaier, 2013, Framing Image Description as a Ranking Task, JAIR 47) is for
research and education only, and so is this checkpoint. The photographs belong to their Flickr owners and are not part
of it.
{%- else -%}
The terms of its training data hold for this checkpoint too: name them here before you give it to others.
{%- endif %}
"""


CONFIDENCE = """## Confidence

A caption's confidence is 1 / (1 + exp(-({slope:.4f} x + {intercept:.4f}))), where x is {value}: the
share of such captions whose CIDEr-D is at least .5. It was fitted on the even rows of the validation split ({fitted_on}
captions of normal length) and judged on the odd ones ({n}, of which {share:.0%} reach .5):
expected calibration error {ece:.3f} over {bins} bins of equally many captions, where chance alone would give a perfect
one {ece_by_chance:.3f}.

| captions | mean confidence | share with CIDEr-D of at least .5 |
|---|---|---|
{rows}
"""


VALUES = {
    PROBABILITY: "the geometric mean of the probabilities of its tokens, the end token among them",
    LOG_PROBABILITY: "the mean log-probability of its tokens, the end token among them",
    EXPECTED_CIDER: "the CIDEr-D that the n-grams predicted from the image let expect",
}
"""What a curve maps, by its kind."""


def with_confidence(card: str, report: Mapping[str, Any]) -> str:
    """Return a card with a section on how reliable the model's confidence is, which replaces an older section.

    Args:
        card: the card's text.
        report: the result of `imgcap.evaluation.confidence.calibrate`.
    """
    rows = "\n".join(f"| {row['n']} | {row['confidence']:.2f} | {row['share']:.2f} |" for row in report["bins"])
    value = VALUES[Curve.read(report).of]
    section = CONFIDENCE.format(**{**report, "bins": len(report["bins"]), "rows": rows, "value": value})
    card = re.sub(r"^## Confidence\n.*?(?=^## )", "", card, flags=re.DOTALL | re.MULTILINE)
    return card.replace("## How it was made\n", f"{section}\n## How it was made\n", 1)


def write_confidence(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a calibration into the card of the captioner in a folder, if the folder has a card.

    Args:
        folder: folder of a captioner.
        report: the result of `imgcap.evaluation.confidence.calibrate`.
    """
    path = folder / "README.md"
    if path.is_file():
        path.write_text(with_confidence(path.read_text(), report))


def write_card(folder: Path) -> None:
    """Write `README.md`, the card, into the folder of a finished captioner.

    It is made from the files that training wrote there: recipe.yaml, scores.json, mistakes.json, provenance.md, the
    configuration, confidence.json if the captioner is calibrated, and the scores of its exported files.

    Args:
        folder: folder of the captioner.
    """
    from omegaconf import OmegaConf  # only training installs it, and pushing does not need it

    from imgcap.model import ImgcapConfig

    config = ImgcapConfig.from_pretrained(folder)
    scores, mistakes = (json.loads((folder / name).read_text()) for name in ("scores.json", "mistakes.json"))
    generated = json.loads((folder / "generation_config.json").read_text())["num_beams"]
    ngrams = (folder / NGRAMS).is_file()
    data = _TrainingData.of(OmegaConf.to_container(OmegaConf.load(folder / "recipe.yaml")))
    metrics = list(scores["intervals"])
    results = [
        EvalResult(
            task_type="image-to-text", dataset_type=data.id or "own", dataset_name=data.title,
            dataset_split="validation", metric_type=name.lower(), metric_name=name, metric_value=scores[name],
        )
        for name in metrics
        if scores[name] is not None
    ]  # fmt: skip
    metadata = ModelCardData(
        language="en", license="other", license_name=data.license_name, library_name="transformers",
        pipeline_tag="image-text-to-text", tags=["image-captioning", "lstm", config.encoder],
        datasets=[data.id] if data.id else None, model_name=f"imgcap {config.decoder}", eval_results=results,
    )  # fmt: skip
    card = ModelCard.from_template(
        metadata, template_str=TEMPLATE, config=config, scores=scores, generated=generated,
        beams=generated * (MORE_BEAMS if ngrams else 1), ngrams=ngrams, mistakes=mistakes, share=_share,
        variety=_variety(scores), data=data, exported=_exported(read_check(folder)),
        provenance=(folder / "provenance.md").read_text().rstrip(),
        recipe=(folder / "recipe.yaml").read_text(), rows="\n".join(_row(name, scores) for name in metrics),
    )  # fmt: skip
    text, confidence = str(card), folder / "confidence.json"
    if confidence.is_file():
        text = with_confidence(text, json.loads(confidence.read_text()))
    (folder / "README.md").write_text(text.rstrip("\n") + "\n")


@dataclass(frozen=True)
class _TrainingData:
    """The data set's names in a card.

    id: id on the Hub; empty if the data set is only a local folder.
    title: name for use in a sentence.
    """

    id: str
    title: str

    @classmethod
    def of(cls, recipe: Any) -> "_TrainingData":
        """Return the data set of a recipe: `data_id` names a folder's content, and other `data` is an id itself."""
        data, named = str(recipe["data"]), str(recipe.get("data_id") or "")
        known = named or ("" if Path(data).exists() else data)
        return cls(known, "Flickr8k" if known == FLICKR8K else f"`{known}`" if known else "a data set of its owner")

    @property
    def flickr8k(self) -> bool:
        return self.id == FLICKR8K

    @property
    def license_name(self) -> str:
        return "flickr8k-research-only" if self.flickr8k else "terms-of-the-training-data"


def _exported(check: Mapping[str, Any] | None) -> str:
    """Return an empty line and the paragraph on the ONNX files; "" if none were checked."""
    if check is None:
        return ""
    kinds = [f"{check[name]:.3f} {words}" for name, words in _ENGINES.items() if name in check]
    same = f" The int8 files write {check['same']:.0%} of the captions to the letter." if "same" in check else ""
    return (
        f"\n\n`onnx/` holds the captioner for ONNX Runtime. With the same search, CIDEr-D of {check['n']} validation "
        f"images is {', '.join(kinds[:-1])} and {kinds[-1]} (`imgcap export --check`).{same}"
    )


_ENGINES = {"torch": "in PyTorch", "float32": "from float32 files", "int8": "from int8 files"}


def _variety(scores: Mapping[str, Any]) -> str:
    """Return the sentence on variety; empty for older scores, which lack it."""
    if "variety" not in scores:
        return ""
    captions, people = scores["variety"]["captions"], scores["variety"]["people"]
    return fill(
        "How varied the captions are, with people's own of the same images in brackets: "
        f"{captions['distinct']:.0%} ({people['distinct']:.0%}) are different ones; "
        f"they use {captions['words']:.0f} ({people['words']:.0f}) words, "
        f"{captions['length']:.1f} ({people['length']:.1f}) in each; "
        f"{captions['in_commonest_templates']:.0%} ({people['in_commonest_templates']:.0%}) follow the five "
        "commonest templates, which are captions without their nouns, verbs and other content words.",
        width=120,
    )


def _row(name: str, scores: Mapping[str, Any]) -> str:
    if scores[name] is None:
        return f"| {name} | needs Java | |"
    interval = scores["intervals"].get(name)
    return f"| {name} | {scores[name]:.3f} | {f'{interval[0]:.3f} to {interval[1]:.3f}' if interval else ''} |"


def _share(tally: Mapping[str, Any]) -> str:
    if tally["share"] is None:
        return "none named"
    low, high = tally["interval"]
    return f"{tally['share']:.1%} ({low:.1%} to {high:.1%})"
