import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recipes import small

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.settings import ROOT
from imgcap.training import trainer

HERE = Path(__file__).parent


def launch(processes, source, folder):
    """Train in so many processes, which talk by gloo without GPUs, and return the captioner's weights."""
    kind = "--multi_gpu" if processes > 1 else "--cpu"  # accelerate's name for several processes, also without GPUs
    command = [
        sys.executable, "-m", "accelerate.commands.launch", kind, "--num_processes", str(processes), "--num_machines",
        "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        str(HERE / "distributed.py"), str(source), str(folder),
    ]  # fmt: skip
    places = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scored") == 1
    assert done.stdout.count("waited") == processes - 1
    return load_captioner(str(folder / "run"))[0].state_dict()


def test_two_processes_train_what_one_does(tmp_path, caption_folder):
    one, two = (launch(n, caption_folder, tmp_path / str(n)) for n in (1, 2))
    # The captions of shapes are of like length, so that the mean of the halves' losses is the batch's loss, and only
    # rounding differs: to float16 in the file, and in the sums. A step moves a weight by about 1e-3. The bias of the
    # attention's keys is left out, since no gradient but rounding reaches it.
    for name, tensor in one.items():
        if tensor.is_floating_point() and name != "decoder.keys.bias":
            assert torch.allclose(tensor, two[name], rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 3}, "batch_size is 3 and cannot be shared equally by 2 processes"),
     ({"objective": "self_critical"}, "runs in one process")],
)  # fmt: skip
def test_what_several_processes_cannot_train_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.TrainingArguments, "world_size", property(lambda self: 2))
    with pytest.raises(InputError, match=message):
        trainer.training_arguments(small(tmp_path, tmp_path, **options))
