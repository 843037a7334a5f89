import csv
import dataclasses
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchshift.app import predict
from patchshift.app.detector import Detector
from patchshift.app.latency import Latency
from patchshift.app.main import main
from patchshift.app.models import ExportedModel
from patchshift.app.predictions import COLUMNS, TIME, clear_folder
from patchshift.detectors.scores import read_scores
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file, read_json

Line = Any


@pytest.fixture
def images(line: Line, tmp_path: Path) -> Path:
    """A folder with a few test images, some in folders below it."""
    folder = tmp_path / "images"
    for path in sorted(line.images.rglob("*.png"))[::4]:
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def command(model: Path, images: Path, output: Path, *more: str) -> int:
    return main(["predict", "--model", str(model), "--images", str(images), "--output", str(output), *more])


def test_a_folder_becomes_a_table_pictures_latencies_and_a_summary(
    line: Line, model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(model, images, tmp_path / "out") == 0
    rows, names = (
        read_rows(tmp_path / "out"),
        sorted(path.relative_to(images).as_posix() for path in images.rglob("*.*")),
    )
    assert list(rows[0]) == [*COLUMNS, TIME]
    assert [row["image"] for row in rows] == names
    known = read_scores(line.folder / line.sources("small", "quick", "f1_max")["scores"])
    expected = dict(zip(known.images, known.scores.image_scores.tolist(), strict=True))
    for row in rows:
        if f"test/{row['image']}" in expected:
            assert float(row["score"]) == pytest.approx(expected[f"test/{row['image']}"], rel=1e-5)
        assert int(row["decision"]) == (float(row["score"]) >= float(row["threshold"]))
        with Image.open(tmp_path / "out" / "heatmaps" / f"{row['image']}.png") as heatmap:
            assert (heatmap.size, heatmap.mode) == ((256, 256), "RGB")
        with Image.open(tmp_path / "out" / "masks" / f"{row['image']}.png") as mask:
            assert mask.size == (256, 256)
    summary = read_json(tmp_path / "out" / "summary.json")
    assert summary["images"] == len(rows)
    assert summary["defective"] == sum(int(row["decision"]) for row in rows)
    assert summary["latency_ms"]["images"] == len(rows) - 1
    assert summary["model"]["sha256"] == digest_file(model)
    assert summary["model"]["calibrated_before_extension"] is False
    latency = (tmp_path / "out" / "latency.csv").read_text().splitlines()
    assert latency[0] == "image,decode,forward,search,map,total,warm_up"
    assert [line[-2:] for line in latency[1:]] == [",1"] + [",0"] * (len(rows) - 1)
    printed = capsys.readouterr().out
    assert f"{len(rows)} images, {summary['defective']} called defective at threshold" in printed
    assert "without the first image (warm-up): decode" in printed
    assert "no drift test" in printed


def test_unreadable_images_are_named_and_the_others_are_done(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_bytes(b"no image")
    count = len(list(images.rglob("*.*")))
    assert command(model, images, tmp_path / "out", "--batch-size", "3") == 1
    assert "1 file cannot be used" in (error := capsys.readouterr().err)
    assert "broken.png" in error
    rows = {row["image"]: row for row in read_rows(tmp_path / "out")}
    assert len(rows) == count
    assert "not a readable image" in rows.pop("broken.png")["undefined"]
    assert all(row["score"] and not row["undefined"] for row in rows.values())
    assert read_json(tmp_path / "out" / "summary.json")["not_used"] == 1


def test_nothing_is_replaced_without_being_asked(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert command(model, images, output, "--no-overlays") == 0
    assert not (output / "heatmaps").exists()
    (output / "mine.txt").write_text("kept")
    assert command(model, images, output) == 1
    assert "predictions.csv is there: choose another --output" in capsys.readouterr().err
    assert command(model, images, output, "--overwrite", "--no-overlays") == 0
    assert (output / "mine.txt").read_text() == "kept"


def test_only_what_was_written_is_replaced(model: Path, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert command(model, images, output) == 0
    kept = [output / "masks" / "my_annotation.png", output / "heatmaps" / "mine" / "a.png"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    gone = sorted(images.rglob("*.png"))[0]
    assert (output / "masks" / f"{gone.relative_to(images)}.png").exists()
    shutil.rmtree(gone.parent)
    assert command(model, images, output, "--overwrite") == 0
    assert all(path.read_bytes() == b"mine" for path in kept)
    assert not (output / "masks" / gone.parent.name).exists()
    expected = {f"{path.relative_to(images)}.png" for path in images.rglob("*.png")}
    for kind in ("heatmaps", "masks"):
        made = {str(path.relative_to(output / kind)) for path in (output / kind).rglob("*.png")}
        assert made - {"my_annotation.png", "mine/a.png"} == expected


@pytest.mark.parametrize("table", [None, "image,label\nmasks/my_annotation.png,1\n"])
def test_folders_that_were_not_written_by_predict_are_refused(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str | None
) -> None:
    annotation = tmp_path / "dataset" / "masks" / "my_annotation.png"
    annotation.parent.mkdir(parents=True)
    annotation.write_bytes(b"mine")
    if table:
        (tmp_path / "dataset" / "predictions.csv").write_text(table)
    assert command(model, images, tmp_path / "dataset", "--overwrite") == 1
    assert "was not written by patchshift predict" in capsys.readouterr().err
    assert annotation.read_bytes() == b"mine"


def test_a_table_leads_to_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    output, outside = tmp_path / "out", tmp_path / "victim.png"
    (output / "masks").mkdir(parents=True)
    (output / "masks" / "linked").symlink_to(tmp_path)
    outside.write_bytes(b"mine")
    names = ["../../victim", str(tmp_path / "victim"), "linked/victim"]
    (output / "predictions.csv").write_text("\n".join([",".join(COLUMNS), *names]))
    clear_folder(output, overwrite=True)
    assert outside.read_bytes() == b"mine"
    assert not (output / "predictions.csv").exists()


def test_a_name_that_is_not_utf8_gets_a_row_and_the_others_are_done(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count, one = len(list(images.rglob("*.png"))), sorted(images.rglob("*.png"))[0]
    shutil.copy(one, images / "caf\udce9.png")  # byte e9, as Latin-1 has it
    assert command(model, images, tmp_path / "out", "--no-overlays") == 1
    assert r"caf\udce9.png: its name is not UTF-8: rename it" in capsys.readouterr().err
    rows = read_rows(tmp_path / "out")
    assert [row["image"] for row in rows if not row["score"]] == [r"caf\udce9.png"]
    assert len(rows) == count + 1
    assert command(model, images, tmp_path / "out", "--no-overlays", "--overwrite") == 1


def test_warm_up_is_the_first_batch_that_was_scored(model: Path, images: Path, tmp_path: Path) -> None:
    count = len(list(images.rglob("*.png")))
    for name in ("0.png", "1.png", "2.png", "3.png"):  # a batch, and one of the next
        (images / name).write_bytes(b"no image")
    assert command(model, images, tmp_path / "out", "--batch-size", "3", "--no-overlays") == 1
    latency = read_json(tmp_path / "out" / "summary.json")["latency_ms"]
    assert (latency["warm_up"], latency["images"]) == (2, count - 2)
    table = (tmp_path / "out" / "latency.csv").read_text().splitlines()
    assert [line[-2:] for line in table[1:]] == [",1"] * 2 + [",0"] * (count - 2)


def test_a_reader_that_goes_is_no_traceback(model: Path, images: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("patchshift")
    options = ["--model", model, "--images", images, "--output", tmp_path / "out", "--no-overlays"]
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [program, "predict", *options], stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (1, "")
    assert len(read_rows(tmp_path / "out")) == read_json(tmp_path / "out" / "summary.json")["images"] == 1


def test_predictions_in_the_folder_of_images_are_no_images(model: Path, images: Path) -> None:
    count = len(list(images.rglob("*.png")))
    assert command(model, images, images / "predictions") == 0
    assert command(model, images, images / "predictions", "--overwrite") == 0
    assert len(read_rows(images / "predictions")) == count
    assert command(model, images, images / "again") == 0
    assert len(read_rows(images / "again")) == count


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--images", "nowhere"), "nowhere is not a folder"),
        (("--images", "empty"), "empty holds no images"),
        (("--model", "nothing.h5"), "no exported model nothing.h5"),
        (("--output", "images"), "--output and --images are both images"),
        (("--output", "notes.txt"), "cannot write notes.txt: a file stands where a folder must be"),
        (("--output", "notes.txt/out"), "cannot write notes.txt/out: a file stands where a folder must be"),
        (("--output", "/proc/out"), "cannot write /proc/out: No such file or directory: choose another --output"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    model: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: tuple[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(images.parent)
    Path("empty").mkdir()
    Path("notes.txt").write_text("mine")
    options = {"--model": str(model), "--images": "images", "--output": "out"} | dict([changed])
    assert main(["predict", *(word for pair in options.items() for word in pair)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not Path("out/predictions.csv").exists()
    assert Path("notes.txt").read_text() == "mine"


def test_a_batch_of_none_is_a_mistake_of_the_command_line(
    model: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(model, images, images, "--batch-size", "abc")
    assert ended.value.code == 2
    assert "--batch-size: abc is not a whole number of at least 1" in capsys.readouterr().err


def test_watching_goes_on_until_it_is_ended_and_leaves_whole_files(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, output = sorted(images.rglob("*.png")), tmp_path / "out"

    def fill(folder: Path, *, without: Path) -> Iterator[list[Path]]:
        assert (folder, without) == (images, output)
        yield []
        for number, path in enumerate(paths, start=1):
            yield [path]
            assert len(read_rows(output)) == number  # whoever looks meanwhile finds all that is done
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "watch_folder", fill)
    assert command(model, images, output, "--watch") == 0
    assert "Ctrl-C ends it" in capsys.readouterr().out
    assert len(read_rows(output)) == read_json(output / "summary.json")["images"] == len(paths)


def test_watching_writes_latencies_as_images_are_done_and_keeps_none_of_them(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, output = sorted(images.rglob("*.png")), tmp_path / "out"

    def count_kept() -> int:
        gc.collect()
        return sum(type(each) is Latency for each in gc.get_objects())

    def fill(folder: Path, *, without: Path) -> Iterator[list[Path]]:
        before = count_kept()
        for number, path in enumerate(paths, start=1):
            yield [path]
            table = (output / "latency.csv").read_text().splitlines()
            names = [row["image"] for row in read_rows(output)]
            assert [line.split(",")[0] for line in table] == ["image", *names]
            assert [line[-2:] for line in table[1:]] == [",1"] + [",0"] * (number - 1)
            assert count_kept() <= before + 1  # the last one's, until the next comes
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "watch_folder", fill)
    assert command(model, images, output, "--watch", "--no-overlays") == 0
    assert read_json(output / "summary.json")["latency_ms"]["images"] == len(paths) - 1


def test_the_summary_has_the_quantiles_of_the_latencies_that_count(model: Path, images: Path, tmp_path: Path) -> None:
    assert command(model, images, tmp_path / "out", "--no-overlays") == 0
    with (tmp_path / "out" / "latency.csv").open(encoding="utf-8", newline="") as file:
        counted = [row for row in csv.DictReader(file) if row["warm_up"] == "0"]
    steps = read_json(tmp_path / "out" / "summary.json")["latency_ms"]["steps"]
    assert set(steps) == {"decode", "forward", "search", "map", "total"}
    for step, quantiles in steps.items():
        times = [float(row[step]) for row in counted]
        assert quantiles["p50"] == pytest.approx(np.quantile(times, 0.5), abs=0.003)
        assert quantiles["p95"] == pytest.approx(np.quantile(times, 0.95), abs=0.003)


def test_sigterm_ends_watching_as_ctrl_c_does(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, before = sorted(images.rglob("*.png")), signal.getsignal(signal.SIGTERM)

    def fill(folder: Path, *, without: Path) -> Iterator[list[Path]]:
        yield paths[:2]
        if signal.getsignal(signal.SIGTERM) is before:
            raise AssertionError("SIGTERM would end the process, and this test")
        os.kill(os.getpid(), signal.SIGTERM)
        yield paths[2:]

    monkeypatch.setattr(predict, "watch_folder", fill)
    assert command(model, images, tmp_path / "out", "--watch", "--no-overlays") == 0
    assert len(read_rows(tmp_path / "out")) == read_json(tmp_path / "out" / "summary.json")["images"] == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupted_folder_keeps_what_is_done(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, done = Detector.predict, []

    def stop(detector: Detector, images: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(images)
        return whole(detector, images)

    monkeypatch.setattr(Detector, "predict", stop)
    assert command(model, images, tmp_path / "out") == 1
    assert "interrupted after 1 of" in capsys.readouterr().err
    assert len(read_rows(tmp_path / "out")) == 1


def test_scores_that_have_moved_raise_the_alarm_while_watching(
    line: Line, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ExportedModel.load(line.export("small", "quick", "f1_max", tmp_path / "model.h5"))
    calibration = dataclasses.replace(model.calibration, threshold=1e9)
    normal = np.linspace(0, 0.01, 40, dtype=np.float32)  # no image has scores as low
    dataclasses.replace(model, calibration=calibration, normal_scores=normal).save(tmp_path / "low.h5")
    paths = sorted(images.rglob("*.png"))

    def fill(folder: Path, *, without: Path) -> Iterator[list[Path]]:
        for number in range(20):
            copy = images / f"copy{number}.png"
            shutil.copy(paths[number % len(paths)], copy)
            yield [copy]
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "watch_folder", fill)
    assert command(tmp_path / "low.h5", images, tmp_path / "out", "--watch", "--no-overlays") == 0
    printed = capsys.readouterr().out
    assert (
        "drift alarm: scores of these images no longer look like the normal validation scores: recalibrate" in printed
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["drift"]["alarms"] == 1


def test_other_image_scores_than_the_largest_have_no_masks(
    line: Line, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = line.export("small", "top", "normal_p95", tmp_path / "model.h5")
    assert command(path, images, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "masks").exists()
    assert (tmp_path / "out" / "heatmaps").is_dir()
    assert "no masks: patches have no threshold of their own here" in capsys.readouterr().out


def test_zones_masks_of_pixels_and_probabilities_reach_the_folder(
    line: Line, zoned: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert command(zoned, images, output) == 0
    rows, summary, detector = read_rows(output), read_json(output / "summary.json"), Detector.load(zoned)
    calibration = detector.model.calibration
    assert calibration.zones is not None
    assert calibration.pixels is not None
    for row, prediction in zip(rows, detector.predict([images / row["image"] for row in rows]), strict=True):
        assert (row["decision"], row["zone"]) == (str(int(bool(row["zone"]))), prediction.zone)
        assert row["threshold"] == ""
        assert float(row["probability"]) == pytest.approx(prediction.probability, rel=1e-5)
        assert float(row["probability_isotonic"]) == pytest.approx(prediction.probability_isotonic, rel=1e-5)
        with Image.open(output / "masks" / f"{row['image']}.png") as mask:
            marked = prediction.anomaly_map >= calibration.pixels.threshold
            np.testing.assert_array_equal(np.asarray(mask) > 0, marked)
    assert {row["decision"] for row in rows} == {"0", "1"}
    assert summary["defective"] == sum(int(row["decision"]) for row in rows)
    assert (summary["threshold"], summary["undefined"]) == (None, None)
    assert summary["pixel_threshold"] == calibration.pixels.threshold
    assert summary["zones"]["thresholds"] == list(calibration.zones.thresholds)
    assert summary["masks"] == "the pixels of the map at or above the threshold of pixels"
    printed = capsys.readouterr().out
    assert f"{summary['defective']} called defective by 2 x 3 zones (f1_max)" in printed
    assert any(line.startswith("DEFECTIVE") and line.endswith(row["zone"]) for line in printed.splitlines())


def test_without_a_threshold_of_pixels_masks_mark_something_where_an_image_is_called_defective(
    model: Path, images: Path, tmp_path: Path
) -> None:
    loaded = ExportedModel.load(model)
    calibration = dataclasses.replace(loaded.calibration, pixels=None, probabilities=None)
    dataclasses.replace(loaded, calibration=calibration).save(tmp_path / "plain.h5")
    assert command(tmp_path / "plain.h5", images, tmp_path / "out") == 0
    rows = read_rows(tmp_path / "out")
    for row in rows:
        with Image.open(tmp_path / "out" / "masks" / f"{row['image']}.png") as mask:
            assert np.asarray(mask).any() == bool(int(row["decision"]))
        assert row["zone"] == row["probability"] == row["probability_isotonic"] == ""
    assert {row["decision"] for row in rows} == {"0", "1"}
    masks = read_json(tmp_path / "out" / "summary.json")["masks"]
    assert masks == "the patches at or above the image threshold"


def test_predictions_of_a_table_with_fewer_columns_are_replaced_too(model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text(
        "image,score,normalised_score,threshold,decision,undefined,milliseconds\n"
    )
    assert command(model, images, tmp_path / "out", "--overwrite", "--no-overlays") == 0
    assert len(read_rows(tmp_path / "out")) == len(list(images.rglob("*.png")))


def test_the_rule_predicts_the_same_as_the_command(
    line: Line, model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import import_module

    script = import_module("predict_images")
    options = ["--model", str(model), "--images", str(images), "--predictions"]
    script.main([*options, str(tmp_path / "rule")])
    assert len(capsys.readouterr().out.splitlines()) == 2  # not a line for each image
    assert command(model, images, tmp_path / "out") == 0
    rule, own = (read_rows(tmp_path / name) for name in ("rule", "out"))
    assert rule == [{name: row[name] for name in COLUMNS} for row in own]
    script.main([*options, str(tmp_path / "again")])
    files = sorted(path.relative_to(tmp_path / "rule") for path in (tmp_path / "rule").rglob("*.*"))
    assert Path("latency.csv") not in files
    assert all((tmp_path / "rule" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    (images / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png"):
        script.main([*options, str(tmp_path / "broken")])
    assert not (tmp_path / "broken").exists()
