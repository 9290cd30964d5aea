"""Each benchmark starts as its documentation says; what they measure is for people to read, not for tests to judge."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from processes import run_python

from benchmarks import ablations, database
from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.accounts.history import History
from imgcap.errors import InputError
from imgcap.reading import Reading
from imgcap.settings import ROOT, Settings

BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_says_how_it_is_used(name):
    source = (ROOT / "benchmarks" / f"{name}.py").read_text()
    assert f"python -m benchmarks.{name}" in source
    done = run_python(["-m", f"benchmarks.{name}", "--help"], ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_the_blur_check_is_timed_beside_the_decode():
    done = run_python(["-m", "benchmarks.blur_speed", "tests/samples/coffee.jpg", "--repeats", "1"], ROOT)
    assert done.returncode == 0, done.stderr
    assert "blur.measure" in done.stdout


def test_readings_are_looked_for_after_kills(tmp_path):
    survey = database.kill_writers(2, longest=0.1)
    assert survey.acknowledged > 0
    assert (survey.lost, survey.torn, survey.integrity) == (0, 0, "ok")

    settings = Settings(data_dir=tmp_path)
    opened = open_database(settings)
    user = Accounts(opened, settings).create("ann", "correct horse battery staple")
    entry = History(opened, settings).add(user.id, Reading(None, True, None, 9.0, 7.0, "Of other bytes."), b"jpeg")
    opened.close()
    survey = database.look_for({str(entry): "Of other bytes.", "2": "Never kept."}, settings)
    assert (survey.acknowledged, survey.lost, survey.torn) == (2, 1, 1)


def test_the_page_of_what_pays_is_made_of_the_numbers_beside_it():
    results = ROOT / "docs" / "ablations"
    plan = ablations.load_plan(ROOT / "benchmarks" / "ablations.yaml")
    assert (ROOT / "docs" / "ablations.md").read_text() == ablations.make_table(plan, results)
    for path in results.glob("*.json"):
        result = json.loads(path.read_text())
        assert sum(result["pictures"]) / len(result["pictures"]) == pytest.approx(result["scores"]["CIDEr"], abs=2e-4)


def plan_of(folder, rows):
    listed = {"seed_spread": 0.01, "groups": [{"title": "All", "text": "Said.", "rows": rows}]}
    (folder / "list.yaml").write_text(yaml.safe_dump(listed))
    return ablations.load_plan(folder / "list.yaml")


def test_rows_are_trained_or_read_and_a_failing_one_does_not_stop_the_rest(
    tmp_path, caption_folder, monkeypatch, capfd
):
    def run_command(command, **_):
        done = run_python(command[1:], ROOT)
        print(done.stderr, file=sys.stderr)
        return done

    monkeypatch.setenv("PATH", "")  # no Java
    monkeypatch.setattr(ablations, "subprocess", SimpleNamespace(run=run_command, DEVNULL=None))
    run, results = tmp_path / "runs" / "base", tmp_path / "results"
    plan = plan_of(tmp_path, [
        {"name": "wrong", "what": "wrong", "config": "configs/smoke.yaml", "overrides": ["decoder=none"]},
        {"name": "base", "what": "the base", "config": "configs/smoke.yaml", "overrides": ["dropout=0.1"]},
        {"name": "mean", "what": "the mean", "run": str(run), "average": 2, "against": "base"},
        {"name": "short", "what": "one word", "run": str(run), "generate": {"max_length": 3}, "against": "mean"},
        {"name": "gone", "what": "no such run", "run": str(tmp_path / "nowhere"), "against": "base"},
    ])  # fmt: skip
    settings = [f"data={caption_folder}", f"cache={tmp_path}/cache", "encoder=resnet18", "encoder_weights=none",
                "epochs=2", "hidden_size=32", "min_count=1", "bf16=false"]  # fmt: skip
    assert ablations.run(plan, [], settings, tmp_path / "runs", results) == ["wrong", "gone"]
    said = capfd.readouterr().err
    assert "decoder must be one of" in said
    assert "There is no finished run in" in said
    made = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    assert made.keys() == {"base", "mean", "short"}
    scored = json.loads((run / "scores.json").read_text())
    assert made["base"]["scores"] == {
        name: scored[name] for name in made["base"]["scores"]
    }  # rounded in the table only
    assert made["base"]["recipe"]["dropout"] == 0.1
    assert not {"data", "output", "encoder_weights"} & made["base"]["recipe"].keys()
    assert (len(made["base"]["epochs"]), len(made["base"]["pictures"])) == (2, 6)
    assert made["short"]["words"] <= 2

    with pytest.raises(InputError, match="no row 'bass'; it has wrong, base"):
        ablations.run(plan, ["bass"], settings, tmp_path / "runs", results)
    assert ablations.run(plan, ["base", "short"], settings, tmp_path / "runs", results) == []
    assert capfd.readouterr().out.splitlines() == ["base: done before", "short: done before"]
    page = ablations.make_table(plan, results)
    assert f"| the base | {ablations.number(made['base']['scores']['CIDEr'])} |" in page
    assert "| no such run | not run |" in page
    assert "Not run yet: wrong, gone." in page


def test_a_difference_is_judged_by_its_interval_over_the_same_pictures():
    rng = np.random.default_rng(0)
    base = rng.exponential(0.5, 1000)  # spread so widely that an unpaired comparison would show nothing
    results = {name: {"row": {"name": name}, "pictures": list(base + shift)}
               for name, shift in {"base": 0, "better": 0.03 + rng.normal(0, 0.1, 1000),
                                   "close": 0.015 + rng.normal(0, 0.1, 1000),
                                   "same": rng.normal(0, 0.1, 1000)}.items()}  # fmt: skip
    _, low, high = ablations.difference(results["better"], results["base"])
    assert low < 0.03 < high
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / 1000**0.5, rel=0.15)
    for name, note in (("better", ""), ("close", "within seeds"), ("same", "within noise, within seeds")):
        row = ablations.Row(name=name, what="", run="somewhere", against="base")
        assert ablations.comparison(row, results, 0.018)[1] == note
    with pytest.raises(InputError, match="base and same captioned different pictures"):
        ablations.difference(results["base"], {"row": {"name": "same"}, "pictures": [0.5]})


@pytest.mark.parametrize("change", [{}, {"config": "b"}, {"run": ""}, {"against": "c"}, {"colour": "red"}])
def test_a_list_of_rows_that_contradicts_itself_is_refused(change, tmp_path):
    row = {"name": "a", "what": "a", "run": "runs/a"}
    with pytest.raises(InputError):
        plan_of(tmp_path, [row, row | {"name": "b"} | change] if change else [row, row])
