"""LightCLIP's objective."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mobileclip_kit.distillation.objective import Batch, StepContext
from mobileclip_kit.distillation.pairs import PairObjective
from mobileclip_kit.distillation.tables import PairOptions
from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.alignment import alignment_loss
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.tokenizer import Tokenizer

CAPTIONS = [["a red star"], ["a blue house", "a house"], ["the word car"], ["two dogs left of a boat"]]
MERGES = [("t", "h"), ("th", "e</w>")]


def objective(captions=CAPTIONS, options_of=PairOptions, **options):
    tokenizer = Tokenizer(MERGES, context_length=77)
    config = pair_config("conv-s", text="text-4", embedding_dim=8, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    options = options_of(embedding_dim=8, **options)
    return PairObjective(build_student(config, seed=0), captions, tokenizer, options)


def batch(step=0, steps=10):
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return Batch(np.arange(4), images, StepContext(step, steps, 0, 0))


def loss_of(made, **when):
    torch.manual_seed(7)
    return made.loss(batch(**when))


def test_with_all_losses_off_it_is_info_nce():
    made = objective(losses=(), align_weight=1.0)
    made.network.eval()
    one = [[captions[0]] for captions in CAPTIONS]
    made.captions = one
    with torch.no_grad():
        loss, _ = loss_of(made)
        images = made.network.encode_image(batch().images, normalize=True)
        ids = torch.from_numpy(made._tokenizer([captions[0] for captions in one]))
        texts = made.network.encode_text(ids, normalize=True)
        torch.testing.assert_close(loss, alignment_loss(images, texts, made.network.logit_scale.exp()))


def test_the_weighted_parts_add_up():
    made = objective(losses=("align", "tokens", "mlm"), words_weight=0.5)
    loss, parts = loss_of(made)
    total = 0.8 * parts["align"] + 0.1 * parts["tokens"] + 0.1 * parts["mlm"] + 0.5 * parts["words"]
    assert loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "modules"),
    [((), {"network"}), (("tokens",), {"network", "tokens"}), (("align", "mlm"), {"network", "language"})],
)
def test_parts_exist_only_when_their_loss_is_on(losses, modules):
    assert set(objective(losses=losses).modules()) == modules


def test_every_part_that_is_trained_gets_a_gradient():
    made = objective(losses=("align", "tokens", "mlm"), words_weight=1.0)
    for module in made.modules().values():
        module.train()
    loss_of(made)[0].backward()
    for title, module in made.modules().items():
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, f"{title}.{name}"


def test_labels_soften_as_training_goes_on():
    made = objective(losses=("align",))
    made.network.eval()
    with torch.no_grad():
        early, late = (loss_of(made, step=step)[0].item() for step in (0, 9))
        plain = [loss_of(objective(losses=()), step=step)[0].item() for step in (0, 9)]
    assert early != late
    assert plain[0] == plain[1]


def test_equal_random_numbers_give_equal_losses():
    made = objective(losses=("align", "tokens", "mlm"), synonym=0.5, swap=0.5, delete=0.2)
    made.network.eval()
    with torch.no_grad():
        assert loss_of(made)[0].item() == loss_of(made)[0].item()


def test_the_logit_scale_stays_within_clips_bound():
    made = objective(losses=())
    with torch.no_grad():
        made.network.logit_scale.fill_(9.0)
    _, parts = loss_of(made)
    assert parts["logit_scale"] == pytest.approx(100.0)


def test_matching_sees_pairs_and_not_other_captions():
    """Exchanging the captions of two images changes the matching."""
    made = objective(losses=("tokens",), align_weight=0.0, tokens_weight=1.0)
    made.network.eval()
    with torch.no_grad():
        before = loss_of(made)[1]["tokens"]
        made.captions = CAPTIONS[::-1]
        assert loss_of(made)[1]["tokens"] != before


def test_vectors_are_compared_as_unit_vectors():
    """An image's contrast must not change how it is compared: the loss sees directions alone."""
    vectors = F.normalize(torch.randn(3, 4), dim=-1)
    assert alignment_loss(vectors, vectors, 10.0).item() < alignment_loss(vectors, vectors.roll(1, 0), 10.0).item()


@pytest.mark.parametrize(
    "wrong",
    [{"embedding_dim": 0}, {"logit_scale": 0.5}, {"masked": 0.0}, {"alpha": 2.0}, {"mlm_weight": -1.0},
     {"tokens_weight": float("nan")}, {"wrong_captions": 0}, {"phrase_labels": -1},
     {"phrase_labels": 8}, {"losses": (), "known_phrases": True}, {"losses": (), "wrong_captions": 2},
     {"smoothing_from": 0.9, "weighting_from": 0.1}, {"delete": 1.5}],
)  # fmt: skip
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        PairOptions(**wrong)


@pytest.mark.parametrize(("known", "expected"), [(False, {"a red house", "a blue star"}), (True, {"a blue star"})])
def test_hard_negatives_may_be_kept_to_phrases_that_captions_have(known, expected):
    """Nobody shows a red house; to call it wrong for every image would teach that there is none."""
    captions = [["a red star"], ["a blue house"], ["two stars near a blue star"], ["a cat"]]
    made = objective(captions, losses=(), word_classes=(("red", "blue"),), known_phrases=known)
    wrong = {text for _ in range(20) for texts in made.choose(batch())[1] for text in texts}
    assert {text for text in wrong if len(text.split()) == 3} == expected


def test_an_image_may_have_several_wrong_captions_each_once():
    captions = [["a red star"], ["a photo"], ["a cat"], ["a dog"]]
    made = objective(captions, losses=(), word_classes=(("red", "blue"), ("star", "house")), wrong_captions=8)
    first, *others = made.choose(batch())[1]
    assert set(first) <= {"a blue star", "a red house"}
    assert len(first) == len(set(first)) > 0
    assert others == [(), (), ()]


def test_an_image_sees_its_own_wrong_captions_alone():
    """The loss with one wrong caption, put together by hand from the network's vectors."""
    captions = [["a photo"], ["a cat"], ["a red star"], ["a dog"]]
    made = objective(captions, losses=(), align_weight=1.0, word_classes=(("red", "blue"),))
    made.network.eval()
    with torch.no_grad():
        loss, _ = loss_of(made)
        images = made.network.encode_image(batch().images, normalize=True)
        texts = [*(each[0] for each in captions), "a blue star"]
        vectors = made.network.encode_text(torch.from_numpy(made._tokenizer(texts)), normalize=True)
        logits = images @ vectors.T * made.network.logit_scale.exp()
        by_text = -logits[:, :4].T.log_softmax(dim=1).diagonal().mean()
        logits[[0, 1, 3], 4] = float("-inf")
        by_image = -logits.log_softmax(dim=1).diagonal().mean()
    torch.testing.assert_close(loss, (by_image + by_text) / 2)


def test_phrases_are_labels_beside_the_words():
    made = objective([["a red star", "a star"]] * 4, losses=(), align_weight=0.0, words_weight=1.0, phrase_labels=2)
    assert made.table.numbers == {("a", "red"): 0, ("a", "star"): 1}
    texts = ["a red star", "a star", "a cat", "star"]
    ids = torch.from_numpy(made._tokenizer(texts))
    labels, counted = made.labels(texts, ids)
    pieces = made.stream.embedding.num_embeddings
    found = [[int(label) - pieces for label in row[here] if label >= pieces]
             for row, here in zip(labels, counted, strict=True)]  # fmt: skip
    assert found == [[0], [1], [], []]
    assert made.words.out_features == pieces + 2 == len(made.importance)
    assert loss_of(made)[0].isfinite()


def test_labels_count_wherever_their_captions_stand(monkeypatch):
    """In sorted data the first images say nothing of the last, and a first caption may be a title."""
    monkeypatch.setattr("mobileclip_kit.distillation.pairs._CAPTIONS_COUNTED", 24)
    captions = [["a photo", "a red star"]] * 20 + [["a photo", "a blue house"]] * 20
    made = objective(captions, losses=(), words_weight=1.0, phrase_labels=8)
    pieces = made.stream.embedding.num_embeddings
    for phrase in (("red", "star"), ("blue", "house")):
        assert made.importance[pieces + made.table.numbers[phrase]] > 0


def test_phrases_of_both_towers_by_hand():
    """The same labels for images and captions by one head, captions as long as images are in the mean."""
    captions = [["red star"], ["blue star"], ["red star"], ["blue star"]]
    made = objective(captions, losses=(), align_weight=0.0, words_weight=1.0, phrase_labels=2)
    made.network.eval()
    assert made.table.numbers == {("blue", "star"): 0, ("red", "star"): 1}
    pieces = made.stream.embedding.num_embeddings
    # A half of the captions has each phrase, ln(4 / 3); of the pieces those of "red" or "blue" count as much.
    ids = torch.from_numpy(made._tokenizer([texts[0] for texts in captions]))
    targets = torch.zeros(4, pieces + 2)
    for row, (here, phrase) in enumerate(zip(ids, (1, 0, 1, 0), strict=True)):
        own = set(here[1 : int(here.argmax())].tolist()) - set(ids[(row + 1) % 2].tolist())
        targets[row, [*own, pieces + phrase]] = 1 / (len(own) + 1)
    with torch.no_grad():
        loss, _ = loss_of(made)
        images = made.network.encode_image(batch().images)
        texts = made.network.encode_text(ids, normalize=True) * images.norm(dim=1).mean()
        by_hand = sum(F.cross_entropy(made.words(each), targets) for each in (images, texts)) / 2
    torch.testing.assert_close(loss, by_hand)
