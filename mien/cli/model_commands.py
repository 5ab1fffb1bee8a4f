"""Commands for models: those at hand, what they say of themselves, and the way to the Hugging Face Hub and back."""

from __future__ import annotations

from cyclopts import App

from mien.cli.app import Flag, app, print_json, wrote

models = app.command(App(name="models", help="Models at hand, what each says of itself, and the way to the Hub and back."))


@models.command(name="list")
def list_(*, json: Flag = False) -> None:
    """The default model and those that were pulled.

    Args:
        json: Print everything as JSON.
    """
    from mien.log import results
    from mien.predict.model_list import list_models, show_list

    rows = list_models()
    print_json(rows) if json else show_list(rows, results())


@models.command
def info(model: str = "default", *, json: Flag = False) -> None:
    """What a model says of itself, once the hashes of its files are checked.

    Args:
        model: default, a model folder, a run, or OWNER/NAME[@REVISION] that was pulled.
        json: Print everything as JSON, the architecture too.
    """
    from mien.log import results
    from mien.predict.model_list import info, show_info

    facts = info(model)
    print_json(facts) if json else show_info(facts, results())


@models.command
def pull(name: str, *, offline: Flag = False) -> None:
    """A model of the Hub comes into the cache, where every command finds it by the same name.

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION with a branch, tag or full commit.
        offline: Only look whether it is there, whole.
    """
    from mien.predict.hub import pull

    folder = pull(name, offline=offline)
    print(f"found {folder}") if offline else wrote(folder)


@models.command
def push(model: str, name: str, *, licence_checked: Flag = False, public: Flag = False) -> None:
    """A model goes to the Hub: its weights, config and card, and nothing else.

    Without --licence-checked it prints the terms of the data, which bind the model, and stops.

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
