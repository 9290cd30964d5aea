"""Train one stage of a captioner: `python train.py configs/attention.yaml [key=value ...]`."""

import json
import logging
import sys
from pathlib import Path

from huggingface_hub import HfApi

from imgcap.errors import InputError
from imgcap.hub.push import full_id, push
from imgcap.training.recipe import Recipe, load_recipe


def main() -> None:
    """Run the recipe that the command line names, and print its validation scores as JSON."""
    if len(sys.argv) < 2 or sys.argv[1] in {"-h", "--help"}:
        sys.exit("usage: python train.py CONFIG.yaml [key=value ...]    e.g. python train.py configs/attention.yaml")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        recipe = load_recipe(sys.argv[1], sys.argv[2:])
        if recipe.push_to:  # a missing token must be noticed before hours of training
            full_id(HfApi(), recipe.push_to)
        from imgcap.hub.card import write_card  # these imports take seconds, and a wrong recipe is refused before
        from imgcap.training.run import train

        scores = train(recipe)
    except InputError as error:
        sys.exit(str(error))
    if scores is None:
        return
    write_card(Path(recipe.output))
    print(json.dumps(scores, indent=2))
    if recipe.push_to:
        _push(recipe)


def _push(recipe: Recipe) -> None:
    """Push the finished captioner; if that fails, the training is not lost."""
    from imgcap.hub.checkpoint import model_content

    folder, api = Path(recipe.output), HfApi()
    try:
        repo = full_id(api, recipe.push_to)
        push(api, repo, model_content(folder, repo), f"Push {folder.name}")
    except InputError as error:
        sys.exit(f"The captioner is finished in {folder}, but was not pushed. {error}")
    print(f"Pushed to {api.endpoint}/{repo}")


if __name__ == "__main__":
    main()
