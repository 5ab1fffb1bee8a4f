"""Commands that stay: the server."""

from __future__ import annotations

from mien.cli.app import Names, app


@app.command
def serve(
    *,
    model: str = "default",
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_host: Names = None,
    min_face: int = 40,
    class_conditional: bool = False,
    threads: int | None = None,
    places: int = 128,
    max_mb: float = 16,
    max_files: int = 64,
    max_megapixels: float = 50,
    max_faces: int = 200,
    timeout_s: float = 30,
) -> None:
    """A page for people and an API for programs, over HTTP; nothing is kept.

    Where the environment variable MIEN_TOKEN is set, clients must show what it holds.

    mien serve --port 8000

    Args:
        model: Model folder, OWNER/NAME of a pulled one, or default.
        host: Address to listen at; other machines reach 0.0.0.0, which needs a token.
        port: To listen at; 0 takes a free one.
        allow_host: Names, besides --host, by which clients may call the server.
        min_face: Smallest side of a face that is searched, in pixels.
        class_conditional: Label sets cover each class's own answers, not all answers taken together.
        threads: Requests that are answered side by side; without it, as many as there are cores.
        places: Requests that may be under way at once; one more gets 429.
        max_mb: Size of one request.
        max_files: Pictures of one request.
        max_megapixels: Of all pictures of one request.
        max_faces: Of one request.
        timeout_s: For a request to arrive, and again for its answer.
    """
    from mien.serve.limits import Limits
    from mien.serve.run import serve

    limits = Limits(places, round(max_mb * 1e6), max_files, round(max_megapixels * 1e6), max_faces, timeout_s)
    serve(
        model,
        host=host,
        port=port,
        allow_host=allow_host or (),
        min_face=min_face,
        class_conditional=class_conditional,
        threads=threads,
        limits=limits,
    )
