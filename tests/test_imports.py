"""Who may import whom is written in pyproject.toml; import-linter holds the code to it."""

from importlinter.cli import lint_imports

from imgcap.settings import ROOT


def test_the_packages_import_only_what_the_contracts_allow(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out
