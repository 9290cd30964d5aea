"""The programs of COCO's caption evaluation, as oracles: pycocoevalcap's own, with their Java archives.

`python tests/coco.py` writes captions/tokens.tsv, the archive's tokens of captions/captions.txt, again.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.tokenizer import ptbtokenizer

CAPTIONS = Path(__file__).parent / "captions" / "captions.txt"
TOKENS = CAPTIONS.with_name("tokens.tsv")


def require_java() -> None:
    if shutil.which("java") is None:
        reason = "Java is not installed (Debian: apt-get install default-jre-headless)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def tokenize_with_jar(captions: Sequence[str]) -> list[str]:
    """Each caption as PTBTokenizer tokenizes it.

    A line of one plain word follows each caption, because the archive looks past the end of a line. PTBTokenizer
    writes a file beside its archive, so both stand in a folder of the test's own.
    """
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / jar.name).symlink_to(jar)
        with mock.patch.object(ptbtokenizer, "__file__", str(Path(folder) / "ptbtokenizer.py")):
            pairs = {i: [{"caption": caption}, {"caption": "end"}] for i, caption in enumerate(captions)}
            tokenized = ptbtokenizer.PTBTokenizer().tokenize(pairs)
    assert all(after == "end" for _, after in tokenized.values())
    return [tokens for tokens, _ in tokenized.values()]


@cache
def meteor() -> Meteor:
    """pycocoevalcap's METEOR, whose Java program takes seconds to start: one for the whole run."""
    return Meteor()


if __name__ == "__main__":
    lines = CAPTIONS.read_text().splitlines()
    TOKENS.write_text("".join(f"{a}\t{b}\n" for a, b in zip(lines, tokenize_with_jar(lines), strict=True)))
