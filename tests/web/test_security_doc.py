import ast
import re

from running import ROOT

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "security.md").read_text())


def test_every_test_that_the_threat_model_names_is_there():
    assert len(NAMED) > 40
    missing = {
        (path, name)
        for path, name in NAMED
        if name not in {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(node, "name")}
    }
    assert missing == set()
