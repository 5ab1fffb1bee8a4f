"""Commands for models: those at hand, what they say of themselves, and the way to the Hugging Face Hub and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from mien.cli.app import app, print_json, refuse_existing, wrote

models = app.command(App(name="models", help="Models at hand, what each says of itself, and the way to the Hub and back."))


@models.command(name="list")
def list_(*, json: bool = False) -> None:
    """The default model and those that were pulled.

    mien models list

    Args:
        json: Print everything as JSON.
    """
    from mien.log import results
    from mien.predict.model_list import list_models, show_list

    rows = list_models()
    print_json(rows) if json else show_list(rows, results())


@models.command
def info(model: str = "default", *, json: bool = False) -> None:
    """What a model says of itself, once the hashes of its files are checked.

    mien models info runs/revision

    Args:
        model: default, a model folder, a run, or OWNER/NAME[@REVISION] that was pulled.
        json: Print everything as JSON, the architecture too.
    """
    from mien.log import results
    from mien.predict.model_list import info, show_info

    facts = info(model)
    print_json(facts) if json else show_info(facts, results())


@models.command
def pull(name: str, *, offline: bool = False) -> None:
    """A model of the Hub comes into the cache, where every command finds it by the same name.

    mien models pull OWNER/NAME

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION with a branch, tag or full commit.
        offline: Only look whether it is there, whole.
    """
    from mien.predict.hub import pull

    folder = pull(name, offline=offline)
    print(f"found {folder}") if offline else wrote(folder)


@models.command
def convert(
    checkpoint: str,
    *,
    out: Path,
    encoder: str | None = None,
    image_size: int = 224,
    channels: Literal[1, 3] = 3,
    licence: str | None = None,
    partial: bool = False,
    overwrite: bool = False,
) -> None:
    """Weights of timm, MAE, MaskFeat or mmpretrain become a folder that trainings start from.

    mien models convert timm:vit_base_patch16_224.mae --out starts/mae

    Args:
        checkpoint: A .safetensors or PyTorch file, of which only tensors are read; or timm:NAME, which timm downloads.
        out: The new folder.
        encoder: timm's name of the architecture, such as vit_base_patch16_224; not needed for timm:NAME.
        image_size: Side of the faces in pixels.
        channels: 1 for grey, 3 for RGB.
        licence: Terms of weights and data, which travel with the model.
        partial: Take what fits although tensors are missing or left over.
        overwrite: Replace the folder's files.
    """
    from mien.learn.convert import convert
    from mien.log import say

    refuse_existing(out, overwrite)
    missing, extra = convert(
        checkpoint, out, encoder=encoder, image_size=image_size, channels=channels, licence=licence, partial=partial
    )
    for what, names in (("missing, left random", missing), ("left over", extra)):
        if names:
            say(f"{what}: {', '.join(names)}")
    wrote(out)


@models.command
def push(model: str, name: str, *, licence_checked: bool = False, public: bool = False) -> None:
    """A model goes to the Hub: its weights, config and card, and nothing else.

    Without --licence-checked it prints the terms of the data, which bind the model, and stops.

    mien models push runs/revision OWNER/NAME

    Args:
        model: A model folder or a run.
        name: OWNER/NAME; made where it does not exist.
        licence_checked: You have read the terms of the data, and they let you pass the model on in this way.
        public: Let all see it; without it the repository is private.
    """
    from mien.log import say
    from mien.predict.hub import resolve_model
    from mien.predict.model_folder import read_config
    from mien.predict.upload import push

    terms = read_config(resolve_model(model)).licence
    if licence_checked:
        say(f"terms of the data, which bind the model: {terms}")
    address = push(model, name, accept_licence=terms if licence_checked else None, public=public)
    print(f"wrote {address}")
