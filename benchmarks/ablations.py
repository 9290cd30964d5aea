"""Measure the effect of each choice: run the rows of a list, and make a table of their results.

python -m benchmarks.ablations run [--only ROW] [--only ROW] [key=value ...]
python -m benchmarks.ablations table

`run` trains each row that needs it (a stage of `train.py` in runs/ablations/<row>; key=value arguments apply to all
rows, for example data=FOLDER encoder_weights=FILE), scores its validation captions, and writes
docs/ablations/<row>.json. Finished rows are skipped until their run changes, interrupted rows are resumed, and a row
that fails does not stop the others. `table` needs only those files, and writes docs/ablations.md.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from scipy.stats import bootstrap

from imgcap.errors import InputError
from imgcap.settings import ROOT

MACHINE_KEYS = ("output", "data", "cache", "encoder_weights", "resume", "workers")  # of a recipe, but not of a result
COLUMNS = ("CIDEr", "BLEU-4", "METEOR")


@dataclass
class Row:
    """A line of the table; benchmarks/ablations.yaml explains the fields."""

    name: str
    what: str
    against: str = ""
    config: str = ""
    overrides: list[str] = field(default_factory=list)
    run: str = ""
    generate: dict[str, Any] = field(default_factory=dict)
    average: int = 0


@dataclass
class Group:
    """Rows under one heading."""

    title: str
    text: str
    rows: list[Row]


@dataclass
class Plan:
    """The list: groups in the order of running and showing, and the difference in CIDEr that two seeds can make."""

    seed_spread: float
    groups: list[Group]

    @property
    def rows(self) -> list[Row]:
        """All rows in order."""
        return [row for group in self.groups for row in group.rows]


def load_plan(path: Path) -> Plan:
    """Return the list of rows.

    Raises:
        InputError: the file does not exist, or is not a list of rows.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Plan), OmegaConf.load(path))
        plan = cast("Plan", OmegaConf.to_object(merged))
    except (OSError, OmegaConfBaseException) as error:
        raise InputError(f"The list {str(path)!r} cannot be read: {str(error).splitlines()[0]}") from error
    names = [row.name for row in plan.rows]
    for row in plan.rows:
        if names.count(row.name) > 1 or bool(row.config) == bool(row.run) or row.against not in ("", *names):
            raise InputError(f"Row {row.name!r} needs a name of its own, config or run, and a row to be against.")
    return plan


# Running


def run(plan: Plan, only: Sequence[str], settings: Sequence[str], runs: Path, results: Path) -> list[str]:
    """Write the result of each row that has none yet, and return the names of the rows that failed.

    Raises:
        InputError: `only` names a row that is not in the list.
    """
    if unknown := sorted(set(only) - {row.name for row in plan.rows}):
        raise InputError(f"The list has no row {unknown[0]!r}; it has {', '.join(row.name for row in plan.rows)}.")
    failed = []
    results.mkdir(parents=True, exist_ok=True)
    for row in plan.rows:
        if only and row.name not in only:
            continue
        folder = runs / row.name if row.config else Path(row.run)
        if read_result(results, row) and not _newer(folder / "scores.json", results / f"{row.name}.json"):
            print(f"{row.name}: done before")
            continue
        try:
            result = measure(row, folder, settings)
        except InputError as error:
            print(f"{row.name}: {error}", file=sys.stderr)
            failed.append(row.name)
            continue
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
        (results / f"{row.name}.json").write_text(f"{{\n{lines}\n}}\n")
        print(f"{row.name}: CIDEr {result['scores']['CIDEr']:.3f}")
    return failed


def read_result(results: Path, row: Row) -> dict[str, Any] | None:
    """Return the result that `run` wrote for this row; None if the row has no result or has changed since."""
    path = results / f"{row.name}.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return result if result and _made(result["row"]) == _made(asdict(row)) else None


def _made(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that decide a row's captions, without its description and the row it is compared with."""
    return {key: value for key, value in row.items() if key not in {"what", "against"}}


def _newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime > than.stat().st_mtime


def measure(row: Row, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Train the row in `folder` if necessary, and score its captions of the validation split.

    Returns:
        The row, its run's recipe and validation CIDEr by epoch, its scores, and CIDEr-D of each image.

    Raises:
        InputError: training failed, or the run has not finished.
    """
    from imgcap.evaluation import metrics
    from imgcap.training.recipe import in_effect, load_recipe

    if row.config:
        train(row, folder, settings)
    if not (folder / "scores.json").is_file():
        raise InputError(f"There is no finished run in {str(folder)!r}.")
    recipe = load_recipe(str(folder / "recipe.yaml"), settings)
    captions = write(row, folder, recipe)
    raw = validation(recipe.data, recipe.validation_pictures).captions
    scores = metrics.score(captions, raw, resamples=0)
    pictures = metrics.cider_of_each(captions, raw)
    return {
        "row": asdict(row),
        "recipe": {key: value for key, value in in_effect(recipe).items() if key not in MACHINE_KEYS},
        "epochs": by_epoch(folder / "log.jsonl"),
        "scores": {name: scores[name] for name in metrics.METRICS},
        "words": round(float(np.mean([len(caption.split()) for caption in captions])), 2),
        "pictures": [round(float(value), 4) for value in pictures],
    }


def train(row: Row, folder: Path, settings: Sequence[str]) -> None:
    """Run the row's stage, or the rest of an interrupted one, in another process."""
    from imgcap.training.recipe import in_effect, load_recipe

    arguments = [row.config, *row.overrides, *settings, f"output={folder}"]
    recipe, logged = load_recipe(arguments[0], arguments[1:]), folder / "recipe.yaml"
    begun = logged.is_file() and in_effect(load_recipe(str(logged))) == in_effect(recipe)
    if begun and (folder / "scores.json").is_file():
        return
    if folder.is_dir() and not begun:
        shutil.rmtree(folder)  # another recipe's
    resume = any((folder / "checkpoints").glob("checkpoint-*"))
    command = [sys.executable, str(ROOT / "train.py"), *arguments, f"resume={str(resume).lower()}"]
    print(f"{row.name}: {' '.join(command[1:])}", flush=True)
    if status := subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise InputError(f"Training ended with status {status}; its messages are above.")


def by_epoch(log: Path) -> list[float]:
    """Return the validation CIDEr after each epoch."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found: dict[float, float] = {}
    for row in rows:
        if "eval_CIDEr" in row:
            found.setdefault(row["epoch"], round(row["eval_CIDEr"], 4))  # a second one belongs to averaged weights
    return list(found.values())


def write(row: Row, folder: Path, recipe: Any) -> list[str]:
    """Return the row's captions: those from training, or new ones from cached grids, as in validation."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    from imgcap.data.collator import CaptionCollator
    from imgcap.data.grids import cached_views
    from imgcap.inference.checkpoint import load_captioner
    from imgcap.inference.engines.device import device
    from imgcap.training.averaging import average, last_checkpoints

    left = folder / "captions.json"
    if left.is_file() and not row.generate and not row.average:
        captions: list[str] = json.loads(left.read_text())
        return captions
    model, processor = load_captioner(str(folder))
    if row.average:
        last = last_checkpoints(folder, row.average)
        if len(last) < row.average:
            raise InputError(f"{str(folder)!r} keeps {len(last)} checkpoints, too few for a mean of {row.average}.")
        model.load_state_dict(average(last))
    model.to(device())
    rows = validation(recipe.data, recipe.validation_pictures)
    collator = CaptionCollator(processor.tokenizer, processor.image_processor)
    grids = cached_views(Path(recipe.cache), model, rows, collator, recipe.augmentation, 1)[0]
    parts = (torch.from_numpy(grids[i : i + 64].astype(np.float32)) for i in range(0, len(grids), 64))
    captions = []
    with torch.inference_mode():
        for part in parts:
            encoded = BaseModelOutput(last_hidden_state=part.to(model.device))
            captions += processor.sentences(model.generate(encoder_outputs=encoded, **row.generate))
    return captions


@lru_cache(maxsize=1)
def validation(source: str, limit: int) -> Any:
    """Return the validation split."""
    from imgcap.data.loading import load_rows

    return load_rows(source, "validation", limit or None)


# The table

HEAD = """# The effect of each choice

    python -m benchmarks.ablations run [data=FOLDER encoder_weights=FILE]
    python -m benchmarks.ablations table

`run` trains and scores the rows of `benchmarks/ablations.yaml` and writes one file for each row into `docs/ablations/`:
recipe, validation CIDEr by epoch, scores, and CIDEr-D of each image. `table` makes this page from these files alone.

All numbers are for the validation split ({pictures} images), with the model's default beam unless a row says otherwise.
The last column but one is the difference between a row's CIDEr and that of the row it names, with the 95% interval of a
paired bootstrap over images ({resamples} resamples; both rows captioned the same images, so their difficulty cancels).
If the interval includes 0, the row is *within noise*. The interval shows how much other images could change the
difference, not how much another training run could: a difference between two runs of at most {spread}, which two seeds
can make, is *within seeds*. This bound is the list's number, or the difference that the row with another seed measured
if that is larger.
"""
RESAMPLES = 2000
FIELDS = ("", "CIDEr", "BLEU-4", "METEOR", "words", "CIDEr against", "")


def make_table(plan: Plan, results: Path) -> str:
    """Return the page of results; a last line names the rows without a result.

    Raises:
        InputError: two compared rows captioned different images.
    """
    found = {row.name: result for row in plan.rows if (result := read_result(results, row))}
    spread = seed_spread(plan, found)
    sizes = sorted({len(result["pictures"]) for result in found.values()})
    page = [HEAD.format(pictures=" or ".join(map(str, sizes)) or "no", resamples=RESAMPLES, spread=number(spread))]
    for group in plan.groups:
        page.append(f"## {group.title}\n\n{group.text}\n")
        page.append("| " + " | ".join(FIELDS) + " |\n|" + "---|" * len(FIELDS))
        page += [f"| {' | '.join(cells(row, found, spread))} |" for row in group.rows]
        page.append("")
    missing = [row.name for row in plan.rows if row.name not in found]
    if missing:
        page.append(f"Not run yet: {', '.join(missing)}.\n")
    return "\n".join(page)


def seed_spread(plan: Plan, found: dict[str, dict[str, Any]]) -> float:
    """Return the difference in CIDEr that two seeds can make: the list's number, or a larger measured one."""
    seeds = [row for row in plan.rows if any(key.startswith("seed=") for key in row.overrides)]
    measured = [difference(found[row.name], found[row.against])[0]
                for row in seeds if row.name in found and row.against in found]  # fmt: skip
    return max(plan.seed_spread, *map(abs, measured), 0.0)


def cells(row: Row, found: dict[str, dict[str, Any]], spread: float) -> list[str]:
    """Return the cells of a line of the table."""
    if row.name not in found:
        return [row.what, "not run", *[""] * (len(FIELDS) - 2)]
    result = found[row.name]
    scores = [number(result["scores"][name]) for name in COLUMNS]
    return [row.what, *scores, f"{result['words']:.1f}", *comparison(row, found, spread)]


def comparison(row: Row, found: dict[str, dict[str, Any]], spread: float) -> tuple[str, str]:
    """Return the difference with its interval, and a note if it is within noise or within seeds."""
    if not row.against:
        return "", ""
    if row.against not in found:
        return f"{row.against}: not run", ""
    gap, low, high = difference(found[row.name], found[row.against])
    notes = ["within noise"] * (low <= 0 <= high)
    other_run = not row.generate and not row.average
    notes += ["within seeds"] * (other_run and abs(gap) <= spread)
    signed = [f"{'+' * (value >= 0)}{number(value)}" for value in (gap, low, high)]
    return f"{row.against}: {signed[0]} [{signed[1]}, {signed[2]}]", ", ".join(notes)


def difference(row: dict[str, Any], reference: dict[str, Any]) -> tuple[float, float, float]:
    """Return the difference of two rows' mean CIDEr-D, and the 95% interval of a paired bootstrap over images."""
    ours, theirs = (np.array(result["pictures"]) for result in (row, reference))
    if len(ours) != len(theirs):
        raise InputError(f"{row['row']['name']} and {reference['row']['name']} captioned different pictures.")
    gaps: NDArray[np.float64] = ours - theirs
    interval = bootstrap((gaps,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0).confidence_interval
    return float(gaps.mean()), float(interval.low), float(interval.high)


def number(value: float | None) -> str:
    """Return a number as the tables write it, such as .123; METEOR is None without Java."""
    return "needs Java" if value is None else re.sub(r"^(-?)0", r"\1", f"{value:.3f}")


def main() -> None:
    """Run rows, or make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="of imgcap.training.recipe.Recipe, for all rows"
    )
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="this row alone; may be repeated")
    parser.add_argument("--list", type=Path, default=ROOT / "benchmarks" / "ablations.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="where rows are trained")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "ablations")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "ablations.md")
    options = parser.parse_intermixed_args()
    try:
        plan = load_plan(options.list)
        if options.what == "table":
            options.page.write_text(make_table(plan, options.results))
        elif failed := run(plan, options.only, options.settings, options.runs, options.results):
            sys.exit(f"Failed: {', '.join(failed)}.")
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
