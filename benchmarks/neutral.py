"""Measure how often captions name the wrong sex, for several bounds of sureness: `python -m benchmarks.neutral`.

For each bound on how sure the model must be, the table gives the share of captions that name a sex; of those, the share
that the references contradict (`imgcap/evaluation/mistakes.py`), with Wilson's 95% interval; and CIDEr-D.
"""

import argparse

from imgcap.data import FLICKR8K
from imgcap.data.loading import load_rows
from imgcap.evaluation.engines import prepare_batches
from imgcap.evaluation.metrics import cider_of_each
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.inference.engines.choice import open_engine
from imgcap.inference.files import describe, find_folder
from imgcap.inference.judging.neutral import SexWords, names_sex, without_sex
from imgcap.inference.writer import Writer
from imgcap.settings import Settings

BOUNDS = (0.0, 0.7, 0.8, 0.9, 0.95, 0.98, 1.01)


def main() -> None:
    """Caption the validation images once, reword them by each bound, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=Settings().model, help="folder or Hub id of the captioner")
    parser.add_argument("--data", default=FLICKR8K, help="folder or Hub id of the data set")
    parser.add_argument("--limit", type=int, help="use only this many images")
    options = parser.parse_args()
    description = describe(find_folder(options.model), options.model)
    engine, _ = open_engine(description, "auto", options.model)
    writer, words = Writer(engine, description), SexWords(description.vocabulary)
    rows = load_rows(options.data, "validation", options.limit)
    captions: list[str] = []
    sureness: list[float] = []
    for pixels in prepare_batches(writer, rows, "validation images"):
        draft = writer.write(pixels, "normal")
        texts = [beams[0].text for beams in draft.beams]
        tokens = [description.vocabulary.encode([text]) for text in texts]
        captions += texts
        sureness += [
            float(row[0]) for row in words.sureness(engine, draft.encoding.grid, tokens, description.search.start)
        ]
    print(f"{engine.description}, {len(rows)} validation images\n")
    print("| sure at least | images | name a sex | contradicted | of those | 95% interval | CIDEr |")
    print("|---|---|---|---|---|---|---|")
    for bound in BOUNDS:
        worded = [
            without_sex(text) if sure < bound and names_sex(text) else text
            for text, sure in zip(captions, sureness, strict=True)
        ]
        cider = cider_of_each(worded, rows.captions)
        for half, name in ((slice(0, None, 2), "even"), (slice(1, None, 2), "odd")):
            references = rows.captions[half]
            tally = count_mistakes(worded[half], references)["sex"]["captions"]
            low, high = tally["interval"] or (0.0, 1.0)
            cells = [
                f"{bound:.2f}", name, f"{tally['named'] / len(references):.1%}", str(tally["contradicted"]),
                f"{tally['contradicted'] / max(tally['named'], 1):.1%}", f"{low:.1%} to {high:.1%}",
                f"{cider[half].mean():.3f}",
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
