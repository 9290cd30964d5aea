"""How METEOR's Java program may fail; what it computes is compared in test_metrics.py, where it is started once."""

from pathlib import Path

import coco
import pytest

from imgcap.evaluation import meteor


def test_a_program_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    coco.require_java()
    monkeypatch.setattr(meteor, "_JAR", tmp_path / "absent.jar")
    with pytest.raises(RuntimeError, match=r"failed \(Error: Unable to access jarfile"):
        meteor.statistics(["a"], [["b"]])


def test_a_program_that_takes_too_long() -> None:
    coco.require_java()
    with pytest.raises(RuntimeError, match=r"within 0\.1 seconds"):
        meteor.statistics(["a"], [["b"]], timeout=0.1)


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not meteor.available()
    with pytest.raises(RuntimeError, match="install a Java runtime"):
        meteor.statistics(["a"], [["b"]])
