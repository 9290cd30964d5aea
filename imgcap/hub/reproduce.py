# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Score this captioner again, and compare with its card: `uv run reproduce.py`, or `python reproduce.py`.

It downloads the captioner with the code that scored it, and the data set, from the Hub. METEOR needs Java and is left
out without it.

usage: reproduce.py [--data FOLDER_OR_ID] [--revision REVISION]
"""

import argparse
import json
import sys
from pathlib import Path

from huggingface_hub import snapshot_download

MODEL = "<this model>"
DATA = "<its data>"
TOLERANCE = 0.005
"""Processors round differently, which changes a few captions."""


def main() -> None:
    """Print each metric as published and as measured now; exit with status 1 if one differs by more than TOLERANCE."""
    parser = argparse.ArgumentParser(description="Score this captioner again, and compare with its card.")
    parser.add_argument("--data", default=DATA, required=not DATA, help="folder or Hub id of the data set")
    parser.add_argument("--revision", default="main", help="of the captioner")
    options = parser.parse_args()
    folder = Path(snapshot_download(MODEL, revision=options.revision))
    sys.path.insert(0, str(folder / "code"))
    from imgcap.evaluation.run import evaluate

    published = json.loads((folder / "scores.json").read_text())
    measured = evaluate(str(folder), options.data, published["split"], published["n"])
    wrong = 0
    print(f"{MODEL}, {published['split']} split of {options.data}, {measured['n']} images")
    print(f"{'metric':8} {'published':>9} {'now':>9}")
    for name in published["intervals"]:
        before, now = published[name], measured[name]
        if before is None or now is None:
            print(f"{name:8} needs Java")
            continue
        differs = abs(now - before) > TOLERANCE
        wrong += differs
        print(f"{name:8} {before:9.4f} {now:9.4f}  {'differs' if differs else 'the same'}")
    raise SystemExit(1 if wrong or measured["n"] != published["n"] else 0)


if __name__ == "__main__":
    main()
