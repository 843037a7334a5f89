from pathlib import Path

from patchshift.app.watching import list_folder, watch_folder


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_images_of_all_folders_are_listed_but_hidden_ones_and_the_output(tmp_path: Path) -> None:
    wanted = [write(tmp_path / name, b"x") for name in ("a.png", "b/c.JPG", "b/d/e.bmp")]
    for name in ("notes.txt", ".hidden.png", ".cache/f.png", "out/g.png", "out/masks/a.png"):
        write(tmp_path / name, b"x")
    assert list_folder(tmp_path, without=tmp_path / "out") == wanted
    assert len(list_folder(tmp_path)) == len(wanted) + 2


def test_a_file_is_taken_once_and_only_when_it_no_longer_grows(tmp_path: Path) -> None:
    waited: list[float] = []
    polls = watch_folder(tmp_path, seconds=0.5, wait=waited.append)
    early = write(tmp_path / "early.png", b"whole")
    assert next(polls) == []
    late = write(tmp_path / "late.png", b"ha")
    assert next(polls) == [early]
    write(late, b"half")
    assert next(polls) == []
    write(late, b"half and whole")
    assert next(polls) == []
    assert next(polls) == [late]
    assert next(polls) == []
    write(late, b"overwritten later")
    assert [next(polls), next(polls)] == [[], []]
    assert set(waited) == {0.5}


def test_empty_files_wait_and_files_may_go(tmp_path: Path) -> None:
    polls = watch_folder(tmp_path, wait=lambda seconds: None)
    empty, gone = write(tmp_path / "empty.png", b""), write(tmp_path / "gone.png", b"x")
    assert next(polls) == []
    gone.unlink()
    assert [next(polls), next(polls)] == [[], []]
    write(empty, b"x")
    assert [next(polls), next(polls)] == [[], [empty]]
