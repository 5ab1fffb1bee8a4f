import numpy as np
import pytest
import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.decoder import Decoder
from mien.learn.model import sincos_2d
from mien.learn.transformer import Block


def mask_of(*rows):
    return torch.tensor([[int(patch in row) for patch in range(9)] for row in rows]).bool()


@torch.no_grad()
def test_tokens_go_to_their_places_and_hidden_ones_are_predicted_row_by_row():
    torch.manual_seed(0)
    decoder, mask = Decoder(8, 5, 3, 0, 32), mask_of({0, 1, 4, 7}, {2, 3, 5, 8})
    tokens, seen = torch.randn(2, 5, 8), []
    decoder.norm.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    decoder.blocks.append(nn.Identity())
    decoder.blocks[0].register_forward_hook(lambda module, given, output: seen.append(given[0]))
    found = decoder(tokens, mask)
    weight, bias = (each.numpy() for each in decoder.project.parameters())
    for row in range(2):
        visible = iter(tokens[row].numpy() @ weight.T + bias)
        expected = np.array([decoder.mask_token.numpy() if hidden else next(visible) for hidden in mask[row]])
        np.testing.assert_allclose(seen[0][row], expected + sincos_2d(3, 3, 32).numpy(), atol=1e-5)
    torch.testing.assert_close(seen[1], seen[0][mask])
    torch.testing.assert_close(found, decoder.predict(decoder.norm(seen[0]))[mask])


def test_what_is_predicted_of_a_patch_depends_on_the_visible_tokens():
    torch.manual_seed(0)
    decoder, mask, tokens = Decoder(8, 5, 3, 2, None), mask_of({0, 1, 2, 3}, {4, 5, 6, 7}), torch.randn(2, 5, 8)
    tokens.requires_grad_()
    decoder(tokens, mask)[0].sum().backward()
    assert tokens.grad[0].any(1).all() and not tokens.grad[1].any()  # of its own face, all of them


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(RecipeError, match=r"objective\.decoder_width is 100\. Expected a multiple of 32"):
        Decoder(8, 5, 3, 1, 100)


@torch.no_grad()
def test_a_block_is_pytorch_s_pre_norm_layer():
    torch.manual_seed(0)
    block, layer = Block(32, 4), nn.TransformerEncoderLayer(32, 4, 128, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    names = {
        "norm_1": layer.norm1,
        "norm_2": layer.norm2,
        "project": layer.self_attn.out_proj,
        "widen": layer.linear1,
        "narrow": layer.linear2,
    }
    for name, part in names.items():
        for parameter in part.parameters():
            parameter.normal_()
        getattr(block, name).load_state_dict(part.state_dict())
    block.qkv.weight.copy_(layer.self_attn.in_proj_weight)
    block.qkv.bias.copy_(layer.self_attn.in_proj_bias.normal_())
    tokens = torch.randn(2, 7, 32)
    torch.testing.assert_close(block(tokens), layer(tokens), rtol=1e-4, atol=1e-4)
