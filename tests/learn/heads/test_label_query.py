import pytest
import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.heads.label_query import LabelQuery, simplex_etf
from mien.learn.model import Features, sincos_2d


@pytest.fixture
def features():
    tokens = torch.randn(3, 6, 16, generator=torch.manual_seed(1))
    return Features(tokens, tokens.transpose(1, 2).unflatten(2, (2, 3)), tokens.mean(1))


def made(**options):
    torch.manual_seed(0)
    return LabelQuery(**{"width": 16, "num_classes": 5, "heads": 2, **options}).eval()


@pytest.mark.parametrize(("num_classes", "width"), [(2, 2), (7, 16), (8, 128)])
def test_the_frame_has_unit_vectors_with_equal_cosines(num_classes, width):
    frame = simplex_etf(num_classes, width)
    expected = torch.full((num_classes, num_classes), -1 / (num_classes - 1)).fill_diagonal_(1)
    torch.testing.assert_close(frame @ frame.T, expected, atol=1e-5, rtol=0)


def test_queries_start_at_the_frame_or_at_random_vectors_of_its_length():
    torch.testing.assert_close(made().queries @ made().queries.T, torch.full((5, 5), -0.25).fill_diagonal_(1))
    free = made(queries="random").queries
    torch.testing.assert_close(free.norm(dim=1), torch.ones(5))
    assert not torch.allclose(free @ free.T, torch.full((5, 5), -0.25).fill_diagonal_(1), atol=0.05)


def test_a_logit_depends_on_its_own_query_alone(features):
    head = made()
    before = head(features)
    with torch.no_grad():
        head.queries[2] += 1
    changed = (head(features).logits != before.logits).any(0)
    assert changed.tolist() == [False, False, True, False, False]
    assert before.logits.shape == (3, 5) and before.branches["queries"].shape == (3, 5, 16)


def test_every_query_and_the_scale_learn_from_the_first_step(features):
    head = made()
    head(features).logits.square().sum().backward()
    assert (head.queries.grad.norm(dim=1) > 0).all() and head.scale.grad.abs() > 0


def test_frozen_queries_stay_and_all_else_learns(features):
    head = made(train_queries=False)
    head(features).logits.square().sum().backward()
    assert {name for name, parameter in head.named_parameters() if parameter.grad is None} == {"queries"}
    assert head.state_dict().keys() == made().state_dict().keys()  # a free and a frozen head start from each other


@torch.no_grad()
def test_a_layer_equals_one_of_torchs_multi_head_attention(features):
    head = made(layers=1)
    layer = head.layers[0]
    theirs = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    parts = (layer.ask, layer.offer, layer.carry)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(layer.project.state_dict())
    queries, places = (head.queries * head.scale).expand(3, -1, -1), features.tokens + sincos_2d(2, 3, 16)
    target = layer.norm_1(theirs(queries, places, features.tokens, need_weights=False)[0])
    target = layer.norm_2(target + layer.narrow(layer.widen(target).relu()))
    logits = torch.stack([head.norm(target)[:, k] @ head.weight[k] + head.bias[k] for k in range(5)], 1)
    torch.testing.assert_close(head(features).logits, logits, atol=1e-5, rtol=0)


def test_tokens_without_a_grid_are_read_too(features):
    assert made()(features._replace(map=None, tokens=features.tokens[:, :4])).logits.shape == (3, 5)


def test_dropout_is_for_training_alone(features):
    head = made(dropout=0.5)
    assert torch.equal(head(features).logits, head(features).logits)
    assert not torch.equal(head.train()(features).logits, head(features).logits)


def test_more_classes_than_width_and_heads_that_do_not_divide_it_are_refused():
    with pytest.raises(RecipeError, match=r"head\.queries etf: 9 classes"):
        LabelQuery(width=8, num_classes=9)
    with pytest.raises(RecipeError, match=r"head\.heads is 3"):
        LabelQuery(width=8, num_classes=2, heads=3)
