"""The code beside the weights says which transformers it needs."""

import runpy
import sys
from types import SimpleNamespace

import pytest

from imgcap.settings import ROOT


@pytest.mark.parametrize("version", ["4.57.1", "4.30.0"])
@pytest.mark.parametrize("folder", ["imgcap/model", "models/attention", "models/merge"])
def test_an_older_transformers_is_named_and_what_to_do(folder, version, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__=version))
    with pytest.raises(ImportError, match=f"needs transformers 5 or newer, not {version}: pip install -U transformers"):
        runpy.run_path(str(ROOT / folder / "configuration_imgcap.py"))
