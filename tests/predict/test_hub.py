"""Pull and push run the real client of the Hub against a stand-in on this machine; nothing leaves it."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils
import pytest
import yaml

from mien.errors import RecipeError, WeightsError
from mien.files import cache_folder
from mien.predict import hub as hub_module
from mien.predict.hub import FILES, check_model, pull, resolve_model
from mien.predict.model_folder import FORMAT_VERSION, read_config, sha256
from mien.predict.upload import push

# Its name before version 1.
close_session = getattr(huggingface_hub, "close_session", None) or huggingface_hub.utils.reset_sessions

FIRST, SECOND = "1" * 40, "2" * 40
TERMS = "images: ask; labels: MIT"


class StandIn(ThreadingHTTPServer):
    """One repository, lab/faces, with revisions, as the Hub's routes for download and upload give it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Routes)
        self.forget()

    def forget(self) -> None:
        self.refs: dict[str, str] = {}  # branch or tag to commit
        self.commits: dict[str, dict[str, bytes]] = {}  # commit to files
        self.private: bool | None = None  # null: there is no such repository
        self.gated = False
        self.sizes: dict[str, int] = {}  # sizes that the listing claims
        self.downloads: list[str] = []
        self.uploads: list[dict[str, bytes]] = []

    def put(self, folder: Path, commit: str, *refs: str) -> None:
        self.commits[commit] = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.refs |= {commit: commit} | dict.fromkeys(refs, commit)
        self.private = False


class Routes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and content in one packet
    server: StandIn

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[-2:] == ["lab", "faces"]:
            return self.listing("main")
        if parts[:2] != ["lab", "faces"] and parts[2:4] != ["lab", "faces"]:
            return self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        if "resolve" in parts and self.server.gated:
            return self.answer(403, headers={"X-Error-Code": "GatedRepo"})
        if "resolve" in parts:
            content = self.server.commits[parts[3]][parts[4]]
            if self.command == "GET":
                self.server.downloads.append(parts[4])
            return self.answer(200, content, {"ETag": f'"{parts[3]}-{parts[4]}"', "X-Repo-Commit": parts[3]})
        if "tree" in parts:
            files = self.server.commits[parts[5]].items()
            tree = [{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in files]
            return self.answer(200, json.dumps(tree).encode())
        return self.listing(parts[5])

    do_HEAD = do_GET

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        address, server = f"http://{self.headers['Host']}/lab/faces", self.server
        if self.path.endswith("/repos/create"):
            if server.private is not None:
                return self.answer(409, json.dumps({"url": address}).encode())
            server.private = json.loads(content).get("visibility") == "private" or bool(json.loads(content).get("private"))
            return self.answer(200, json.dumps({"url": address}).encode())
        if self.path.endswith("/validate-yaml"):
            return self.answer(200, b"{}")
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(content)["files"]]
            return self.answer(200, json.dumps({"files": files}).encode())
        lines = [json.loads(line) for line in content.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        server.uploads.append({file["path"]: base64.b64decode(file["content"]) for file in files})
        return self.answer(200, json.dumps({"commitUrl": f"{address}/commit/{SECOND}", "commitOid": SECOND}).encode())

    def listing(self, revision: str) -> None:
        if revision not in self.server.refs and self.server.commits:
            return self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        commit = self.server.refs.get(revision)
        files = self.server.commits.get(commit or "", {}).items()
        siblings = [{"rfilename": name, "size": self.server.sizes.get(name, len(content))} for name, content in files]
        about = {"id": "lab/faces", "sha": commit, "private": self.server.private, "siblings": siblings}
        return self.answer(200, json.dumps(about).encode())

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an empty working folder, and no default model."""
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub_module, "DEFAULT_FOLDER", tmp_path / "weights")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home" / "models"


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    """The stand-in, in place of the Hub as the library reads it from its environment when it is imported."""
    with pytest.MonkeyPatch.context() as patch, StandIn() as server:
        address, constants = f"http://127.0.0.1:{server.server_port}", huggingface_hub.constants
        patch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        # Before version 1 a copy.
        patch.setattr(huggingface_hub.file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", "none")
        patch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        close_session()
        server.shutdown()


@pytest.fixture
def hub(server: StandIn) -> StandIn:
    """The stand-in without any repository."""
    server.forget()
    return server


@pytest.fixture
def model(folder: Path) -> Path:
    """A model folder with a card and stated terms."""
    (folder / "README.md").write_text("# A model\n\nIts card.\n")
    change(folder, licence=TERMS)
    return folder


def change(folder: Path, **values: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **values}))


def all_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------- names


def test_default_is_the_model_in_the_package(model: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^model default: this version of mien has none of its own.*--model"):
        resolve_model("default")
    Path("default").mkdir()  # a folder of that name is ./default
    model.rename(tmp_path / "weights")
    assert resolve_model("default") == resolve_model(Path("default")) == tmp_path / "weights"
    assert resolve_model("./default") == Path("default")


def test_a_folder_and_a_run_stand_for_their_model(model: Path) -> None:
    assert resolve_model(model) == resolve_model(str(model)) == model
    assert resolve_model(model.parent) == model


def test_a_folder_wins_over_a_pulled_model_of_the_same_spelling(hub: StandIn, model: Path) -> None:
    hub.put(model, FIRST, "main")
    pulled = pull("lab/faces")
    assert resolve_model("lab/faces") == pulled
    Path("lab/faces").mkdir(parents=True)
    assert resolve_model("lab/faces") == resolve_model(Path("lab/faces")) == Path("lab/faces")


def test_a_model_that_was_not_pulled_is_named_and_not_downloaded(hub: StandIn, model: Path) -> None:
    hub.put(model, FIRST, "main")
    for name in ("lab/faces", "lab/faces@v1"):
        with pytest.raises(WeightsError, match=rf"^model {name}: no such folder.*From the Hub: mien models pull {name}$"):
            resolve_model(name)
    assert hub.downloads == []


@pytest.mark.parametrize("name", ["nowhere", "runs/a/model", "/runs/a", "../a", "a/b@", "a/.."])
def test_what_is_neither_a_folder_nor_a_name_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=r"there is no such folder. Expected a model folder"):
        resolve_model(name)


@pytest.mark.parametrize("name", ["faces", "a/b/c", "../b", "lab/faces@", "lab/..", "https://hub/a/b"])
def test_pull_and_push_refuse_what_is_no_name_on_the_hub(name: str, model: Path) -> None:
    for act in (pull, lambda name: push(model, name, accept_licence=TERMS)):
        with pytest.raises(RecipeError, match=r"this is no name on the Hub. Expected OWNER/NAME"):
            act(name)


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "home"
    monkeypatch.delenv("MIEN_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, folder in (("linux", "xdg/mien"), ("darwin", "Library/Caches/mien"), ("win32", "local/mien")):
        monkeypatch.setattr("sys.platform", platform)
        assert cache_folder() == tmp_path / folder
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "mien"


# ---------------------------------------------------------------------- pull


def test_a_pulled_model_has_its_four_files_and_nothing_else(hub: StandIn, model: Path, cache: Path) -> None:
    (model / "face.png").write_bytes(b"a picture")
    (model / "train.parquet").write_bytes(b"a table")
    hub.put(model, FIRST, "main")
    folder = pull("lab/faces")
    assert folder == cache / "lab" / "faces" / FIRST
    assert all_files(cache) == {f"lab/faces/{FIRST}/{name}" for name in FILES} | {"lab/faces/refs.json"}
    assert sorted(hub.downloads) == sorted(FILES)
    assert check_model(folder) == read_config(model)
    assert [path for path in cache.iterdir() if path.name != "lab"] == []


def test_a_model_that_is_there_is_not_downloaded_again_unless_it_is_damaged(hub: StandIn, model: Path) -> None:
    hub.put(model, FIRST, "main")
    folder = pull("lab/faces")
    hub.downloads.clear()
    assert pull("lab/faces") == folder
    assert hub.downloads == []
    (folder / "model.onnx").write_bytes(b"damaged")
    assert pull("lab/faces") == folder
    check_model(folder)


def test_revisions_stand_side_by_side(hub: StandIn, model: Path, cache: Path) -> None:
    hub.put(model, FIRST, "main", "v1/first")
    first = pull("lab/faces@v1/first")
    with pytest.raises(WeightsError, match=r"mien models pull lab/faces$"):
        resolve_model("lab/faces")  # main was not asked for
    change(model, objective="another")
    hub.put(model, SECOND, "main")
    second = pull("lab/faces")
    assert (first.name, second.name) == (FIRST, SECOND)
    assert resolve_model("lab/faces@v1/first") == resolve_model(f"lab/faces@{FIRST}") == first
    assert resolve_model("lab/faces") == resolve_model("lab/faces@main") == second
    assert pull(f"lab/faces@{SECOND}") == second
    assert set(json.loads((cache / "lab/faces/refs.json").read_text())) == {"main", "v1/first"}


def test_offline_finds_what_was_pulled_and_asks_nobody(hub: StandIn, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(model, FIRST, "main")
    folder = pull("lab/faces")
    monkeypatch.setattr(hub_module, "client", lambda name: pytest.fail("asked the Hub"))
    assert pull("lab/faces", offline=True) == folder
    with pytest.raises(WeightsError, match=r"^model lab/other: it has not been pulled. Without --offline"):
        pull("lab/other", offline=True)
    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"model.onnx has SHA-256"):
        pull("lab/faces", offline=True)


BAD = {
    "another hash": ({"files": {"model.onnx": "0" * 64, "model.safetensors": "0" * 64}}, "model.onnx has SHA-256"),
    "a weight without a hash": ({"files": {"model.safetensors": sha256}}, "model.onnx has SHA-256"),
    "no hashes": ({"files": None}, "config.json has hashes of no file"),
    "a hash of something else": ({"files": {"../code.py": "0"}}, r"config.json has hashes of \.\./code.py"),
    "hashes in a list": ({"files": ["model.onnx"]}, "config.json has hashes of no file"),
    "a newer format": ({"format": FORMAT_VERSION + 1}, f"format {FORMAT_VERSION + 1}, this mien reads up to {FORMAT_VERSION}"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_download_that_does_not_fit_is_discarded_and_the_cache_stays(
    case: str, hub: StandIn, model: Path, cache: Path
) -> None:
    hub.put(model, FIRST, "main")
    pull("lab/faces")
    before = {name: (cache / name).read_bytes() for name in all_files(cache)}
    values, words = BAD[case]
    if case == "a weight without a hash":
        values = {"files": {"model.safetensors": sha256(model / "model.safetensors")}}
    change(model, **values)
    hub.put(model, SECOND, "main")
    hub.downloads.clear()
    with pytest.raises(WeightsError, match=rf"^model lab/faces: {words}.*The download was discarded\.$"):
        pull("lab/faces")
    assert {name: (cache / name).read_bytes() for name in all_files(cache)} == before
    assert [path.name for path in cache.iterdir()] == ["lab"]
    assert hub.downloads == ["config.json"] or case != "a newer format"  # its weights were not even asked for


@pytest.mark.parametrize("name", ["README.md", "model.onnx"])
def test_a_file_that_is_too_large_is_refused_before_anything_is_downloaded(
    name: str, hub: StandIn, model: Path, cache: Path
) -> None:
    hub.put(model, FIRST, "main")
    hub.sizes = {name: FILES[name] + 1}
    with pytest.raises(WeightsError, match=rf"{name} has {FILES[name] + 1:,} bytes, expected at most {FILES[name]:,}"):
        pull("lab/faces")
    assert hub.downloads == [] and not cache.exists()
    hub.sizes = {name: FILES[name], "video.mp4": FILES[name] * 2}  # what is not downloaded may have any size
    assert pull("lab/faces").is_dir()


def test_an_address_for_a_commit_is_refused(hub: StandIn, model: Path, cache: Path) -> None:
    hub.put(model, "../../outside", "main")
    with pytest.raises(WeightsError, match=r"the Hub names its commit '../../outside'. Expected 40 hexadecimal digits"):
        pull("lab/faces")
    assert not cache.exists()


def test_what_the_hub_refuses_is_one_sentence(hub: StandIn, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(model, FIRST, "main")
    with pytest.raises(
        WeightsError, match=r"^model lab/other: the Hub has none of this name, or a private one.*hf auth login$"
    ):
        pull("lab/other")
    with pytest.raises(WeightsError, match=r"^model lab/faces@v9: the Hub has no such revision"):
        pull("lab/faces@v9")
    hub.gated = True
    with pytest.raises(WeightsError, match=r"^model lab/faces: accept its terms on its page on the Hub, then log in"):
        pull("lab/faces")
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        close_session()  # before version 1 a session asks once
        with pytest.raises(WeightsError, match=r"^model lab/faces: this failed at the Hub \(OfflineModeIsEnabled"):
            pull("lab/faces")
    close_session()


def test_a_start_without_onnx_can_be_pulled(hub: StandIn, model: Path) -> None:
    (model / "model.onnx").unlink()
    change(model, classes=[], files={"model.safetensors": sha256(model / "model.safetensors")})
    hub.put(model, FIRST, "main")
    assert {path.name for path in pull("lab/faces").iterdir()} == {"config.json", "README.md", "model.safetensors"}


def test_the_library_is_imported_with_its_telemetry_off() -> None:
    code = "import mien, huggingface_hub.constants as constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


# ---------------------------------------------------------------------- push


def test_exactly_the_four_files_are_uploaded(hub: StandIn, model: Path) -> None:
    (model / "face.png").write_bytes(b"a picture")
    (model / "train.parquet").write_bytes(b"a table")
    address = push(model.parent, "lab/faces", accept_licence=TERMS)
    assert address.endswith(f"/lab/faces/commit/{SECOND}")
    (files,) = hub.uploads
    assert set(files) == set(FILES)
    assert all(files[name] == (model / name).read_bytes() for name in files.keys() - {"README.md"})


def test_a_repository_is_private_unless_public_is_asked_for(hub: StandIn, model: Path) -> None:
    push(model, "lab/faces", accept_licence=TERMS)
    assert hub.private is True
    with pytest.raises(RecipeError, match=r"lab/faces is there already and is private. Push without --public"):
        push(model, "lab/faces", accept_licence=TERMS, public=True)
    hub.private = None
    push(model, "lab/faces", accept_licence=TERMS, public=True)
    assert hub.private is False
    with pytest.raises(RecipeError, match=r"lab/faces is there already and is public. Push with --public"):
        push(model, "lab/faces", accept_licence=TERMS)
    assert len(hub.uploads) == 2


@pytest.mark.parametrize(("classes", "task"), [(["calm", "glad", "sad"], "classification"), ([], "feature-extraction")])
def test_the_uploaded_card_has_the_hub_s_front_matter_once_and_the_local_one_stays(
    classes: list[str], task: str, hub: StandIn, model: Path
) -> None:
    change(model, classes=classes)
    push(model, "lab/faces", accept_licence=TERMS)
    assert (model / "README.md").read_text() == "# A model\n\nIts card.\n"
    card = hub.uploads[0]["README.md"]
    _, front, text = card.decode().split("---\n")
    about = yaml.safe_load(front)
    assert (about["library_name"], about["license"], about["pipeline_tag"]) == ("mien", "other", f"image-{task}")
    assert about["tags"] and text == "\n# A model\n\nIts card.\n"
    (model / "README.md").write_bytes(card)  # as a pulled model has it
    push(model, "lab/faces", accept_licence=TERMS)
    assert hub.uploads[1]["README.md"] == card


@pytest.mark.parametrize("licence", [None, "", " "])
def test_a_model_without_stated_terms_is_not_uploaded(licence: str | None, hub: StandIn, model: Path) -> None:
    change(model, licence=licence)
    with pytest.raises(WeightsError, match=r"config.json states no licence of the data"):
        push(model, "lab/faces", accept_licence=licence)
    assert hub.private is None


@pytest.mark.parametrize("accepted", [None, "images: ask"])
def test_terms_that_nobody_has_read_stop_the_upload(accepted: str | None, hub: StandIn, model: Path) -> None:
    with pytest.raises(RecipeError, match=rf"“{TERMS}”. Nothing was uploaded.*--licence-checked"):
        push(model, "lab/faces", accept_licence=accepted)
    assert hub.private is None


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"samples": ["a", "b"]}, "data.samples has 2 entries"),
        ({"left_out": [str(i) for i in range(65)]}, "data.left_out has 65 entries"),
        ({"how": [{"faces": {str(i): 1 for i in range(65)}}]}, "data.how.0.faces has 65 entries"),
    ],
)
def test_lists_of_faces_are_not_uploaded(data: dict, where: str, hub: StandIn, model: Path) -> None:
    change(model, data=data)
    with pytest.raises(WeightsError, match=rf"config.json's {where}, expected counts"):
        push(model, "lab/faces", accept_licence=TERMS)
    assert hub.private is None
    change(model, data={"num_samples": 70, "class_counts": [1.0] * 64, "classes": ["calm"], "label_rule": None})
    push(model, "lab/faces", accept_licence=TERMS)


def test_a_damaged_model_or_one_without_a_card_is_not_uploaded(hub: StandIn, model: Path) -> None:
    (model / "README.md").unlink()
    with pytest.raises(WeightsError, match=r"README.md, its card, is missing"):
        push(model, "lab/faces", accept_licence=TERMS)
    (model / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"model.onnx has SHA-256"):
        push(model, "lab/faces", accept_licence=TERMS)
    assert hub.private is None


def test_a_model_goes_to_a_branch_that_is_not_named(hub: StandIn, model: Path) -> None:
    with pytest.raises(RecipeError, match=r"lab/faces@v1 names a revision. Expected OWNER/NAME"):
        push(model, "lab/faces@v1", accept_licence=TERMS)


def test_what_was_pushed_can_be_pulled(hub: StandIn, model: Path) -> None:
    push(model, "lab/faces", accept_licence=TERMS)
    hub.commits[SECOND], hub.refs = hub.uploads[0], {"main": SECOND, SECOND: SECOND}
    assert check_model(pull("lab/faces")) == read_config(model)
