"""What is looked through for links: all of it, however deep, and while it changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sparring.errors import InputError
from sparring.links import refuse_link, refuse_links


def test_folders_and_plain_files_are_passed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("x")
    refuse_links(tmp_path, tmp_path / "absent", tmp_path / "a" / "file" / "absent")
    assert refuse_link(tmp_path)
    assert not refuse_link(tmp_path / "a" / "file")
    assert not refuse_link(tmp_path / "absent")


def test_a_link_is_found_however_deep_and_nothing_lies_deeper(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"d" * 31)
    deep.mkdir(parents=True)
    refuse_links(tmp_path)
    (deep / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="link: is a link"):
        refuse_links(tmp_path)
    (deep / "link").unlink()
    (deep / "e").mkdir()
    with pytest.raises(InputError, match="e: lies deeper than anything of a run"):
        refuse_links(tmp_path)


def test_a_link_to_nothing_and_one_to_itself_are_links(tmp_path: Path) -> None:
    for target in ("nothing", "link"):
        (tmp_path / "link").symlink_to(target)
        with pytest.raises(InputError, match="link: is a link"):
            refuse_links(tmp_path)
        with pytest.raises(InputError, match="link: is a link"):
            refuse_link(tmp_path / "link")
        (tmp_path / "link").unlink()


def test_a_folder_that_the_system_does_not_show_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(InputError, match=r"cannot be looked through \(Input/output error\)"):
        refuse_links(tmp_path)


def test_what_is_removed_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    scan = os.scandir

    def slow(path: Path) -> object:
        found = scan(path)
        if path == tmp_path:
            for name in ("a", "b"):
                (tmp_path / name).rmdir()
        return found

    monkeypatch.setattr(os, "scandir", slow)
    refuse_links(tmp_path)
