"""The web server: Gradio's page, the sign-in pages, and the guard in front of every route."""

import os
import sys

# Gradio imports pandas, which imports pyarrow if it is installed: 34 MB that no page uses. pandas does without it, as
# in an installation without the data set's pages, which import pyarrow themselves when somebody opens them.
_hidden = "pyarrow" not in sys.modules and "pandas" not in sys.modules
if _hidden:
    sys.modules["pyarrow"] = None  # type: ignore[assignment]  # makes the import fail
import gradio  # noqa: E402, F401  before any other module of this package

if _hidden:
    del sys.modules["pyarrow"]

# At each call Gradio asks matplotlib, if it is installed, for its backend. To find one, it would import pyplot: 13 MB.
os.environ.setdefault("MPLBACKEND", "agg")
