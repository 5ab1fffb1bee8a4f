import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.export import write_weights
from mien.learn.model import FaceModel
from mien.learn.objectives.supervised.distillation import Distillation
from mien.predict.model_folder import ModelConfig

VOTES = np.array([[5, 1, 0, 4], [1, 1, 1, 7], [2, 1, 6, 1], [0, 0, 1, 9], [10, 0, 0, 0]])  # the last column is no class
ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
CONFIG = {"encoder": ENCODER, "image_size": 8, "channels": 1, "pixels": "imagenet", "head": "linear"}


@pytest.fixture
def teachers(tmp_path):
    """Two model folders that disagree, and what they say of a black picture, (2, K) logits."""
    folders, said = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = FaceModel.from_config(CONFIG, tuple("abc"))
        torch.nn.init.normal_(model.head.classify.weight)
        folder = tmp_path / f"teacher_{seed}"
        write_weights(folder, model.state_dict(), ModelConfig(model.config, model.classes, 8, 1), "")
        folders.append(str(folder))
        said.append(model(torch.zeros(1, 1, 8, 8)).logits[0].detach().numpy())
    return folders, np.array(said)


def student(told):
    """Returns models that say what they are told and look like the teachers."""
    return type("Student", (told,), {"config": CONFIG})


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_the_cross_entropy_to_teachers_and_votes(told, random, teachers, share, temperature):
    folders, said = teachers
    logits = random.normal(0, 3, (5, 3))
    distribution = VOTES[:, :3] / VOTES[:, :3].sum(1, keepdims=True)
    taught = softmax(said / temperature).mean(0)
    by_votes = -np.mean((distribution * np.log(softmax(logits))).sum(1))
    by_teachers = -np.mean((taught * np.log(softmax(logits / temperature))).sum(1)) * temperature**2
    objective = Distillation(teachers=folders, share=share, temperature=temperature)
    model = student(told)(objective, np.ones((5, 3)), votes=VOTES)
    loss = model.loss(logits)
    assert float(loss.total) == pytest.approx(share * by_teachers + (1 - share) * by_votes, rel=1e-4)
    assert not list(model.objective.parameters()) and len(model.objective.state_dict()) == 1


def test_a_teacher_of_other_classes_is_refused(told, teachers):
    with pytest.raises(RecipeError, match=r"teacher_0: the classes \('a', 'b', 'c'\). Expected \('a', 'b'\), as the model has"):
        student(told)(Distillation(teachers=teachers[0]), np.ones((5, 2)), votes=VOTES)
