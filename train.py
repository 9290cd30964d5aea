"""Train one stage of a captioner: `python train.py configs/attention.yaml [key=value ...]`."""

import json
import logging
import sys

from imgcap.errors import InputError


def main() -> None:
    """Run the recipe that the command line names, and print its validation scores as JSON."""
    if len(sys.argv) < 2 or sys.argv[1] in {"-h", "--help"}:
        sys.exit("usage: python train.py CONFIG.yaml [key=value ...]    e.g. python train.py configs/attention.yaml")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    from imgcap.training.run import load_recipe, train

    try:
        scores = train(load_recipe(sys.argv[1], sys.argv[2:]))
    except InputError as error:
        sys.exit(str(error))
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
