"""The last stages of an encoder trained, and several decoders trained on it joined in one checkpoint."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from recipes import small

from imgcap.errors import InputError
from imgcap.evaluation import meteor
from imgcap.inference.checkpoint import load_captioner
from imgcap.training.run import train


@pytest.fixture(scope="module")
def stages(tmp_path_factory, caption_folder):
    """A first stage; its encoder's last stage and decoder trained; a second decoder on it; both joined; both mixed."""
    folder = tmp_path_factory.mktemp("stages")
    common = {"feature_views": 1, "cache": str(folder / "cache"), "learning_rate": 5e-3}
    first = small(folder / "first", caption_folder, **common)
    scst = common | {"objective": "self_critical", "init_from": first.output, "train_shared": False, "epochs": 1}
    tuned = small(folder / "tuned", caption_folder, encoder_learning_rate=1e-3, encoder_stages=1, **scst)
    second = small(folder / "second", caption_folder, encoder_from=tuned.output, seed=1, **scst)
    together = common | {"init_from": tuned.output, "join": [second.output], "epochs": 0}
    joint = small(folder / "joint", caption_folder, **together)
    mixed = small(folder / "mixed", caption_folder, **(together | {"join": [], "mix": [second.output]}))
    recipes = (first, tuned, second, joint, mixed)
    with mock.patch.object(meteor, "available", return_value=False):  # Java would take longer than all of them
        scores = [train(recipe) for recipe in recipes]
    return [load_captioner(recipe.output)[0] for recipe in recipes], scores, Path(common["cache"])


def changed(old, new) -> set[str]:
    """The parts of a captioner whose tensors differ, as far as the second dot of a name."""
    before, after = old.state_dict(), new.state_dict()
    return {".".join(name.split(".")[:3]) for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_only_the_last_stage_of_the_encoder_is_trained(stages):
    (first, tuned, *_), _, _ = stages
    parts = changed(first, tuned)
    assert {part for part in parts if part.startswith("encoder.")} == {"encoder.trunk.layer4"}
    assert "decoder.language_lstm.weight_hh" in parts


def test_what_decoders_share_is_kept_where_the_recipe_says_so(stages):
    (first, tuned, second, *_), _, _ = stages
    shared = {"embedding.weight", "lm_head.weight", "lm_head.bias", "decoder.project.weight", "decoder.project.bias"}
    assert not shared & (changed(first, tuned) | changed(first, second))


def test_a_decoder_takes_another_captioners_encoder(stages):
    (_, tuned, second, *_), _, _ = stages
    parts = changed(tuned, second)
    assert parts
    assert all(part.startswith("decoder.") for part in parts)


def test_the_joint_captioner_writes_with_both(stages):
    (_, tuned, second, joint, _), scores, _ = stages
    pixels = torch.randn(2, 3, 224, 224)
    ids = torch.randint(4, joint.config.vocab_size, (4, 5))
    with torch.no_grad():
        apart = [model(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1) for model in (tuned, second)]
        together = joint(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1)
    assert torch.allclose(together, (apart[0] + apart[1]) / 2, atol=1e-5)
    assert scores[3]["n"] == 6
    assert joint.generation_config.num_beams == 2


def test_the_mixed_captioner_has_the_mean_of_the_weights(stages):
    (_, tuned, second, _, mixed), _, _ = stages
    name = "decoder.language_lstm.weight_hh"
    mean = (tuned.state_dict()[name] + second.state_dict()[name]) / 2
    assert torch.equal(mixed.state_dict()[name], mean.half().float())
    assert {part for part in changed(tuned, mixed) if not part.startswith("decoder.")} == set()


def test_stages_that_read_the_same_features_share_the_cache(stages):
    """For both splits: the first encoder's grids, the inputs of its last stage, and the tuned encoder's grids."""
    assert len(list(stages[2].glob("*.npy"))) == 6


def test_more_stages_than_the_encoder_has_are_refused(tmp_path, caption_folder):
    recipe = small(tmp_path, caption_folder, encoder_learning_rate=1e-3, encoder_stages=9)
    with pytest.raises(InputError, match="encoder_stages does not fit: the encoder has 6 stages"):
        train(recipe)
