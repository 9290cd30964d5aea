import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CAPTIONS

from imgcap.data.vocabulary import build_tokenizer
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning
from imgcap.model.decoding import as_sentence, generation_options
from imgcap.model.modeling_imgcap import shift_right

SIDE = 64


def make(decoder="attention", encoder="resnet18", vocab_size=12, **options):
    torch.manual_seed(0)
    options = {"hidden_size": 16, "num_attention_heads": 2, "image_size": SIDE} | options
    config = ImgcapConfig(decoder=decoder, encoder=encoder, vocab_size=vocab_size, **options)
    return ImgcapForImageCaptioning(config)


@pytest.fixture(params=["attention", "merge", "three attention", "two merge"])
def model(request):
    """One decoder of each kind, and several that write together."""
    number, _, kind = request.param.rpartition(" ")
    model = make(kind, decoders={"": 1, "two": 2, "three": 3}[number]).eval()
    # Spread the logits, so that a beam has something to choose between.
    with torch.no_grad():
        model.embedding.weight.mul_(4)
    return model


@pytest.fixture
def pixels():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def words(rows, length, vocab=12):
    return torch.randint(4, vocab, (rows, length), generator=torch.Generator().manual_seed(2))


def test_the_loss_is_the_cross_entropy_of_the_words_that_count(model, pixels):
    labels = words(4, 5)
    labels[1, 3:] = -100
    output = model(pixel_values=pixels, labels=labels)
    assert output.logits.shape == (4, 5, 12)
    chosen = output.logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(output.loss, -chosen[labels != -100].mean())


def test_labels_are_shifted_right_behind_the_start_token():
    labels = torch.tensor([[5, 6, 2], [7, 2, -100]])
    assert shift_right(labels, start=1, pad=0).tolist() == [[1, 5, 6], [1, 7, 2]]


def test_one_word_at_a_time_gives_the_logits_of_the_whole_caption(model, pixels):
    ids = torch.cat((torch.ones(2, 1, dtype=torch.long), words(2, 6)), 1)
    whole = model(pixel_values=pixels, decoder_input_ids=ids).logits
    state, steps = None, []
    for word in ids.split(1, 1):
        output = model(pixel_values=pixels, decoder_input_ids=word, past_key_values=state, use_cache=True)
        state = output.past_key_values
        steps.append(output.logits)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-5)
    assert state.get_seq_length() == 7


def test_captions_of_one_picture_share_its_encoding(model, pixels):
    ids = words(6, 4)
    shared = model(pixel_values=pixels, decoder_input_ids=ids).logits
    apart = model(pixel_values=pixels.repeat_interleave(3, 0), decoder_input_ids=ids).logits
    assert torch.allclose(shared, apart, atol=1e-5)


def test_the_picture_matters(model, pixels):
    logits = model(pixel_values=pixels, decoder_input_ids=torch.ones(2, 1, dtype=torch.long)).logits
    assert not torch.allclose(logits[0], logits[1])


def test_greedy_search_takes_the_likeliest_word_each_time(model, pixels):
    found = model.generate(pixels, num_beams=1, do_sample=False, max_length=8)
    ids = torch.ones(2, 1, dtype=torch.long)
    for _ in range(7):
        ids = torch.cat((ids, model(pixel_values=pixels, decoder_input_ids=ids).logits[:, -1:].argmax(-1)), 1)
    for row, expected in zip(found.tolist(), ids.tolist(), strict=True):
        assert _until_end(row) == _until_end(expected)


def test_a_wide_beam_finds_the_best_of_all_captions(pixels):
    """With as many beams as there are prefixes nothing is pruned: the result must be the best by brute force."""
    model = make(vocab_size=7).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(20)
    picture, length = pixels[:1], 4
    candidates = []
    for tail in itertools.product(range(7), repeat=length - 1):
        caption = _until_end([1, *tail])
        if 2 in caption or len(caption) == length:
            candidates.append(caption)
    with torch.no_grad():
        encoded = model.encoder(picture)
        scores = {tuple(caption): _mean_log_probability(model, encoded, caption) for caption in candidates}
    best = max(scores, key=scores.__getitem__)
    found = model.generate(
        picture, num_beams=49, max_length=length, length_penalty=1.0, output_scores=True, return_dict_in_generate=True
    )
    assert tuple(_until_end(found.sequences[0].tolist())) == best
    assert found.sequences_scores[0].item() == pytest.approx(scores[best], abs=1e-4)


def _mean_log_probability(model, encoded, caption):
    ids = torch.tensor([caption])
    log = model(encoder_outputs=encoded, decoder_input_ids=ids[:, :-1]).logits.log_softmax(-1)
    return log.gather(-1, ids[:, 1:].unsqueeze(-1)).sum().item() / (ids.size(1) - 1)


def _until_end(ids):
    return ids[: ids.index(2) + 1] if 2 in ids else ids


def test_sampling_varies_with_the_seed_and_returns_as_many_as_asked(model, pixels):
    def sample(seed):
        torch.manual_seed(seed)
        return model.generate(pixels, do_sample=True, temperature=20.0, num_return_sequences=5, max_length=8)

    assert sample(0).shape[0] == 10
    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0)[:, :4], sample(1)[:, :4])


def test_batch_normalisation_keeps_its_statistics_while_training(pixels):
    model = make().train()
    before = {name: tensor.clone() for name, tensor in model.encoder.named_buffers()}
    model(pixel_values=pixels, labels=words(2, 4)).loss.backward()
    assert before
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.named_buffers())
    assert model.decoder.training
    assert model.encoder.training


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("resnet18", "attention"), ("vgg16", "attention"), ("resnet18", "merge")]
)
def test_encoders_and_decoders_train_together(encoder, decoder, pixels):
    model = make(decoder, encoder).train()
    labels = words(4, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        torch.manual_seed(0)  # the same dropout each time, so that only learning lowers the loss
        loss = model(pixel_values=pixels, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    first = next(model.encoder.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert losses[-1] < losses[0]


def test_the_encoder_may_run_in_bfloat16(model, pixels):
    exact = model(pixel_values=pixels, decoder_input_ids=words(2, 3)).logits
    model.encoder.to(torch.bfloat16)
    rounded = model(pixel_values=pixels, decoder_input_ids=words(2, 3)).logits
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder": "transformer"}, "decoder must be one of attention, merge"),
        ({"hidden_size": 10, "num_attention_heads": 4}, "multiple of num_attention_heads"),
        ({"image_size": 100}, "multiple of 32"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"decoders": 0}, "decoders must be at least 1"),
    ],
)
def test_contradictory_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ImgcapConfig(**fields)


@pytest.mark.parametrize("decoder", ["attention", "merge"])
def test_several_decoders_average_their_probabilities_at_each_word(decoder, pixels):
    joint = make(decoder, decoders=3).eval()
    ids = words(4, 5)
    single = []
    for part in joint.decoders:
        alone = make(decoder).eval()
        state = {name: tensor for name, tensor in joint.state_dict().items() if not name.startswith("more_decoders")}
        alone.load_state_dict(state | {f"decoder.{name}": tensor for name, tensor in part.state_dict().items()})
        single.append(alone(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1))
    together = joint(pixel_values=pixels, decoder_input_ids=ids).logits
    assert torch.allclose(together.exp(), torch.stack(single).mean(0), atol=1e-6)
    assert torch.allclose(together.exp().sum(-1), torch.ones(4, 5), atol=1e-5)
    assert not torch.allclose(single[0], single[1], atol=1e-3)


def test_a_checkpoint_holds_once_what_decoders_share(tmp_path):
    joint = make(decoders=3).eval()
    assert all(part.project.weight is joint.decoder.project.weight for part in joint.more_decoders)
    joint.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert [name for name in names if "project" in name] == ["decoder.project.bias", "decoder.project.weight"]
    again = ImgcapForImageCaptioning.from_pretrained(tmp_path)
    assert again.config.decoders == 3
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in joint.state_dict().items())


def test_captions_that_have_ended_may_be_left_out(model, pixels):
    """The logits of the captions that remain are the same as with all of them."""
    ids = words(6, 4)
    with torch.no_grad():
        grid = model.encoder(pixels).last_hidden_state
        whole = model.read(ids, model.start(grid, 3))
        states = model.start(grid, 3)
        first = model.read(ids[:, :1], states)
        states.keep(torch.tensor([0, 2, 3, 5]))
        second = model.read(ids[[0, 2, 3, 5], 1:2], states)
        states.keep(torch.tensor([1, 3]))  # places among the four that remain
        rest = model.read(ids[[2, 5], 2:], states)
    assert torch.allclose(first[:, 0], whole[:, 0], atol=1e-5)
    assert torch.allclose(second[:, 0], whole[[0, 2, 3, 5], 1], atol=1e-5)
    assert torch.allclose(rest, whole[[2, 5], 2:], atol=1e-5)
    assert states.get_seq_length() == 4


def test_the_trunk_splits_at_parts_with_weights(pixels):
    encoder = make().eval().encoder
    early, late = encoder.stages(2)
    assert [name for name, _ in early.named_children()] == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2"]
    assert [name for name, _ in late.named_children()] == ["layer3", "layer4"]
    with torch.no_grad():
        assert torch.equal(encoder.finish(encoder.begin(pixels, 2), 2)[0], encoder(pixels)[0])
    assert len(encoder.stages(0)[1]) == 0
    assert [name for name, _ in encoder.stages(6)[0].named_children()] == []
    with pytest.raises(ValueError, match="has 6 stages, so the last 7"):
        encoder.stages(7)


def test_forward_says_what_it_misses(model, pixels):
    with pytest.raises(ValueError, match="decoder_input_ids or labels"):
        model(pixel_values=pixels)
    with pytest.raises(ValueError, match="pixel_values or encoder_outputs"):
        model(labels=words(2, 3))
    with pytest.raises(ValueError, match="3 captions cannot be shared among 2 pictures"):
        model(pixel_values=pixels, labels=words(3, 3))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("a dog runs", "A dog runs."), ("  two  dogs . ", "Two dogs."), ("", ""), ("3 men", "3 men.")],
)
def test_sentences(text, sentence):
    assert as_sentence(text) == sentence


def test_short_captions_are_shorter_and_long_ones_longer(tiny_captioner):
    model, processor = load_captioner(str(tiny_captioner))
    pictures = torch.randn(6, 3, SIDE, SIDE)
    lengths = {}
    for length in ("short", "normal", "long"):
        ids = model.generate(pictures, **generation_options(length, model.generation_config))
        lengths[length] = sum(len(text.split()) for text in processor.sentences(ids))
    assert lengths["short"] <= lengths["normal"] <= lengths["long"]
    assert lengths["short"] < lengths["long"]


def test_the_saved_folder_holds_its_code(tiny_captioner):
    names = {path.name for path in Path(tiny_captioner).iterdir()}
    assert {"configuration_imgcap.py", "modeling_imgcap.py", "processing_imgcap.py", "decoding.py"} <= names
    assert "tokenizer.json" in names
    assert build_tokenizer(CAPTIONS, 1).get_vocab() == load_captioner(str(tiny_captioner))[1].tokenizer.get_vocab()
