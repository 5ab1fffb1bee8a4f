import numpy as np
import torch
from torch import nn

from mien.learn.encoders.scan import SCAN


def made(**options):
    torch.manual_seed(0)
    encoder = SCAN(**{"image_size": 20, "widths": (8, 8), "cuts": 2, **options}).eval()
    for module in encoder.modules():  # as after training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return encoder


def test_at_224_pixels_there_are_the_official_code_s_25_patches_and_a_map_of_14_by_14():
    encoder = made(image_size=224, channels=3, cuts=5)
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, 224, 224))
    assert [rows for rows, _ in encoder.patches[::5]] == [slice(at, at + 6) for at in (0, 6, 12, 18, 24)]  # of 28
    assert len(encoder.local) == 25
    assert features.map.shape == (1, 16, 14, 14) and features.pooled.shape == (1, 16)


def attended(look, part):
    """Returns (B, C), written again: convolution, PReLU, normalisation, sigmoid, product, mean."""
    convolve, bend, normalise, _ = look.weigh
    seen = nn.functional.conv2d(part, convolve.weight, padding=1).detach().double().numpy()
    seen = np.where(seen > 0, seen, bend.weight.detach().numpy()[:, None, None] * seen)
    mean, spread = (values.double().numpy()[:, None, None] for values in (normalise.running_mean, normalise.running_var))
    return (part.double().numpy() / (1 + np.exp(-(seen - mean) / np.sqrt(spread + 1e-5)))).mean((2, 3))


def test_pooled_features_are_the_patches_largest_beside_the_whole_at_unit_length(random):
    encoder, pixels = made(), torch.tensor(random.normal(size=(3, 1, 20, 20)), dtype=torch.float32)
    with torch.no_grad():
        found, square = encoder(pixels).pooled, encoder.trunk(pixels)  # (B, 8, 5, 5), cut after three
    parts = [square[:, :, r, c] for r in (slice(0, 3), slice(3, 5)) for c in (slice(0, 3), slice(3, 5))]
    local = np.stack([attended(look, part) for look, part in zip(encoder.local, parts, strict=True)]).max(0)
    expected = np.concatenate([local, attended(encoder.whole, square)], 1)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_the_map_is_deeper_and_each_channel_counts_as_its_neighbours_are_strong(random):
    encoder, pixels = made(), torch.tensor(random.normal(size=(3, 1, 20, 20)), dtype=torch.float32)
    with torch.no_grad():
        found, deep = encoder(pixels).map.numpy(), encoder.deeper(encoder.trunk(pixels)).numpy()
    weight = encoder.neighbours.weight.detach().numpy().ravel()
    strength = np.pad(deep.mean((2, 3)), ((0, 0), (2, 2)))
    gate = 1 / (1 + np.exp(-sum(weight[k] * strength[:, k : k + 16] for k in range(5))))
    assert found.shape == (3, 16, 3, 3)
    np.testing.assert_allclose(found, deep * gate[:, :, None, None], atol=1e-5)


def test_map_and_pooled_features_together_teach_every_parameter():
    encoder = made().train()
    features = encoder(torch.randn(4, 1, 20, 20, generator=torch.manual_seed(1)))
    (features.pooled[:, 0].sum() + features.map.square().sum() + features.pooled[:, 8:].sum()).backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert all(name.startswith("local.") for name in silent)  # a patch that is nowhere the largest in these four faces
