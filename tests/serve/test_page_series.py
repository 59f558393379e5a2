"""Volumes and series on the page: what is said of them, and how they are looked at."""

import base64
import re
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from browsing import drop, give, seen
from dicom_files import write_series
from tumorscope.phantoms.drawing import draw_phantom

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect


def test_volume_is_browsed_in_niivue(page: Any, scans: Path) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    give(page, scans / "scan1.png")
    assert not any("niivue" in url for url in loaded)
    give(page, scans / "head.nii.gz")
    page.get_by_role("option", name="head.nii.gz").click()
    expect(page.locator(".viewer .scan")).to_be_visible()
    assert not any("niivue" in url for url in loaded)
    page.get_by_role("button", name="Show in 3-D").click()
    page.wait_for_selector(".viewer canvas[tabindex]")
    view = page.get_by_label("View")
    expect(view).to_have_value("axial")
    assert sum("niivue" in url for url in loaded) == 1
    curve = page.get_by_role("slider", name="Slices")
    expect(curve.locator("i")).to_have_count(6)
    expect(curve.locator("i.decided")).to_have_count(3)
    curve.press("Home")
    expect(curve).to_have_attribute("aria-valuetext", re.compile(r"Slice 1 of 6: .+ %"))
    page.wait_for_timeout(300)
    first = seen(page, ".viewer canvas")
    assert first[..., :3].std() > 10
    curve.press("End")
    expect(page.locator(".now h3")).to_have_text("Slice 5 (6 of 6 classified)")
    page.wait_for_timeout(300)
    assert (seen(page, ".viewer canvas") != first).any(axis=-1).mean() > 0.02
    page.locator(".curve").click(position={"x": 5, "y": 20})
    expect(curve).to_have_attribute("aria-valuenow", "1")
    page.locator(".viewer canvas").hover()
    for _ in range(2):
        page.mouse.wheel(0, 100)
        page.wait_for_timeout(200)
    expect(curve).not_to_have_attribute("aria-valuenow", "1")
    crossed = seen(page, ".viewer canvas")
    page.get_by_role("checkbox", name="Crosshair").uncheck()
    page.wait_for_timeout(300)
    assert (seen(page, ".viewer canvas") != crossed).any()
    page.get_by_label("Drag").select_option("window and level")
    view.select_option("all planes")


def test_series_is_one_scan_along_the_body(page: Any, scans: Path) -> None:
    page.set_input_files("#choose-folder", str(scans / "series"))
    page.wait_for_selector("#save-csv:enabled")
    expect(page.locator("#list .name")).to_have_text(["series"])
    curve = page.get_by_role("slider", name="Slices")
    curve.press("Home")
    curve.press("ArrowRight")
    curve.press("PageUp")
    expect(curve).to_have_attribute("aria-valuenow", "6")
    expect(page.locator(".now h3")).to_have_text("Slice 6 of 6")


def test_series_over_several_folders_is_one_scan(page: Any, scans: Path) -> None:
    page.set_input_files("#choose-folder", str(scans / "disc"))
    page.wait_for_selector("#save-csv:enabled")
    expect(page.locator("#list .name")).to_have_text(["disc/a", "disc/a, series 2"])
    expect(page.locator(".now h3")).to_contain_text("of 4")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_archive_is_taken_as_the_folder_in_it(
    page: Any, scans: Path, tmp_path: Path, method: int
) -> None:
    archive = tmp_path / "exam.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        packed.mkdir("exam")
        for path in sorted((scans / "series").iterdir()):
            packed.write(path, f"exam/{path.name}")
            packed.writestr(f"__MACOSX/exam/._{path.name}", b"\0\5\26\7")
        packed.writestr("exam/Thumbs.db", b"\xd0\xcf")
        packed.writestr("exam/DICOMDIR", b"")
        packed.comment = b"packed by hand"
    drop(page, archive, scans / "scan1.png")
    # (What the browser cannot unpack goes to the service as it is.)
    name = "exam.zip" if method == zipfile.ZIP_BZIP2 else "exam.zip/exam"
    expect(page.locator("#list .name")).to_have_text(["scan1.png", name])
    page.get_by_role("option", name=name).click()
    expect(page.get_by_role("slider", name="Slices").locator("i")).to_have_count(6)
    shown = page.locator(".answer .label").first.text_content()
    page.set_input_files("#choose-folder", str(scans / "series"))
    page.wait_for_selector("#save-csv:enabled")
    page.get_by_role("option", name="series").click()
    expect(page.locator(".answer .label").first).to_have_text(shown)


def test_damaged_archive_says_so(page: Any, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 nothing")
    give(page, tmp_path / "a.zip")
    expect(page.locator(".answer")).to_contain_text("A damaged ZIP archive")


def test_series_without_places_is_shown_as_pictures(page: Any, scans: Path) -> None:
    page.set_input_files("#choose-folder", str(scans / "nowhere"))
    page.wait_for_selector("#save-csv:enabled")
    picture = page.locator(".viewer img")
    before = picture.get_attribute("src")
    page.get_by_role("slider", name="Slices").press("End")
    expect(picture).not_to_have_attribute("src", before)
    expect(page.get_by_text("do not say where the slices lie")).to_be_visible()
    expect(page.get_by_role("button", name="Show in 3-D")).to_have_count(0)


def test_stack_of_slices_is_a_nifti_volume_in_its_place(page: Any) -> None:
    """What the page builds for NiiVue, nibabel reads at the same mm as the series says."""
    text = page.evaluate(
        """async () => {
            const address = document.scripts[0].src.replace("main.js", "nifti.js");
            const { niftiOf, stackOf } = await import(address);
            const slice = (z) => ({ picture: "x",
                affine: [[-2, 0, 0, 40], [0, -2, 0, 30], [0, 0, 5, z], [0, 0, 0, 1]] });
            const stack = stackOf([slice(-10), slice(-5), slice(5)]);
            const grey = (level) =>
                ({ width: 4, height: 3, levels: new Uint8Array(12).fill(level) });
            const bytes = new Uint8Array(niftiOf(stack, [grey(1), grey(2), grey(4)]));
            return btoa(String.fromCharCode(...bytes));
        }"""
    )
    image = nibabel.Nifti1Image.from_bytes(base64.b64decode(text))
    values = np.asarray(image.dataobj)  # type: ignore[attr-defined]
    assert values.shape == (4, 3, 4)
    assert [int(values[0, 0, k]) for k in range(4)] == [1, 2, 0, 4]
    expected = [[-2, 0, 0, 40], [0, -2, 0, 30], [0, 0, 5, -10], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected)  # type: ignore[attr-defined]
    np.testing.assert_allclose(image.header.get_zooms(), [2, 2, 5])  # type: ignore[no-untyped-call]


def module(page: Any, name: str, script: str, *given: Any) -> Any:
    """What a function of one of the page's files returns."""
    address = page.evaluate("document.scripts[0].src").replace("main.js", name)
    return page.evaluate(
        f"async (given) => (({script})(await import('{address}'), ...given))", given
    )


def test_how_the_answer_came_of_the_slices_is_said(page: Any, scans: Path) -> None:
    give(page, scans / "head.nii.gz")
    panel = page.locator(".beside > .answer")
    expect(panel).to_contain_text("The 6 slices by themselves")
    expect(panel).to_contain_text("3 most suspicious slices decide")
    expect(panel.locator(".tick")).to_have_text("Confident from 90.0 %.")
    jumps = panel.locator(".jumps button")
    expect(jumps).to_have_count(3)
    jumps.last.click()
    number = jumps.last.inner_text()
    expect(page.locator(".now h3")).to_contain_text(f"Slice {number} (")
    expect(page.locator(".curve .threshold")).to_have_count(1)


def test_headline_that_most_slices_contradict_is_explained(page: Any) -> None:
    whole = {
        "label": "glioma",
        "answers": [{"path": "v", "slice": n, "label": "notumor"} for n in range(15)]
        + [{"path": "v", "slice": n, "label": "glioma"} for n in range(15, 18)],
        "decided_by": [{"path": "v", "slice": n} for n in range(15, 18)],
    }
    lines = module(page, "series-answer.js", "({ explain }, whole) => explain(whole)", whole)
    assert lines[0] == "The 18 slices by themselves: 15 no tumour, 3 glioma."
    assert lines[1].startswith("No tumour is the most frequent, and yet glioma is the answer")
    assert lines[-1] == (
        "Which kind: told from all slices that show the tumour, the clearest count most."
    )


def test_probability_just_below_the_threshold_does_not_look_like_it(page: Any) -> None:
    script = "({ percentBelow }, ...pairs) => pairs.map(([a, b]) => percentBelow(a, b))"
    pairs = ([0.9746, 0.975], [0.975, 0.975], [0.9, 0.975])
    assert module(page, "words.js", script, *pairs) == ["97.46 %", "97.5 %", "90.0 %"]


def volume(path: Path, voxels: Any, spacing: tuple[float, float, float]) -> Path:
    """Write axial pictures as a volume."""
    turned = np.stack([grey.T[::-1, ::-1] for grey in voxels], axis=-1)
    nibabel.save(nibabel.Nifti1Image(turned, np.diag([*spacing, 1])), path)  # type: ignore[attr-defined]
    return path


def test_mask_beside_a_volume_is_laid_over_and_scored(page: Any, tmp_path: Path) -> None:
    drawn = [
        draw_phantom("glioma", plane="axial", patient_seed=4, slice_number=n, size=128)
        for n in range(5)
    ]
    scan = volume(tmp_path / "p1_t1c.nii.gz", [item.image for item in drawn], (1.5, 1.5, 5))
    masks = [np.where(item.mask, 4, 0).astype(np.int16) for item in drawn]
    mask = volume(tmp_path / "p1_seg.nii.gz", masks, (1.5, 1.5, 5))
    marked = sum(bool(item.any()) for item in masks)
    give(page, scan, mask)
    expect(page.get_by_role("status")).to_have_text("1 file answered")
    score = page.locator(".score")
    expect(score).to_contain_text(f"p1_seg.nii.gz marks {marked} slices")
    expect(page.locator(".scan .mask path")).to_have_count(1)
    given = module(
        page,
        "mask.js",
        "({ volumesOf }) => volumesOf('a/BraTS_1_seg.nii.gz',"
        " ['a/BraTS_1_t1.nii.gz', 'a/BraTS_1_t2.nii.gz', 'a/BraTS_2_t1.nii.gz', 'b/x.nii'])",
    )
    assert given == ["a/BraTS_1_t1.nii.gz", "a/BraTS_1_t2.nii.gz"]


def test_heatmap_is_scored_as_the_mask_says(page: Any) -> None:
    """Dice 1 where mask and heat are the same; the middle of equal heat is its peak."""
    script = """async ({ scoreHeat }) => {
        const canvas = new OffscreenCanvas(8, 8);
        const pen = canvas.getContext("2d");
        pen.fillRect(0, 0, 8, 8);
        pen.fillStyle = "#fff";
        pen.fillRect(0, 0, 4, 4);
        const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
        const heatmap = btoa(String.fromCharCode(...bytes));
        const inside = (i, x) => i % 8 >= x && i % 8 < x + 4 && i < 32;
        const mask = (x) => ({ width: 8, height: 8,
            levels: Uint8Array.from({ length: 64 }, (_, i) => (inside(i, x) ? 255 : 0)) });
        const answers = [{ label: "glioma", heatmap }, { label: "glioma", heatmap },
            { label: "notumor", heatmap }, { label: "glioma", heatmap },
            { label: "glioma", heatmap }];
        return scoreHeat(answers, [mask(0), mask(3), mask(0), null, mask(1)]);
    }"""
    score = module(page, "mask.js", script)
    dice = pytest.approx((1 + 0.25 + 0.75) / 3)
    assert score == {"marked": 4, "found": 3, "scored": 3, "inside": 2, "dice": dice}


def test_scans_that_are_called_masks_are_scans(page: Any, tmp_path: Path) -> None:
    for name in ("healthy_01", "tumor_01", "roi_02"):
        drawn = [
            draw_phantom("glioma", plane="axial", patient_seed=4, slice_number=n, size=96).image
            for n in range(4)
        ]
        volume(tmp_path / f"{name}.nii.gz", drawn, (1.5, 1.5, 5))
    give(page, *sorted(tmp_path.iterdir()))
    expect(page.get_by_role("status")).to_have_text("3 files answered")
    expect(page.locator(".score")).to_have_count(0)


def test_a_series_that_refers_to_others_stays_one(page: Any, tmp_path: Path) -> None:
    for number, path in enumerate(write_series(tmp_path / "in", count=6)):
        image = dcmread(path)
        other = Dataset()
        other.SeriesInstanceUID = f"1.2.{number // 3}"
        other.ReferencedSOPSequence = []
        image.ReferencedSeriesSequence = [other]
        image.save_as(path)
    page.set_input_files("#choose-folder", str(tmp_path / "in"))
    page.wait_for_selector("#save-csv:enabled")
    expect(page.locator("#list .name")).to_have_count(1)


def test_spacing_is_said_and_an_odd_one_is_warned_of(page: Any, tmp_path: Path) -> None:
    one = draw_phantom("notumor", plane="axial", patient_seed=4, slice_number=2, size=160).image
    flat = volume(tmp_path / "flat.nii", [np.roll(one, n) for n in range(24)], (1.2, 1.2, 1))
    give(page, flat)
    expect(page.locator(".about")).to_contain_text(
        "Voxels of 1.2 \N{MULTIPLICATION SIGN} 1.2 \N{MULTIPLICATION SIGN} 1 mm"
    )
    expect(page.locator(".warning")).to_contain_text("24 slices within 24 mm are a thin slab")
    letters = page.locator(".scan .side")
    assert sorted(letters.all_inner_texts()) == ["A", "L", "P", "R"]
    expect(page.locator(".scan .side.left")).to_have_text("R")


def test_window_and_zoom_follow_drag_and_sliders(page: Any, scans: Path) -> None:
    give(page, scans / "scan1.png")
    page.get_by_label("Heatmap", exact=True).uncheck()
    page.get_by_label("Outline").uncheck()
    plain = seen(page, ".scan")
    box = page.locator(".scan").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 130, steps=4)
    page.mouse.up()
    assert np.abs(seen(page, ".scan").astype(int) - plain).mean() > 5
    page.get_by_text("Window and zoom").click()
    assert float(page.get_by_label("Window", exact=True).input_value()) < 200
    page.get_by_label("Zoom").fill("3")
    expect(page.locator(".scan .layers")).to_have_attribute("style", re.compile(r"scale\(3\)"))
    page.get_by_role("button", name="Reset").click()
    expect(page.locator(".scan .layers")).to_have_attribute("style", "")
    expect(page.locator(".scan img")).to_have_attribute("style", "")


def test_examples_are_one_click_away(page: Any) -> None:
    page.get_by_role("button", name="A series with its tumour mask").click()
    page.wait_for_selector("#save-csv:enabled")
    expect(page.locator("#detail h2")).to_have_text("series.nii.gz")
    expect(page.locator(".score")).to_contain_text("series-mask.nii.gz marks 14 slices")
    for name in ("A slice with a glioma", "A slice without a tumour"):
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name=name).click()
        expect(page.locator(".answer .label")).to_be_visible()
