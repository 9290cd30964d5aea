import os
from pathlib import Path

import pytest
import torch
from processes import run_python
from recipes import small, without_chance

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.settings import ROOT
from imgcap.training import trainer
from imgcap.training.run import train

HERE = Path(__file__).parent


def launch_two(source, folder):
    """Train in two processes, which talk by gloo without GPUs."""
    command = [  # --multi_gpu is accelerate's name for several processes, also without GPUs
        "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        HERE / "distributed.py", source, folder,
    ]  # fmt: skip
    places = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = run_python(command, ROOT, os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("scored"), done.stdout.count("waited")) == (1, 1)


@pytest.mark.usefixtures("without_meteor")
def test_two_processes_train_what_one_does(tmp_path, caption_folder):
    launch_two(caption_folder, tmp_path / "two")
    train(without_chance(tmp_path / "one", caption_folder))
    one, two = (load_captioner(str(tmp_path / name / "run"))[0].state_dict() for name in ("one", "two"))
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


@pytest.mark.parametrize(("processes", "cores", "workers"), [(1, 16, 15), (2, 16, 7), (1, 1, 1), (4, 2, 1)])
def test_processes_that_train_share_the_cores_for_decoding(processes, cores, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.TrainingArguments, "world_size", property(lambda self: processes))
    monkeypatch.setattr(trainer, "usable_cores", lambda: cores)

    def workers_of(**options):
        return trainer.training_arguments(small(tmp_path, tmp_path, **options)).dataloader_num_workers

    assert workers_of(encoder_learning_rate=1e-4, workers=None) == workers
    assert workers_of(encoder_learning_rate=1e-4, workers=3) == 3
    assert workers_of(workers=None) == 0  # cached features need none
