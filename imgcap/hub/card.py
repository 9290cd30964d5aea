"""The model card that train.py writes beside a checkpoint: measured numbers, recipe, provenance, terms."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from imgcap.model import ImgcapConfig

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")

TEMPLATE = """---
{{ card_data }}
---

# imgcap {{ config.decoder }}: {{ config.encoder }} + LSTM captions

Writes an English sentence for a photograph: a torchvision {{ config.encoder }} without its classifier, and an LSTM
decoder of kind `{{ config.decoder }}` with {{ config.vocab_size }} words. Trained on Flickr8k with
imgcap, whose app refuses blurred pictures before they reach this model.

## Use

```python
from transformers import pipeline

captioner = pipeline("image-text-to-text", model="<this model>", trust_remote_code=True)
captioner("photo.jpg", text="")
```

## Measured

Validation split of Flickr8k ({{ scores.n }} pictures), beam {{ beams }}, raw references, PTB tokens, CIDEr-D with the
split's own document frequencies; 95% bootstrap intervals over pictures.

| metric | value | 95% interval |
|---|---|---|
{{ rows }}

The test split is touched only by `python -m imgcap evaluate --model <this model> --split test --json`.

## How it was made

{{ provenance }}

`python train.py recipe.yaml` with:

```yaml
{{ recipe }}```

The whole log is in `log.jsonl`, the scores in `scores.json`.

## Limits

It knows what Flickr8k's six thousand training photographs show: dogs, people, sport, water, snow. Elsewhere it says
the nearest thing it knows, with the same assurance. It must not be relied on where a wrong description can do harm.

Of its captions of these validation pictures, {{ share(mistakes["sex"].captions) }} of those that name somebody's sex
are contradicted by the references: some of them name a sex, but never this one. Of those that say how many people or
dogs there are it is {{ share(mistakes["count"].captions) }}; of those that name a colour
{{ share(mistakes["colour"].captions) }}, colours that people only leave out among them, and
{{ share(mistakes["colour of the same thing"].captions) }} where the references give the very thing another colour.
Words are compared, not pictures, so some of this is noise. How much, people tell: the last two columns hold the
model's captions and people's own against a picture's other references, by the same rules.

| kind | captions that name it | contradicted | share | the same, one reference less | people |
|---|---|---|---|---|---|
{%- for kind, groups in mistakes.items() %}
| {{ kind }} | {{ groups.captions.named }} | {{ groups.captions.contradicted }} | {{ share(groups.captions) }} |
{{- " " }}{{ share(groups.captions_left_out) }} | {{ share(groups.people_left_out) }} |
{%- endfor %}

In brackets, Wilson's 95% intervals. The rules stand in `imgcap/evaluation/mistakes.py`, all counts in `mistakes.json`.

## Terms

Flickr8k (M. Hodosh, P. Young, J. Hockenmaier, 2013, Framing Image Description as a Ranking Task, JAIR 47) is for
research and education only, and so is this checkpoint. The photographs belong to their Flickr owners; none is here.
"""


CONFIDENCE = """## Confidence

A caption's confidence is 1 / (1 + exp(-({slope:.4f} x + {intercept:.4f}))), where x is the mean log-probability of its
tokens, the end token among them: the share of such captions whose CIDEr-D is at least .5. It was fitted on the even
rows of the validation split ({fitted_on} captions, default beam and length) and judged on the odd ones ({n}, of which
{share:.0%} reach .5): expected calibration error {ece:.3f} over {bins} bins of equally many captions, where chance
alone would give a perfect one {ece_by_chance:.3f}.

| captions | mean confidence | share with CIDEr-D of at least .5 |
|---|---|---|
{rows}
"""


def with_confidence(card: str, report: Mapping[str, Any]) -> str:
    """Return a card with a section on how reliable the model's confidence is; it replaces an older one.

    Args:
        card: the card's text.
        report: what `imgcap.evaluation.confidence.calibrate` returned.
    """
    rows = "\n".join(f"| {row['n']} | {row['confidence']:.2f} | {row['share']:.2f} |" for row in report["bins"])
    section = CONFIDENCE.format(**{**report, "bins": len(report["bins"]), "rows": rows})
    card = re.sub(r"^## Confidence\n.*?(?=^## )", "", card, flags=re.DOTALL | re.MULTILINE)
    return card.replace("## How it was made\n", f"{section}\n## How it was made\n", 1)


def write_confidence(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a calibration into the card of the captioner in a folder, if the folder has a card.

    Args:
        folder: of a captioner.
        report: what `imgcap.evaluation.confidence.calibrate` returned.
    """
    path = folder / "README.md"
    if path.is_file():
        path.write_text(with_confidence(path.read_text(), report))


def write_card(
    folder: Path, *, recipe: str, scores: Mapping[str, Any], config: ImgcapConfig, beams: int, provenance: str,
    mistakes: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write `README.md`, the card, into `folder`.

    Args:
        folder: where the checkpoint is.
        recipe: the recipe as YAML.
        scores: what `imgcap.evaluation.metrics.score` returned on the validation split, with `n`.
        config: the model's configuration.
        beams: the default beam's width.
        provenance: where the encoder's weights come from, as Markdown.
        mistakes: what `imgcap.evaluation.mistakes.count_mistakes` said of the same captions.
    """
    results = [
        EvalResult(
            task_type="image-to-text", dataset_type="jxie/flickr8k", dataset_name="Flickr8k",
            dataset_split="validation", metric_type=name.lower(), metric_name=name, metric_value=round(scores[name], 4),
        )
        for name in METRICS
        if scores[name] is not None
    ]  # fmt: skip
    data = ModelCardData(
        language="en", license="other", license_name="flickr8k-research-only", library_name="transformers",
        pipeline_tag="image-text-to-text", tags=["image-captioning", "lstm", config.encoder],
        datasets=["jxie/flickr8k"], model_name=f"imgcap {config.decoder}", eval_results=results,
    )  # fmt: skip
    card = ModelCard.from_template(
        data, template_str=TEMPLATE, config=config, scores=scores, beams=beams, provenance=provenance, recipe=recipe,
        rows="\n".join(_row(name, scores) for name in METRICS), mistakes=mistakes, share=_share,
    )  # fmt: skip
    card.save(folder / "README.md")


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


def read_provenance(init_from: str, encoder_weights: str) -> str:
    """Where the weights came from, for the card: a stage names the one before it, whose own card says the rest.

    A file of `encoder_weights` may have a README.md beside it; its text is quoted, since a file's name says nothing.
    """
    if init_from:
        return f"{_origin(Path(init_from))}Then trained on from the checkpoint `{Path(init_from).name}`.\n"
    weights = Path(encoder_weights)
    if weights.is_dir():
        return f"{_origin(weights)}Then the encoder alone was taken from the checkpoint `{weights.name}`.\n"
    if not weights.is_file():
        return (
            f"Encoder weights: torchvision's `{encoder_weights}`.\n"
            if encoder_weights != "none"
            else ("Encoder: random weights, no ImageNet.\n")
        )
    readme = weights.parent / "README.md"
    quoted = "".join(f"> {line}\n" for line in readme.read_text().splitlines()) if readme.is_file() else ""
    return f"Encoder weights: the file `{weights.name}`.\n\n{quoted}\n"


def _origin(captioner: Path) -> str:
    path = captioner / "provenance.md"
    return path.read_text() if path.is_file() else ""
