"""Recipes: a YAML file plus overrides, checked section by section."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from mien.errors import RecipeError, did_you_mean

# What PyYAML raises: YAMLError by its grammar, the others from values that a tag or a form promises, or brackets without end.
NO_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_SHORT = reprlib.Repr()  # a few aliases in YAML can stand for a value of any size
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 200, 200


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Named(BaseModel):
    """A thing on a shelf: its file's name, or `module:Name` for one outside, and its arguments."""

    model_config = ConfigDict(extra="allow")
    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as written; whoever builds the thing checks them against its signature."""
        return dict(self.model_extra or {})

    @model_serializer
    def _write(self) -> dict[str, Any]:
        return {"name": self.name, **self.arguments}


class Splits(_Section):
    """Which split of the table plays which part; the owner's test split is never named."""

    train: str = "train"
    select: str | None = "select"
    calibrate: str | None = "calibrate"
    report: str | None = "report"

    @model_validator(mode="after")
    def _never_test(self) -> Self:
        if "test" in (self.train, self.select, self.calibrate, self.report):
            raise ValueError("no training may see the test split; use train, select, calibrate or report")
        return self

    @model_validator(mode="after")
    def _judged_apart(self) -> Self:
        chosen_by = {self.select, self.calibrate} - {None}
        if self.train in chosen_by | {self.report} or self.report in chosen_by:
            raise ValueError(
                "a model is judged on faces that neither trained nor chose it; name a split of its own for each, or null"
            )
        return self


class Data(_Section):
    """The table to learn from, or several; `rule` and `votes_per_face` change what is known of their training rows alone.

    `rule` makes their label anew from their votes: a label rule, or `lot` (most votes, ties by lot). `votes_per_face` keeps
    that many of the votes, drawn with the run's seed; `labelled_only` leaves out those without a label. `fold` "1/5" makes the
    first fifth of the training rows the report split and leaves out all other splits, so that these faces are judged by a
    model that never saw them.
    """

    table: Path | Annotated[list[Path], Field(min_length=1)]
    root: Path | None = None
    label: str = "label"
    rule: str | None = None
    votes_per_face: int | None = Field(None, ge=1)
    labelled_only: bool = False
    fold: str | None = None
    splits: Splits = Splits()

    @field_validator("fold")
    @classmethod
    def _one_of_several(cls, value: str | None) -> str | None:
        place, _, num = (value or "1/2").partition("/")
        if not (place.isdigit() and num.isdigit() and 1 <= int(place) <= int(num) >= 2):
            raise ValueError("expected one of several, such as 1/5")
        return value

    @field_validator("root")
    @classmethod
    def _of_one_table(cls, value: Path | None, about: ValidationInfo) -> Path | None:
        if value is not None and isinstance(about.data.get("table"), list):
            raise ValueError("it moves the pictures of one table; where there are several, merge them first: mien data merge")
        return value

    @property
    def tables(self) -> list[Path]:
        """The files, also where there is one."""
        return self.table if isinstance(self.table, list) else [self.table]

    @property
    def name(self) -> str:
        """What to call the table, or all of them, in an error."""
        return " + ".join(path.name for path in self.tables)


class Model(_Section):
    """The whole model: encoder, head and what happens to the pixels before; `mirror` answers by a face and its mirror image."""

    encoder: Named
    image_size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3] = 1
    pixels: Literal["per_image", "imagenet"] = "per_image"
    mirror: bool = False
    head: Named | None = None


class Start(_Section):
    """The model folder whose weights the training starts from; `freeze` keeps the encoder's as they are."""

    encoder: Path
    head: bool = False
    freeze: bool = False


_OWN: dict[str, dict[str, Any]] = {  # what an optimizer has for itself, unless a recipe says otherwise
    "adamw": {"betas": (0.9, 0.999), "weight_decay": 0.05},
    "sgd": {"momentum": 0.9, "weight_decay": 5e-4},  # added to the gradient, hence smaller
}


class Optimizer(_Section):
    """AdamW, or SGD with Nesterov momentum, and its schedule; `lr` is the peak rate, whatever the batch size."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0)
    min_lr: float = Field(1e-6, ge=0)
    betas: tuple[float, float] | None = None
    momentum: float | None = Field(None, ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    warmup_epochs: float = Field(5, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        said = {key: setting for key, setting in value.items() if setting is not None}
        return {**_OWN.get(str(said.get("name", "adamw")), {}), **said}

    @field_validator("betas", "momentum")
    @classmethod
    def _belongs(cls, value: Any, about: ValidationInfo) -> Any:
        owner = "adamw" if about.field_name == "betas" else "sgd"
        if value is not None and about.data.get("name", owner) != owner:
            raise ValueError(f"it belongs to {owner}; leave it out, or set it to null")
        return value


class Train(_Section):
    """How long, how large, how exact; `sampler: class_balanced` shows each class equally often."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)
    accumulate: int = Field(1, ge=1)
    sampler: Literal["uniform", "class_balanced"] = "uniform"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    ema: float | None = Field(None, gt=0, lt=1)
    seed: int = 0
    devices: int = Field(1, ge=1)
    checkpoint_steps: int = Field(200, ge=1)
    max_broken_share: float = Field(0.01, ge=0, le=1)
    memory_gb: float = Field(8, gt=0)


class Choose(_Section):
    """What decides, on the select split, which epoch becomes the model; by candidate sets where no label is known."""

    by: Literal["vote_accuracy", "accuracy", "covering_rate", "approximated_accuracy", "last"] = "last"


class Recipe(_Section):
    """One training, in full."""

    data: Data
    candidates: Named | None = None
    model: Model
    views: dict[str, dict[str, Any]]
    start: Start | None = None
    objective: Named
    optimizer: Optimizer
    train: Train
    choose: Choose = Choose()

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, str] | None = None) -> Recipe:
        """Returns the recipe in a YAML file with overrides such as `{"train.epochs": "3"}` applied.

        Raises:
            RecipeError: If the file is missing, is not YAML, or a key or value is wrong.
        """
        where = f"recipe {path.name}"
        if not path.is_file():
            raise RecipeError(f"recipe {path}: no such file. The recipes that come with mien lie in recipes/.")
        content = read_yaml(path, where, "sections such as data and train")
        if not isinstance(content, dict):
            raise RecipeError(f"{where}: holds {type(content).__name__}. Expected sections such as data, model and train.")
        for key, text in (overrides or {}).items():
            try:
                value = yaml.safe_load(text)
            except NO_YAML:
                raise RecipeError(f"{where}: --{key} is {text!r}. Expected a YAML value; put quotes around a text.") from None
            _override(content, key, value, where)
        return cls.from_dict(content, where)

    @classmethod
    def from_dict(cls, content: dict[str, Any], where: str = "recipe") -> Recipe:
        """Returns the recipe that a mapping describes.

        Raises:
            RecipeError: If a key or value is wrong; the message names it and what is known.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{where}: {sentence(error, cls)}") from None

    def to_yaml(self) -> str:
        """Returns the resolved recipe, complete and in the order of its sections."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def read_yaml(path: Path, where: str, expected: str) -> Any:
    """Returns what a YAML file holds.

    Raises:
        RecipeError: If it is not YAML; the message starts with `where` and says what was `expected`.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except NO_YAML as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(f"{where}: not YAML ({reason}). Expected {expected}.") from None


def _override(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Sets `a.b.c` in nested mappings; a name standing alone, as in `encoder: vit`, becomes a mapping first."""
    *sections, last = key.split(".")
    place = content
    for section in sections:
        inner = place.get(section)
        if inner is None or isinstance(inner, str):
            inner = place[section] = {"name": inner} if isinstance(inner, str) else {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{where}: --{key} reaches into {section}, which is {inner!r}. Expected a section.")
        place = inner
    place[last] = value


def sentence(error: ValidationError, schema: type[BaseModel]) -> str:
    """Returns the first of pydantic's errors as a sentence with the key, what was expected, found and known."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section: Any = schema
        for part in (part for part in first["loc"][:-1] if part in section.model_fields):  # not a name or place in a collection
            annotation = section.model_fields[str(part)].annotation
            choices = [annotation, *getattr(annotation, "__args__", ())]
            section = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
        return f"{key} is not a known key. {did_you_mean(str(first['loc'][-1]), section.model_fields)}"
    if first["type"] == "missing":
        return f"{key} is missing. Add it, or start from a recipe in recipes/."
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} is {_SHORT.repr(first['input'])}. {message[0].upper()}{message[1:]}."
