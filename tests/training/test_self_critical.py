import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from recipes import small

from imgcap.data.loading import load_rows
from imgcap.data.vocabulary import END, build_tokenizer, clean_caption
from imgcap.evaluation import meteor
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.judging.cider import CiderD
from imgcap.training.run import train
from imgcap.training.sampling import Samples
from imgcap.training.self_critical import SelfCriticalLoss, others_mean, smoothed_bleu


@pytest.fixture(scope="module")
def captioner(tiny_captioner):
    model, processor = load_captioner(str(tiny_captioner))
    return model.eval(), processor


@pytest.fixture(scope="module")
def training_captions(caption_folder):
    return load_rows(str(caption_folder), "train").captions


def test_each_sample_is_compared_with_the_others():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]])
    assert torch.equal(others_mean(rewards), torch.tensor([[4.0, 3.5, 1.5], [0.5, 0.5, 0.5]]))
    assert torch.allclose((rewards - others_mean(rewards)).sum(1), torch.zeros(2), atol=1e-6)


@pytest.fixture(scope="module")
def tokenizer(training_captions):
    return build_tokenizer((text for row in training_captions for text in row), min_count=1)


def drawn_captions(tokenizer, texts: list[str], ends: list[bool]) -> Samples:
    rows = [[*tokenizer(text)["input_ids"][1:], *[tokenizer.eos_token_id] * end]
            for text, end in zip(texts, ends, strict=True)]  # fmt: skip
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    counted = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    return Samples(ids, torch.full(ids.shape, -0.5).masked_fill(~counted, 0.0).requires_grad_(), counted)


def test_the_reward_is_cider_d_with_the_end_token_and_training_frequencies(tokenizer, training_captions):
    loss = SelfCriticalLoss(training_captions, tokenizer, num_captions=2)
    texts = ["a red disc", "the disc is red", "a blue square", "one square"]
    references = [training_captions[0], training_captions[5]]
    rewards = loss.rewards(drawn_captions(tokenizer, texts, [True, True, True, False]), references)
    words = [[[*clean_caption(text).split(), END] for text in row] for row in training_captions]
    cider = CiderD(words)
    candidates = [[*text.split(), END] for text in texts[:3]] + [texts[3].split()]
    expected = [cider.score(candidates[:2], words[0]), cider.score(candidates[2:], words[5])]
    assert np.allclose(rewards, np.array(expected))
    assert rewards.max() > 0.5


def test_a_caption_that_stops_halfway_earns_less(tokenizer, training_captions):
    loss = SelfCriticalLoss(training_captions, tokenizer, num_captions=2)
    samples = drawn_captions(tokenizer, ["a red disc"] * 2, [True, False])
    whole, halfway = loss.rewards(samples, [["A red disc ."] * 5])[0]
    assert whole > halfway


def test_bleu_of_a_single_caption_is_smoothed_by_one():
    reference = ["a", "dog", "runs", "over", "the", "grass"]
    same, close, other = smoothed_bleu([reference, ["a", "dog", "runs", "on", "grass"], ["boats"]], [reference])
    assert same == pytest.approx(1)
    # 4 of 5 words, 2 of 4 pairs, 1 of 3 triples and none of 2 fours, one added to all but the first; 5 words against 6.
    assert close == pytest.approx((4 / 5 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25 * np.exp(1 - 6 / 5))
    assert other == 0


def test_bleu_takes_its_weight_in_the_reward(tokenizer, training_captions):
    texts, references = ["a red disc", "a blue square"], [training_captions[0]]
    samples = drawn_captions(tokenizer, texts, [True, True])
    plain, mixed = (
        SelfCriticalLoss(training_captions, tokenizer, num_captions=2, bleu_weight=weight).rewards(samples, references)
        for weight in (0.0, 0.5)
    )
    words = [[*clean_caption(text).split(), END] for text in training_captions[0]]
    bleu = smoothed_bleu([[*text.split(), END] for text in texts], words)
    assert np.allclose(mixed - plain, 0.5 * bleu, atol=1e-6)
    assert bleu.max() > 0


def test_the_loss_is_the_mean_over_tokens_of_advantage_times_log_probability(
    captioner, tokenizer, training_captions, monkeypatch
):
    model, _ = captioner
    samples = drawn_captions(tokenizer, ["a red disc", "a green square"], [True, False])
    monkeypatch.setattr("imgcap.training.self_critical.sample", lambda *_, **__: samples)
    loss = SelfCriticalLoss(training_captions, tokenizer, num_captions=2)
    references = [["a red disc", "the disc is red"]]
    good, bad = loss.rewards(samples, references)[0]
    value = loss(model, references, encoder_outputs=(torch.zeros(1, 4, model.encoder.channels),))
    advantage = good - bad  # with two samples each is the other's baseline
    assert value.item() == pytest.approx(float(-(advantage * -0.5 * 4 - advantage * -0.5 * 3) / 7))
    value.backward()
    # Descent raises the probability of the better caption and lowers the other's, padding apart.
    assert (samples.log_probabilities.grad[0] < 0).all()
    assert (samples.log_probabilities.grad[1][:3] > 0).all()
    assert loss.ended == 0.5
    assert loss.reward == pytest.approx(float(good + bad) / 2)


@pytest.fixture(scope="module")
def stages(tmp_path_factory, caption_folder):
    """A captioner that writes whole sentences, trained on cross-entropy; before and after self-critical training."""
    folder = tmp_path_factory.mktemp("stages")
    first = small(folder / "first", caption_folder, epochs=6, learning_rate=5e-3, feature_views=1)
    second = small(
        folder / "second", caption_folder, init_from=first.output, objective="self_critical", epochs=14,
        learning_rate=1e-3, feature_views=1, cache=first.cache, samples=8, start_share=0.25,
    )  # fmt: skip
    with mock.patch.object(meteor, "available", return_value=False):  # Java would take longer than both
        train(first)
        return first, second, train(second)


def test_self_critical_training_raises_cider_and_captions_still_end(stages):
    first, second, _ = stages
    before, log = (
        [json.loads(line) for line in (Path(recipe.output) / "log.jsonl").read_text().splitlines()]
        for recipe in (first, second)
    )
    started, *_, last = (row["eval_CIDEr"] for row in (*before[-2:], *log) if "eval_CIDEr" in row)
    assert last > 1.2 * started  # 1.4 to 1.8 times with six other seeds and rates
    assert all(row["reward"] > 0 for row in log if "reward" in row)
    # Of the 32 samples of one batch: half ended on one processor and three quarters on another.
    assert [row["ended"] for row in log if "ended" in row][-1] > 0.25
    assert [row["eval_broken_off"] for row in log if "eval_CIDEr" in row][-1] == 0


def test_self_critical_training_goes_on_from_the_stage_before(stages):
    first, second, scores = stages
    before = json.loads((Path(first.output) / "scores.json").read_text())
    assert scores["CIDEr"] >= before["CIDEr"]
    assert "objective: self_critical" in (Path(second.output) / "recipe.yaml").read_text()
    old, new = (load_captioner(recipe.output)[0] for recipe in (first, second))
    assert torch.equal(old.encoder.trunk.conv1.weight, new.encoder.trunk.conv1.weight)
    assert not torch.equal(old.lm_head.bias, new.lm_head.bias)


def test_the_mean_with_the_start_is_kept_where_it_scores_best(stages):
    _, second, _ = stages
    log = [json.loads(line) for line in (Path(second.output) / "log.jsonl").read_text().splitlines()]
    evaluated = [row["eval_CIDEr"] for row in log if "eval_CIDEr" in row]
    said = next(row for row in log if "start_share_CIDEr" in row)
    assert said["start_share_CIDEr"] == evaluated[-1]
    assert said["start_share_kept"] == (evaluated[-1] >= max(evaluated[:-1]))
