"""An exported model that goes to the hub: the real client, against a server that speaks the hub's protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from exports.hub_server import TOKEN, HubServer
from sparring.errors import InputError, RunError
from sparring.exports.hub import Repository, _in_words, announcement, find_repository, upload

# The client's own way to send a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

FILES = {"README.md": b"---\nlicense: mit\n---\n# mine\n", "config.json": b"{}", "model.safetensors": b"\0" * 3000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    return path


def test_a_model_is_uploaded_whole_and_what_is_sent_is_said_first(hub: HubServer, folder: Path) -> None:
    there = find_repository("ada/mine", private=True)
    assert hub.repositories == {}
    said = announcement(folder, there)
    assert said[0] == f"uploading 3 files to the private repository {hub.url}/ada/mine, which is new:"
    assert [line.split() for line in said[1:]] == [
        ["28", "bytes", "README.md"],
        ["2", "bytes", "config.json"],
        ["3,000", "bytes", "model.safetensors"],
    ]
    assert upload(folder, there) == f"{hub.url}/ada/mine/commit/1234"
    assert hub.repositories == {"ada/mine": FILES}
    assert hub.private == {"ada/mine"}
    assert sum(request.endswith("/commit/main") for request in hub.requests) == 1


def test_a_new_version_takes_the_place_of_the_old_weights(hub: HubServer, folder: Path) -> None:
    hub.repositories["ada/mine"] = {
        "README.md": b"old",
        "figure.png": b"mine",
        "model-00001-of-00002.safetensors": b"old",
        "model.safetensors.index.json": b"old",
    }
    there = find_repository("ada/mine", private=False)
    said = announcement(folder, there)
    assert said[0].endswith(f"the public repository {hub.url}/ada/mine, in place of files of the same name:")
    assert said[-1].endswith("not this model's: model-00001-of-00002.safetensors, model.safetensors.index.json")
    upload(folder, there)
    assert hub.repositories["ada/mine"] == FILES | {"figure.png": b"mine"}


def test_what_must_be_private_never_goes_to_a_public_place(hub: HubServer) -> None:
    hub.repositories["ada/mine"] = {}
    with pytest.raises(InputError, match=r"(?s)^ada/mine: .* is public.*fix: leave --private out"):
        find_repository("ada/mine", private=True)
    hub.private.add("ada/mine")
    assert find_repository("ada/mine", private=False).private


def test_a_token_that_is_missing_odd_or_refused(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"(?s)no token of the Hugging Face hub .*hf auth login"):
        find_repository("ada/mine", private=False)
    monkeypatch.setenv("HF_TOKEN", "hf_two words")
    with pytest.raises(InputError, match="white space") as odd:
        find_repository("ada/mine", private=False)
    assert hub.requests == []
    # The server repeats what it was sent.
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(InputError, match=r"(?s)ada/mine: the hub knows no such token: .*hf auth login") as refused:
        find_repository("ada/mine", private=False)
    assert "hf_" not in f"{odd.value} {refused.value}"


def test_a_token_that_may_not_write_there(hub: HubServer, folder: Path) -> None:
    hub.forbidden.add("team")
    with pytest.raises(InputError, match=r"does not let this token do that: .*403, You don't have the rights") as error:
        upload(folder, find_repository("team/mine", private=False))
    assert f"the model is whole in {folder}: `hf upload team/mine {folder}` sends it" in str(error.value)


@pytest.mark.parametrize("where", [r"whoami", r"/lfs/objects/batch", r"PUT /lfs/", r"/commit/main"])
def test_a_connection_that_is_lost(
    hub: HubServer, folder: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.cuts.append(where)
    with pytest.raises(RunError, match=rf"^ada/mine: the connection to {hub.url} failed \(\w+ .*\)\n  fix: ") as lost:
        upload(folder, find_repository("ada/mine", private=True))
    assert TOKEN not in f"{lost.value} {caplog.text}"
    assert not hub.repositories.get("ada/mine")
    hub.cuts.clear()
    upload(folder, find_repository("ada/mine", private=True))
    assert hub.repositories["ada/mine"] == FILES


def test_what_fails_over_xet_is_said_too(hub: HubServer, folder: Path) -> None:
    """In a process of its own, with its settings in the environment, as a person has them."""
    code = (
        "import sys; from pathlib import Path; from sparring.exports.hub import find_repository, upload\n"
        "upload(Path(sys.argv[1]), find_repository('ada/mine', private=True))"
    )
    off = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"), "0")
    environment = os.environ | off | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        (sys.executable, "-c", code, str(folder)),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert any("/xet-write-token/" in request for request in hub.requests)
    assert "sparring.errors.RunError: ada/mine: the upload failed (ConnectionError Network error" in done.stderr
    assert TOKEN not in done.stderr


def test_a_file_that_cannot_be_read_is_no_fault_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), _in_words("ada/mine", fix=""):
        (tmp_path / "nowhere").read_bytes()


def test_nothing_is_sent_where_the_hub_is_switched_off_or_is_not_named(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "ada/", "ada/mine/more", "ada/m i n e"):
        with pytest.raises(InputError, match=r"(?s)^--push-to: .*OWNER/NAME"):
            find_repository(name, private=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"(?s)the hub is switched off \(HF_HUB_OFFLINE\).*unset HF_HUB_OFFLINE"):
        find_repository("ada/mine", private=False)
    assert hub.requests == []


def test_files_from_outside_the_export_are_refused(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    (folder / "notes.txt").symlink_to(secret)
    there = Repository(name="ada/mine", url=f"{hub.url}/ada/mine", private=False, files=None)
    for act in (announcement, upload):
        with pytest.raises(InputError, match=r"notes\.txt: is a link"):
            act(folder, there)
    assert hub.requests == []
