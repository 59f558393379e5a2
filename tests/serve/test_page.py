"""The page of `tumorscope serve` in a real browser: what a person drops, sees, hears and saves."""

import csv
import io
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from browsing import drop, give, opened, seen
from serving import Service, running
from small_model import write_model
from tumorscope import RESEARCH_USE_ONLY

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect


def test_dropped_pictures_are_answered_in_order_of_counting(page: Any, scans: Path) -> None:
    drop(page, scans / "scan10.png", scans / "scan2.png", scans / "scan1.png")
    expect(page.locator("#list .name")).to_have_text(["scan1.png", "scan2.png", "scan10.png"])
    expect(page.get_by_role("status")).to_have_text("3 files answered")
    expect(page.locator("#detail h2")).to_have_text("scan1.png")
    panel = page.locator(".answer")
    expect(panel.locator("h3")).to_have_text("small 0.1")
    expect(panel.locator(".bars li")).to_have_count(4)
    shares = [float(text[:-2]) for text in panel.locator(".bars span:last-child").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    best = panel.locator(".label .share").inner_text()
    assert float(best[:-2]) == max(shares)
    words = panel.locator(".verdict").inner_text()
    assert words in ("Confident", "Uncertain, a person should look")


def test_overlay_is_drawn_and_follows_its_controls(page: Any, scans: Path) -> None:
    give(page, scans / "scan1.png")
    page.wait_for_selector(".scan .heat")
    with_heat = seen(page, ".scan")
    assert np.ptp(with_heat[..., :3].astype(int), axis=-1).max() > 60
    page.get_by_role("slider", name="Opacity of the heatmap").fill("0")
    page.get_by_label("Outline").uncheck()
    bare = seen(page, ".scan")
    assert np.ptp(bare[..., :3].astype(int), axis=-1).max() == 0
    page.get_by_label("Outline").check()
    lined = seen(page, ".scan")
    assert 0 < (lined != bare).any(axis=-1).mean() < 0.1
    page.get_by_label("Heatmap", exact=True).uncheck()
    expect(page.get_by_role("slider", name="Opacity of the heatmap")).to_be_disabled()
    give(page, scans / "scan2.png")
    page.click("#list li:nth-child(2)")
    expect(page.get_by_label("Heatmap", exact=True)).not_to_be_checked()


def test_outline_stands_where_the_heat_is_half(page: Any) -> None:
    path = page.evaluate(
        """async () => {
            const address = document.scripts[0].src.replace("main.js", "pictures.js");
            const { outline } = await import(address);
            const [width, height] = [40, 30];
            const levels = new Uint8Array(width * height);
            for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1)
                levels[y * width + x] = Math.max(0, 200 - 20 * Math.hypot(x - 15, y - 12));
            return outline({ width, height, levels });
        }"""
    )
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path), dtype=float)
    # (Pixels' middles are half a pixel in; the cone is at half its height 5 pixels from the top.)
    distances = np.hypot(points[:, 0] - 15.5, points[:, 1] - 12.5)
    np.testing.assert_allclose(distances, 5, atol=0.25)
    assert len(points) > 40


def test_broken_and_refused_files_say_why(page: Any, scans: Path) -> None:
    give(page, scans / "broken.jpg", scans / "ct.dcm", scans / "scan1.png")
    expect(page.get_by_role("status")).to_have_text("3 files answered; 1 without an answer")
    page.get_by_role("option", name="broken.jpg").click()
    expect(page.locator(".answer .label")).to_have_text("Cannot be read")
    expect(page.locator(".answer")).to_contain_text("Damaged picture, its data is broken.")
    page.get_by_role("option", name="ct.dcm").click()
    expect(page.locator(".verdict")).to_have_text("Not classified")
    expect(page.locator(".answer")).to_contain_text("the model classifies MR slices only")
    page.get_by_role("option", name="scan1.png").click()
    expect(page.locator(".bars")).to_be_visible()


def test_folder_of_other_things_is_told(page: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing to see")
    page.set_input_files("#choose-folder", str(tmp_path / "folder"))
    expect(page.get_by_role("alert")).to_contain_text("No JPEG, PNG, DICOM or NIfTI file")


def test_what_a_folder_holds_besides_scans_is_listed(
    page: Any, scans: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    shutil.copy(scans / "scan1.png", folder)
    head = nibabel.load(scans / "head.nii.gz")  # type: ignore[attr-defined]
    nibabel.save(nibabel.Nifti1Pair(head.dataobj, head.affine), folder / "head.hdr")  # type: ignore[attr-defined]
    for name in ("notes.txt", "table.csv", "Thumbs.db", "volume.nhdr", "DICOMDIR"):
        (folder / name).write_bytes(b"nothing")
    page.set_input_files("#choose-folder", str(folder))
    page.wait_for_selector("#save-csv:enabled")
    left = page.locator("#left-out")
    expect(left.locator("summary")).to_have_text(
        "5 files left out: 1 index of a DICOM medium, 2 of no kind that is read, "
        "1 metadata of the operating system, 1 header whose voxels lie in another file"
    )
    left.locator("summary").click()
    expect(left.get_by_text("exam/notes.txt: of no kind that is read")).to_be_visible()
    expect(page.locator("#list .name")).to_have_text(["exam/scan1.png", "exam/head.hdr"])
    page.get_by_role("option", name="head.hdr").click()
    expect(page.get_by_role("slider", name="Slices").locator("i")).to_have_count(6)
    page.click("#clear")
    expect(left).to_be_hidden()


def test_names_of_files_stay_in_the_page(page: Any, scans: Path) -> None:
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.sent = [];
            window.fetch = (address, options) => {
                window.sent.push(address, ...[...options.body.values()].map(({ name }) => name));
                return send(address, options);
            };
        }"""
    )
    give(page, scans / "scan1.png", scans / "head.nii.gz")
    sent = page.evaluate("window.sent")
    assert {"0.png", "0.nii.gz"} < set(sent)
    assert not any("scan1" in text or "head" in text for text in sent)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page: Any, scans: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    give(page, scans / "scan1.png")
    lightness = page.evaluate(
        """() => [document.body, ...document.querySelectorAll(
            ".notice, .quiet, .said, .label, .share, .verdict, h3, button, #status")]
          .filter((element) => element.offsetParent || element === document.body)
          .map((element) => {
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)")
                behind = behind.parentElement;
            return [element.className || element.tagName, getComputedStyle(element).color,
                getComputedStyle(behind).backgroundColor];
        })"""
    )
    body = luminance(lightness[0][2])
    assert (body < 0.1) if scheme == "dark" else (body > 0.9)
    for name, colour, behind in lightness:
        high, low = sorted((luminance(colour), luminance(behind)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_keyboard_is_enough(page: Any, scans: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()
    give(page, *(scans / f"scan{number}.png" for number in (1, 2, 10)))
    names = []
    for _ in range(8):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        if names[-1] == "list":
            break
    assert names[-1] == "list"
    for key, name in (
        ("ArrowDown", "scan2.png"),
        ("End", "scan10.png"),
        ("ArrowDown", "scan10.png"),
        ("ArrowUp", "scan2.png"),
        ("Home", "scan1.png"),
    ):
        page.keyboard.press(key)
        expect(page.locator("#detail h2")).to_have_text(name)
        expect(page.locator("#list [aria-selected=true]")).to_contain_text(name)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Heatmap", exact=True)).not_to_be_checked()
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()
    expect(page.locator("#results")).to_be_hidden()


def test_every_control_has_a_name(page: Any, scans: Path) -> None:
    give(page, scans / "scan1.png", scans / "head.nii.gz")
    page.get_by_role("option", name="head.nii.gz").click()
    expect(page.locator(".curve")).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, img, canvas, [role]")]
          .filter((element) => !(element.ariaLabel || element.labels?.length
            || element.textContent.trim() || element.alt != null || element.title))
          .map((element) => element.outerHTML)
          .filter((html) => !html.includes('role="status"') && !html.includes('role="alert"'))"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [360, 768])
def test_narrow_screens_hold_everything(page: Any, scans: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    give(page, scans / "scan1.png", scans / "head.nii.gz")
    for name in ("scan1.png", "head.nii.gz"):
        page.get_by_role("option", name=name).click()
        page.wait_for_selector(".answer .label")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.mouse.wheel(0, 2000)
        expect(page.get_by_text("Research use only")).to_be_in_viewport()


def test_csv_holds_every_slice(page: Any, scans: Path, tmp_path: Path) -> None:
    odd = tmp_path / '=1+1,"x".png'
    odd.write_bytes((scans / "scan1.png").read_bytes())
    give(page, odd, scans / "head.nii.gz", scans / "broken.jpg")
    with page.expect_download() as download:
        page.click("#save-csv")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    of_volume = [row for row in rows if row["path"] == "head.nii.gz"]
    assert [row["slices"] for row in of_volume] == ["6"] + 6 * [""]
    assert [row["slice"] for row in of_volume[1:]] == list("012345")
    assert {row["series"] for row in of_volume} == {"head.nii.gz"}
    assert of_volume[0]["decided_by"].count("head.nii.gz [") == 3
    (single,) = (row for row in rows if row["path"] == '\'=1+1,"x".png')
    shares = [float(single[key]) for key in single if key.startswith("probability_")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    (failed,) = (row for row in rows if row["path"] == "broken.jpg")
    assert failed["error"]
    assert not failed["label"]


def test_report_stands_alone(browser: Any, page: Any, scans: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<img src=x onerror=alert(1)>.png"
    odd.write_bytes((scans / "scan1.png").read_bytes())
    give(page, odd, scans / "head.nii.gz", scans / "broken.jpg", scans / "ct.dcm")
    with page.expect_download() as download:
        page.click("#save-report")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "onerror=alert(1)>.png<" not in text
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,)', text)
    report = tmp_path / "report.html"
    report.write_text(text, encoding="utf-8")
    context = browser.new_context()
    shown = context.new_page()
    shown.goto(report.as_uri())
    expect(shown.get_by_text(RESEARCH_USE_ONLY).first).to_be_visible()
    expect(shown.locator("article")).to_have_count(4)
    expect(shown.locator("img")).to_have_count(4)
    assert shown.pdf()[:5] == b"%PDF-"
    context.close()


def test_two_models_are_compared(browser: Any, scans: Path, tmp_path: Path) -> None:
    sure = write_model(tmp_path / "a.onnx", sharpness=30, name="first")
    unsure = write_model(
        tmp_path / "b.onnx", sharpness=0.01, name="second", classes=["meningioma", "glioma"]
    )
    words = ("--model", str(sure), "--model", str(unsure))
    with running(tmp_path, *words) as service, opened(browser, service.address) as page:
        expect(page.locator("#models")).to_have_text("first 0.1 and second 0.1")
        give(page, scans / "scan1.png", scans / "head.nii.gz")
        page.get_by_role("option", name="scan1.png").click()
        expect(page.locator(".answer h3")).to_have_text(["first 0.1", "second 0.1"])
        expect(page.locator(".scan")).to_have_count(2)
        labels = page.locator(".answer .label").all_inner_texts()
        assert len({label.rpartition(" ")[0].split(" ")[0] for label in labels}) == 2
        expect(page.locator(".differ")).to_contain_text("The models differ")
        page.get_by_role("option", name="head.nii.gz").click()
        expect(page.locator(".curve")).to_have_count(2)
        page.locator(".curve").last.press("End")
        for curve in page.locator(".curve").all():
            expect(curve).to_have_attribute("aria-valuenow", "6")
        page.get_by_label("Heatmap of").select_option("second 0.1")
        expect(page.locator(".now .answer")).to_have_count(2)


def test_files_that_come_before_the_models_are_loaded_wait_for_them(
    browser: Any, service: Service, scans: Path
) -> None:
    context = browser.new_context()
    page = context.new_page()
    held: list[Any] = []

    def hold(request: Any) -> None:
        held.append(request)

    page.route("**/v1/model", hold)
    page.goto(service.address)
    expect(page.locator("#privacy")).not_to_be_empty()
    give(page, scans / "scan1.png", wait=False)
    expect(page.get_by_role("status")).to_have_text("0 of 1 files answered")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#detail")).to_contain_text("Stopped before it was answered")
    page.get_by_role("button", name="Retry").click()
    held[0].continue_()
    expect(page.locator(".answer .label")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("1 file answered")
    held.clear()
    page.goto(service.address)
    expect(page.locator("#privacy")).not_to_be_empty()
    give(page, scans / "scan1.png", wait=False)
    held[0].abort()
    expect(page.locator("#detail")).to_contain_text("The service does not answer")
    context.close()


def test_the_description_of_the_api_is_shown_and_can_be_tried(
    browser: Any, service: Service, scans: Path
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{service.address}/docs")
    page.locator(".opblock-post").first.get_by_text("/v1/classify").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name=re.compile("Add .*item")).click()
    page.locator("input[type=file]").set_input_files(scans / "scan1.png")
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text('"path": "scan1.png"')
    context.close()


def test_token_is_asked_for(browser: Any, scans: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", sharpness=1)
    with running(tmp_path, "--model", str(model), token="let me in") as service:
        context = browser.new_context()
        page = context.new_page()
        page.goto(service.address)
        page.get_by_label("Token", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Token", exact=True)).to_have_value("")
        expect(page.get_by_role("alert")).to_have_text("That token is not the right one.")
        page.get_by_label("Token", exact=True).fill("let me in")
        page.get_by_role("button", name="Go on").click()
        page.wait_for_selector("body[data-ready]")
        give(page, scans / "scan1.png")
        expect(page.locator(".answer .label")).to_be_visible()
        context.close()


def test_service_that_was_away_is_asked_again(browser: Any, service: Service, scans: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(service.address)
    page.wait_for_selector("body[data-ready]")
    context.set_offline(True)
    give(page, scans / "scan1.png", scans / "head.nii.gz")
    expect(page.locator(".answer .label")).to_have_text("No answer")
    expect(page.locator(".answer")).to_contain_text("The service does not answer")
    context.set_offline(False)
    page.get_by_role("button", name="Retry (2)").click()
    page.wait_for_selector("#save-csv:enabled")
    expect(page.get_by_role("status")).to_have_text("2 files answered")
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.locator(".answer .share")).to_be_visible()
    context.close()
