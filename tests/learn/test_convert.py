import argparse
import re

import pytest
import safetensors.torch
import timm
import torch

from mien import cli
from mien.errors import RecipeError, WeightsError
from mien.learn.convert import convert
from mien.learn.export import read_model

ENCODER = "vit_tiny_patch16_224"
SIZE = 32  # two by two patches


@pytest.fixture(scope="module")
def source():
    """A transformer of timm with random weights, biases too."""
    torch.manual_seed(0)
    model = timm.create_model(ENCODER, img_size=SIZE, num_classes=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.eval()


def as_mae(weights):
    return {"model": {**weights, "mask_token": torch.zeros(1, 1, 512), "decoder_embed.weight": torch.zeros(512, 192)}}


def as_slowfast(weights):
    """Queries, keys and values apart, pictures as films of one frame, no last normalisation, a head of its own."""
    made = {"mask_token": torch.zeros(1, 1, 192), "pred_head.transforms.0.3.weight": torch.zeros(108, 192)}
    for key, tensor in weights.items():
        if ".attn.qkv." in key:
            made |= {key.replace("qkv", part): piece for part, piece in zip("qkv", tensor.chunk(3), strict=True)}
        elif key == "patch_embed.proj.weight":
            made[key] = tensor[:, :, None]
        elif not key.startswith("norm."):
            made[key] = tensor
    return {"epoch": 1, "model_state": made}


def as_mmpretrain(weights):
    made = {"head.fc.weight": torch.zeros(108, 192), "target_generator.weight_x": torch.zeros(3, 1, 3, 3)}
    for key, tensor in weights.items():
        key = re.sub(r"^blocks\.(\d+)\.norm(\d)", r"layers.\1.ln\2", key)
        key = re.sub(r"^blocks\.(\d+)\.mlp\.fc1", r"layers.\1.ffn.layers.0.0", key)
        key = re.sub(r"^blocks\.(\d+)\.mlp\.fc2", r"layers.\1.ffn.layers.1", key)
        key = re.sub(r"^blocks", "layers", key)
        made["backbone." + re.sub(r"^norm\.", "ln1.", key).replace("patch_embed.proj.", "patch_embed.projection.")] = tensor
    return {"meta": {}, "state_dict": made}


def tokens_of(source, faces):
    """The transformer's normalised output without its class token."""
    scaled = (faces - torch.tensor([123.675, 116.28, 103.53])[:, None, None]) / torch.tensor([58.395, 57.12, 57.375])[
        :, None, None
    ]
    return source.forward_features(scaled)[:, 1:]


@pytest.mark.parametrize("layout", [dict, as_mae, as_slowfast, as_mmpretrain])
def test_each_layout_gives_the_features_of_the_model_it_came_from(source, layout, tmp_path):
    torch.save(layout(source.state_dict()), tmp_path / "weights.pth")
    assert convert(str(tmp_path / "weights.pth"), tmp_path / "start", encoder=ENCODER, image_size=SIZE) == ([], [])
    model, config = read_model(tmp_path / "start")
    faces = torch.randint(0, 256, (2, 3, SIZE, SIZE)).float()
    expected = tokens_of(source, faces)
    if layout is as_slowfast:
        source.norm, norm = torch.nn.LayerNorm(192, eps=1e-6), source.norm
        expected = tokens_of(source, faces)
        source.norm = norm
    torch.testing.assert_close(model.encode(faces).tokens, expected, atol=1e-5, rtol=1e-4)
    assert config.classes == () and config.image_size == SIZE


def test_grey_faces_and_other_sizes_are_the_same_model(source, tmp_path):
    safetensors.torch.save_file(source.state_dict(), tmp_path / "weights.safetensors")
    convert(
        str(tmp_path / "weights.safetensors"), tmp_path / "start", encoder=ENCODER, image_size=SIZE, channels=1, licence="ours"
    )
    model, config = read_model(tmp_path / "start")
    assert config.licence == "ours" and "ours" in (tmp_path / "start" / "README.md").read_text()
    weights = model.encoder.body.state_dict()
    torch.testing.assert_close(weights["patch_embed.proj.weight"], source.patch_embed.proj.weight.sum(1, keepdim=True))
    convert(str(tmp_path / "weights.safetensors"), tmp_path / "larger", encoder=ENCODER, image_size=64)
    positions = read_model(tmp_path / "larger")[0].encoder.body.pos_embed
    assert positions.shape == (1, 17, 192)
    torch.testing.assert_close(positions[:, 0], source.pos_embed[:, 0])
    corner = (source.pos_embed[:, 1] - positions[:, 1]).norm()  # resampled: near the corner it came from
    assert corner < (source.pos_embed[:, 4] - positions[:, 1]).norm()


def test_missing_and_extra_tensors_are_listed_and_refused_unless_told(source, tmp_path, capsys):
    weights = dict(source.state_dict())
    del weights["blocks.3.mlp.fc1.bias"]
    weights["blocks.0.gamma"] = torch.zeros(192)
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    message = r"not the tensors of vit_tiny_patch16_224. Missing: blocks.3.mlp.fc1.bias; left over: blocks.0.gamma"
    with pytest.raises(WeightsError, match=message):
        convert(str(path), tmp_path / "start", encoder=ENCODER, image_size=SIZE)
    assert not (tmp_path / "start").exists()
    tokens = ["models", "convert", str(path), "--out", str(tmp_path / "start"), "--encoder", ENCODER, "--image-size", str(SIZE)]
    assert cli.main([*tokens, "--partial"]) == 0
    shown = capsys.readouterr().err
    assert "missing, left random: blocks.3.mlp.fc1.bias" in shown and "left over: blocks.0.gamma" in shown


def test_weights_of_another_model_are_refused_by_the_first_that_does_not_fit(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"blocks.0.attn.proj.bias is \(192,\), that of vit_small_patch16_224 is \(384,\)"):
        convert(str(tmp_path / "weights.pth"), tmp_path / "start", encoder="vit_small_patch16_224", image_size=SIZE)


def test_nothing_but_tensors_is_read(tmp_path):
    torch.save({"model": {}, "args": argparse.Namespace(lr=1)}, tmp_path / "objects.pth")
    (tmp_path / "text.pth").write_text("no")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name, message in (
        ("objects.pth", "cannot be read as tensors alone .* could run code"),
        ("text.pth", "cannot be read as tensors alone"),
        ("none.pth", "holds no tensors by name"),
        ("nowhere.pth", "no such file"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert(str(tmp_path / name), tmp_path / "start", encoder=ENCODER, image_size=SIZE)


def test_an_encoder_must_be_named_and_be_one_of_timm(tmp_path):
    with pytest.raises(RecipeError, match="no encoder is named"):
        convert("weights.pth", tmp_path / "start")
    with pytest.raises(RecipeError, match="encoder vit_small_48 is mien's own"):
        convert("weights.pth", tmp_path / "start", encoder="vit_small_48", image_size=48)
