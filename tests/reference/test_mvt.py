import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.encoders.mvt import MVT as Encoder
from mien.learn.objectives.supervised.mvt import DynamicRelabelling

LABEL = [0, 2, 1, 1, 2, 0]


def made(**options):
    torch.manual_seed(0)
    sizes = {"image_size": 12, "channels": 2, "width": 16, "depth": 1, "mask_depth": 1, "heads": 2, "patch": 4, "stem": "patch"}
    return Encoder(**{**sizes, **options}).eval()


@pytest.fixture
def pixels():
    return torch.randn(3, 2, 12, 12, generator=torch.manual_seed(1))


# ---------------------------------------------------------------------- the encoder


def test_each_pixel_has_its_own_number_from_its_patchs_token(pixels):
    encoder = made()
    tokens = encoder.generator(pixels).tokens.detach().numpy()  # (B, L, D)
    weight, bias = encoder.pixel_mask.weight[:, :, 0, 0].detach().numpy(), encoder.pixel_mask.bias.detach().numpy()
    expected = np.empty((3, 2, 12, 12))
    for channel, row, column in np.ndindex(2, 12, 12):
        number = channel * 16 + row % 4 * 4 + column % 4
        said = tokens[:, row // 4 * 3 + column // 4] @ weight[number] + bias[number]
        expected[:, channel, row, column] = 1 / (1 + np.exp(-said))
    np.testing.assert_allclose(encoder.mask(pixels).detach(), expected, rtol=1e-5)
    assert 0.8 < expected.mean() < 0.95  # faces are nearly whole at first


def test_the_second_transformer_reads_what_the_first_lets_through(pixels):
    encoder, bias = made(), torch.full((2, 4, 4), 60.0)
    bias[:, 1:3, 1:3] = -60  # of each patch the middle is masked
    encoder.pixel_mask.bias.data = bias.flatten()
    middle = (torch.arange(12) % 4 - 1.5).abs() < 1
    hidden = middle[:, None] & middle
    features = encoder(pixels)
    torch.testing.assert_close(features.tokens, encoder.classifier(pixels.masked_fill(hidden, 0)).tokens)
    assert not torch.allclose(features.tokens, encoder.classifier(pixels).tokens)


def test_both_transformers_learn_from_the_first_step(pixels):
    encoder = made(stem="conv", width=32).train()
    encoder(pixels).map.square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_at_the_papers_size_it_is_one_and_a_half_deit_s():
    with torch.device("meta"):
        encoder = Encoder(image_size=224, channels=3, width=384, depth=12, mask_depth=6, heads=6, patch=16, stem="patch")
        assert encoder(torch.zeros(2, 3, 224, 224)).map.shape == (2, 384, 14, 14)
    block, rest = 12 * 384**2 + 13 * 384, 384 * (768 + 1) + 196 * 384 + 2 * 384
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 18 * block + 2 * rest + 768 * 385


def test_a_patch_that_does_not_fit_is_refused_by_key():
    with pytest.raises(RecipeError, match=r"encoder\.patch is 5"):
        made(patch=5)


# ---------------------------------------------------------------------- the objective


def test_a_face_has_the_likeliest_label_only_while_it_leads_by_the_margin(told):
    targets = np.eye(3)[LABEL]
    logits = np.array([[3, 0, 0], [2, 0, -1], [0, 2, 2.2], [0, 1, 3], [0.4, 0, 0.3], [0, 5, 1.0]])
    method = told(DynamicRelabelling(relabel_epoch=2, relabel_margin=0.3), targets)
    assert method.loss(logits).total.item() == pytest.approx(cross_entropy(logits, LABEL), rel=1e-5)
    np.testing.assert_array_equal(method.visit(logits, epoch=1), targets)  # nobody is relabelled yet
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    leads = probs.max(1) - (probs * targets).sum(1) > 0.3
    revised = np.where(leads, probs.argmax(1), LABEL)
    assert 0 < leads.sum() < 6 and ((revised == LABEL) & (probs.argmax(1) != LABEL)).any()
    np.testing.assert_array_equal(method.visit(logits, epoch=2), np.eye(3)[revised])
    assert method.loss(logits, epoch=3).total.item() == pytest.approx(cross_entropy(logits, revised), rel=1e-5)


def test_a_label_comes_back_when_the_model_no_longer_doubts_it(told):
    method = told(DynamicRelabelling(relabel_epoch=0), [[1, 0, 0], [0, 1, 0]])
    assert method.visit([[0, 9, 0]], [0]).argmax(1).tolist() == [1, 1]
    assert method.visit([[0, 0.2, 0]], [0]).argmax(1).tolist() == [0, 1]


def cross_entropy(logits, label):
    return (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(label)), label]).mean()
