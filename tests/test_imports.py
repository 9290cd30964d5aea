"""pyproject.toml says which package may import which; import-linter checks the code against it."""

import subprocess
import sys
from pathlib import Path

from imgcap.settings import ROOT


def test_the_packages_import_only_what_the_contracts_allow():
    # import-linter disables all loggers, so it runs in a separate process.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_leaves_out_what_no_page_uses():
    code = (
        "import sys, imgcap.web.server\n"
        "assert 'pandas' in sys.modules\n"
        "assert not {'pyarrow', 'zxcvbn', 'torch', 'transformers', 'onnxruntime', 'matplotlib'} & sys.modules.keys()\n"
        "from pyarrow import parquet\n"  # the data set's pages can still import it
        "import pandas\n"
        "assert parquet.core.pa.table({'a': [1, 2]}).to_pandas().a.tolist() == [1, 2]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
