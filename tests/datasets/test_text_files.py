"""Files of text: one, several, or those of a folder."""

import os
import re
from pathlib import Path

import pytest

from datasets.errors import DataError
from datasets.text_files import read_files


def test_several_files_are_read_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("bé")
    (tmp_path / "a, b.txt").write_text("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c").write_text("c")
    files = read_files(f"{tmp_path / 'b.txt'}, {tmp_path / 'folder'}", is_text=True)
    assert files == ("b and 1 more", ["bé".encode(), b"c"], [])
    files = read_files(str(tmp_path / "a, b.txt"), is_text=True)
    assert files.contents == [b"a"], "a comma in the name of a file that exists"


def test_of_a_folder_all_texts_are_read_and_the_rest_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "novel"
    (folder / "part2").mkdir(parents=True)
    (folder / "part1.txt").write_text("one")
    (folder / "part2" / "x.md").write_text("two")
    (folder / "empty.txt").touch()
    (folder / ".hidden").write_text("hidden")
    (folder / "photo.jpg").write_bytes(b"ab\xff\xd8")
    (tmp_path / "elsewhere").write_text("elsewhere")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe")
    skipped = {
        "empty.txt": "is empty",
        "photo.jpg": "not a text file in UTF-8 (invalid start byte at byte 2)",
        "link": "a link to a file elsewhere",
        "pipe": "not a regular file",
    }
    files = read_files(str(folder), is_text=True)
    assert files.name == "novel"
    assert files.contents == [b"one", b"two"]
    assert dict(files.skipped) == skipped
    del skipped["photo.jpg"]
    files = read_files(str(folder), is_text=False)
    assert files.contents == [b"one", b"two", b"ab\xff\xd8"]
    assert dict(files.skipped) == skipped


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("none.txt", "none.txt: No such file"),
        ("latin.txt", r"^not a text file in UTF-8 \(.* at byte 1,002\)$"),
        ("good.txt,latin.txt", "^latin.txt: not a text file in UTF-8"),
        ("good.txt,none", "^none: none: No such file"),
        ("empty.txt", "^is empty$"),
        ("folder", r"no text that can be read; found: a.bin \(not a text file"),
        ("nothing", "no text that can be read; found: nothing"),
        ("~nobody-of-this-name/a.txt", "^there is no home folder ~nobody-of-this-name$"),
        (300 * "a", "^File name too long$"),
        (f"good.txt,{300 * 'a'}", "^File name too long$"),
    ],
)
def test_what_cannot_be_read_is_named(
    paths: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.txt").write_text("good")
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes(1001 * b"a" + "für".encode("latin-1"))
    for name in ("folder", "nothing"):
        Path(name).mkdir()
    Path("folder/a.bin").write_bytes(b"\xff")
    with pytest.raises(DataError) as caught:
        read_files(paths, is_text=True)
    assert re.search(message, str(caught.value)), caught.value
