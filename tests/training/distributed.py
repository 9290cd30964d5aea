"""Train a small recipe; run by `accelerate launch` with one process or two: distributed.py DATA FOLDER."""

import sys
from pathlib import Path

from recipes import small

from imgcap.evaluation import meteor
from imgcap.training.run import train

if __name__ == "__main__":
    meteor.available = lambda: False  # Java's start would take longer than the training
    folder = Path(sys.argv[2])
    # Without dropout and with one view, so that the processes draw nothing of their own.
    recipe = small(folder, Path(sys.argv[1]), epochs=2, dropout=0.0, feature_views=1, learning_rate=1e-3)
    scores = train(recipe)
    print("scored" if scores else "waited")
