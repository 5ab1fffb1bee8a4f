"""HTML: a template and its values as one self-contained file."""

from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mien.files import whole_file
from mien.page.chart import percent


class Mark(NamedTuple):
    """One answer on a card: its votes, its share, weight or probability (each null where unknown), and how it is set.

    `state` is "in" (bold), "out" (struck through) or "other" (grey); "label" beside it colours the bar.
    """

    name: str
    votes: int | None
    share: float | None
    state: str


class Card(NamedTuple):
    """One face of a gallery; `picture` is base64 PNG or null."""

    sample: str
    picture: str | None
    facts: tuple[tuple[str, str], ...]
    marks: tuple[Mark, ...]


def write_html(path: Path | str, template: Path, **values: Any) -> None:
    """Writes a page whole or not at all; its folder is made where it is missing, and an older page is replaced.

    Args:
        path: The file.
        template: A Jinja template that extends `page.html.j2`, which brings the style, and may import `parts.html.j2`.
        values: What the template names.
    """
    folders = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(loader=folders, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["percent"] = percent
    text = environment.get_template(template.name).render(values)
    with whole_file(Path(path)) as partial:
        partial.write_text(text, encoding="utf-8")
