import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mien.errors import RecipeError
from mien.learn.randomness import keys, uniform
from mien.learn.views import check_views, make_view, make_views, points_in_views

KEYS = keys(0, 0, torch.arange(200))
ALL = {
    "flip": 0.5,
    "rotate": 30,
    "scale": [0.8, 1.3],
    "shift": 0.1,
    "erase": 0.7,
    "soften": 1.0,
    "gamma": 2.0,
    "noise": 20.0,
    "jpeg": 20.0,
    "crop": 0.5,
}


@pytest.fixture
def images():
    return torch.randint(0, 256, (200, 1, 16, 16), dtype=torch.uint8, generator=torch.manual_seed(1))


def dots(x, y, size=64, spread=2.0):
    """Returns (200, 1, size, size) uint8 with one soft dot, x to the right of and y below the centre."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    place = (columns - (size - 1) / 2 - x).square() + (rows - (size - 1) / 2 - y).square()
    return (255 * torch.exp(-place / (2 * spread**2))).to(torch.uint8).expand(len(KEYS), 1, size, size)


def places(views):
    """Returns (B, 2): how far to the right of and below the centre the dot lies."""
    weights = views[:, 0] / views[:, 0].sum((1, 2), keepdim=True)
    offsets = torch.arange(views.shape[3]) - (views.shape[3] - 1) / 2
    return torch.stack([(weights.sum(1) * offsets).sum(1), (weights.sum(2) * offsets).sum(1)], 1)


def test_nothing_asked_changes_nothing(images):
    view = make_view(images, KEYS, "weak")
    assert view.dtype == torch.float32 and torch.equal(view, images.float())


def test_a_key_gives_the_same_view_in_whatever_batch(images):
    view = make_view(images, KEYS, "weak", **ALL)
    some = [7, 150, 3]
    torch.testing.assert_close(make_view(images[some], KEYS[some], "weak", **ALL), view[some], atol=1e-3, rtol=0)
    assert not torch.equal(make_view(images, KEYS.flip(0), "weak", **ALL), view)


def test_views_stay_between_black_and_white(images):
    view = make_view(images, KEYS, "weak", **ALL)
    assert view.min() >= 0 and view.max() <= 255 + 1e-3


def test_weak_flipped_is_the_mirror_of_weak_and_strong_2_a_second_draw_of_strong(images):
    names = ("weak", "weak_flipped", "strong", "strong_2")
    views = make_views(images, KEYS, names, {"weak": ALL, "strong": ALL})
    assert tuple(views) == names
    assert torch.equal(views["weak_flipped"], views["weak"].flip(3))
    differ = [(views[a] != views[b]).flatten(1).any(1).all() for a, b in (("strong", "strong_2"), ("weak", "strong"))]
    assert all(differ)
    assert torch.equal(views["strong"], make_view(images, KEYS, "strong", **ALL))  # of its own stream


def test_half_of_the_faces_are_flipped_and_the_others_left_alone(images):
    view, whole = make_view(images, KEYS, "weak", flip=0.5), images.float()
    flipped = (view == whole.flip(3)).flatten(1).all(1)
    assert ((view == whole).flatten(1).all(1) ^ flipped).all()
    assert 70 < int(flipped.sum()) < 130
    assert torch.equal(make_view(images, KEYS, "weak", flip=1.0), whole.flip(3))


def test_a_flip_within_a_movement_is_the_same_flip():
    view = make_view(dots(12, -5), KEYS, "weak", flip=0.5, shift=1e-9)
    torch.testing.assert_close(view, make_view(dots(12, -5), KEYS, "weak", flip=0.5), atol=0.01, rtol=0)


def test_a_shift_moves_the_dot_by_what_was_drawn_and_no_further_than_asked():
    moved = places(make_view(dots(0, 0), KEYS, "weak", shift=0.1))
    drawn = uniform(KEYS, "weak", 11)[:, 3:5] * 2 - 1
    torch.testing.assert_close(moved, -drawn * 0.1 * 64, atol=0.05, rtol=0)
    assert moved.abs().max() <= 6.4 + 0.05 and (moved.abs().amax(0) > 5.5).all() and (moved.mean(0).abs() < 1).all()


def test_a_turn_moves_the_dot_on_its_circle_by_what_was_drawn_and_no_further_than_asked():
    moved = places(make_view(dots(16, 0), KEYS, "weak", rotate=30))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((200,), 16.0), atol=0.05, rtol=0)
    turns = torch.rad2deg(torch.atan2(-moved[:, 1], moved[:, 0]))
    torch.testing.assert_close(turns, (uniform(KEYS, "weak", 11)[:, 1] * 2 - 1) * 30, atol=0.3, rtol=0)
    assert turns.min() < -25 and turns.max() > 25


def test_a_scale_moves_the_dot_away_from_the_centre_within_the_bounds():
    moved = places(make_view(dots(10, 10), KEYS, "weak", scale=[0.5, 1.5])) / 10
    torch.testing.assert_close(moved[:, 0], moved[:, 1], atol=0.01, rtol=0)
    expected = 0.5 * 3 ** uniform(KEYS, "weak", 11)[:, 2]  # uniform in the logarithm
    torch.testing.assert_close(moved[:, 0], expected, atol=0.02, rtol=0)


def test_the_edge_is_repeated_where_a_face_moves_out_of_the_picture():
    white = torch.full((200, 3, 8, 8), 255, dtype=torch.uint8)
    torch.testing.assert_close(make_view(white, KEYS, "weak", rotate=45, shift=0.5), white.float(), atol=1e-3, rtol=0)


def test_erasing_paints_one_grey_rectangle_of_the_area_asked_for():
    black, white = (torch.full((200, 1, 32, 32), value, dtype=torch.uint8) for value in (0, 255))
    options = {"erase": 0.6, "erase_area": [0.05, 0.2]}
    first, second = make_view(black, KEYS, "weak", **options), make_view(white, KEYS, "weak", **options)
    painted = (first == second)[:, 0]  # (200, H, W): what no longer depends on the picture
    erased = painted.flatten(1).any(1)
    assert 90 < int(erased.sum()) < 150
    for mask, view in zip(painted[erased], first[erased], strict=True):
        tall, wide = int(mask.any(1).sum()), int(mask.any(0).sum())
        assert tall * wide == int(mask.sum())
        assert len(view[0][mask].unique()) == 1
        assert 0.05 * 1024 - (tall + wide) <= tall * wide <= 0.2 * 1024 + tall + wide  # borders fall between pixels
        assert 0.2 < tall / wide < 5
    anywhere = painted.any(0)
    assert anywhere[0].any() and anywhere[-1].any() and anywhere[:, 0].any() and anywhere[:, -1].any()


def test_a_picture_in_colour_moves_as_one():
    grey = dots(5, 9)
    view = make_view(grey.expand(-1, 3, -1, -1), KEYS, "weak", **ALL)
    assert torch.equal(view[:, 0], view[:, 2])


def test_an_unknown_argument_of_a_view_is_refused_with_a_hint():
    with pytest.raises(RecipeError, match=r"views\.weak\.rotat is not an argument of make_view\. Did you mean rotate\?"):
        check_views(("weak",), {"weak": {"rotat": 3}})
    with pytest.raises(RecipeError, match=r"views\.weak\.mirror is not an argument"):
        check_views(("weak",), {"weak": {"mirror": True}})


@pytest.mark.parametrize("name", ["strong", "strong_2"])
def test_a_view_without_a_section_is_refused_by_name(name):
    with pytest.raises(RecipeError, match=rf"views\.strong is missing; the objective asks for the view '{name}'"):
        check_views(("weak", name), {"weak": {}})
    check_views(("weak", "weak_flipped", name), {"weak": {}, "strong": {"flip": 0.5}})


def test_angles_are_in_degrees():
    quarter = places(make_view(dots(16, 0), KEYS, "weak", rotate=90))
    assert float(torch.atan2(quarter[:, 1], quarter[:, 0]).abs().max()) == pytest.approx(math.pi / 2, abs=0.05)
    assert np.abs(quarter.numpy()).max() < 16.1


def test_a_value_of_the_wrong_type_and_a_magnification_of_zero_are_refused_by_key():
    with pytest.raises(RecipeError, match=r"views\.weak\.flip is 'often'"):
        check_views(("weak",), {"weak": {"flip": "often"}})
    with pytest.raises(RecipeError, match=r"views\.weak\.scale is \[0\.0, 1\.0\]"):
        check_views(("weak",), {"weak": {"scale": [0, 1]}})


def test_softened_pictures_keep_their_brightness_and_lose_their_detail(images):
    view = make_view(images, KEYS, "weak", soften=1.0)
    detail = [(each[:, :, :, 1:] - each[:, :, :, :-1]).square().mean((1, 2, 3)) for each in (view, images.float())]
    assert (detail[0] <= detail[1] * 1.001).all() and detail[0].mean() < 0.6 * detail[1].mean()
    assert (view.mean((1, 2, 3)) - images.float().mean((1, 2, 3))).abs().max() < 8
    flat = torch.full((200, 1, 16, 16), 77, dtype=torch.uint8)
    torch.testing.assert_close(make_view(flat, KEYS, "weak", soften=1.0), flat.float())


def test_gamma_darkens_as_often_as_it_brightens_and_keeps_black_and_white():
    grey = torch.full((200, 1, 4, 4), 64, dtype=torch.uint8)
    level = make_view(grey, KEYS, "weak", gamma=2.0)[:, 0, 0, 0]
    assert 255 * (64 / 255) ** 2 - 0.1 <= level.min() < 25 and 110 < level.max() <= 255 * (64 / 255) ** 0.5 + 0.1
    assert 70 < (level > 64).sum() < 130
    ends = torch.tensor([0, 255], dtype=torch.uint8).repeat(200, 1, 4, 2)
    assert torch.equal(make_view(ends, KEYS, "weak", gamma=2.0), ends.float())


def test_jpeg_loses_what_a_jpeg_file_loses():
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (10, 10), dtype=np.uint8)).resize((44, 44), Image.Resampling.BICUBIC)
    quality = 10 + 90 * uniform(KEYS[:6], "weak", 15)[:, 14]
    assert quality.min() < 30 < 75 < quality.max()
    pictures = torch.from_numpy(np.array(coarse)).expand(6, 1, 44, 44)
    for view, each in zip(make_view(pictures, KEYS[:6], "weak", jpeg=10.0), quality, strict=True):
        file = io.BytesIO()
        coarse.save(file, "JPEG", quality=round(float(each)))
        stored = np.asarray(Image.open(file)).astype(float)
        lost = np.abs(stored - np.array(coarse)).mean()
        assert np.abs(view[0].numpy() - stored).mean() < 0.2 * lost + 0.5  # a file's quality and greys are whole numbers


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("jpeg", 0, "1 to 100"), ("crop", 0, "0.01 to 1"), ("crop", 1.5, "0.01 to 1"), ("randaugment", 31, "0 to 30")],
)
def test_values_that_cannot_be_are_named(name, value, expected):
    with pytest.raises(RecipeError, match=rf"views.weak.{name} is {value}. Expected {expected}"):
        check_views(("weak",), {"weak": {name: value}})


def test_a_crop_lies_inside_the_picture_and_is_as_large_as_said():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    ramps = torch.stack([columns, rows]).to(torch.uint8).expand(200, 2, 64, 64)  # each pixel says where it lies
    view = make_view(ramps, KEYS, "weak", crop=0.3)
    wide, tall = view[:, 0, 0, -1] - view[:, 0, 0, 0], view[:, 1, -1, 0] - view[:, 1, 0, 0]
    area = (wide / 63) * (tall / 63)  # between the middles of the outer pixels
    assert 0.28 < area.min() < 0.4 and 0.85 < area.max() <= 1.01
    ratio = wide / tall
    assert 0.73 < ratio.min() < 0.85 and 1.15 < ratio.max() < 1.36
    left, right = view[:, 0, 0, 0], view[:, 0, 0, -1]
    assert left.min() >= 0 and right.max() <= 63
    loose = area < 0.5
    assert left[loose].min() < 4 and right[loose].max() > 59  # both ends are reached
    assert make_view(ramps, KEYS, "weak", crop=1.0).equal(ramps.float())


def test_randaugment_belongs_to_the_sample_and_leaves_torchs_randomness_alone(images):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    view = make_view(images[:20], KEYS[:20], "weak", randaugment=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = make_view(images[10:20], KEYS[10:20], "weak", randaugment=9)
    assert torch.equal(view[10:], again)
    changed = (view != images[:20].float()).flatten(1).any(1)
    assert changed.sum() > 10 and not torch.equal(view, make_view(images[:20], KEYS[:20], "other", randaugment=9))


def test_noise_has_the_deviation_it_is_drawn_with():
    grey = torch.full((200, 1, 32, 32), 128, dtype=torch.uint8)
    deviation = make_view(grey, KEYS, "weak", noise=20.0).std((1, 2, 3))
    drawn = 20 * uniform(KEYS, "weak", 15)[:, 13]
    torch.testing.assert_close(deviation, drawn, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("place", range(5))
def test_a_point_lies_where_the_dot_that_it_names_has_gone_and_left_and_right_change_in_the_mirror(place):
    spots = torch.tensor([[-9.0, -6], [8, -5], [1, 2], [-6, 9], [7, 8]])  # pixels right of and below the centre
    sections = {"weak": {**{name: ALL[name] for name in ("flip", "rotate", "scale")}, "shift": 0.05, "crop": 0.9, "noise": 0.0}}
    images = dots(*spots[place].tolist())
    names = ("weak", "weak_flipped")
    views = make_views(images, KEYS, names, sections)
    points = points_in_views((spots / 32).expand(len(KEYS), 5, 2), KEYS, names, sections)
    flipped = uniform(KEYS, "weak", 19)[:, 0] < 0.5
    for name, mirrored in zip(names, (flipped, ~flipped), strict=True):
        now = torch.where(mirrored, [1, 0, 2, 4, 3][place], place)
        found = points[name][torch.arange(len(KEYS)), now] * 32
        torch.testing.assert_close(found, places(views[name]), atol=0.3, rtol=0)


def test_points_that_are_missing_stay_so_and_randaugment_is_refused_where_they_are_needed():
    points = torch.full((len(KEYS), 5, 2), torch.nan)
    assert points_in_views(points, KEYS, ["weak"], {"weak": {"rotate": 10}})["weak"].isnan().all()
    check_views(["weak"], {"weak": {"randaugment": 9}})
    with pytest.raises(RecipeError, match=r"views\.weak\.randaugment moves pictures as points do not follow"):
        check_views(["weak"], {"weak": {"randaugment": 9}}, with_points=True)
