"""Hundreds of files on the page: counts, filters, targets, stopping; and what axe-core finds."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from browsing import give, opened
from serving import Service
from tumorscope.phantoms.drawing import draw_phantom

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

FOLDERS = ("glioma", "Meningioma_Tumor", "no_tumor", "pituitary")
EACH = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures in folders that name their classes."""
    root = tmp_path_factory.mktemp("many") / "set"
    for seed, name in enumerate(FOLDERS):
        (root / name).mkdir(parents=True)
        phantom = draw_phantom("glioma", plane="axial", patient_seed=seed, slice_number=2, size=64)
        for number in range(EACH):
            turned = Image.fromarray(phantom.image).rotate(number)
            turned.save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def full(browser: Any, service: Service, folder: Path) -> Iterator[Any]:
    """A page on which all of them are answered."""
    with opened(browser, service.address) as page:
        page.set_input_files("#choose-folder", str(folder))
        page.wait_for_selector("#save-csv:enabled")
        yield page


def shown(page: Any) -> Any:
    return page.locator("#list li")


def test_scans_are_counted_filtered_sorted_and_searched(full: Any) -> None:
    expect(full.get_by_role("button", name=f"All {4 * EACH}")).to_be_visible()
    chips = full.locator(".chips button:visible")
    counts = {chip.get_attribute("data-label"): chip.inner_text() for chip in chips.all()}
    numbers = [int(text.split()[-1]) for label, text in counts.items() if label]
    assert sum(numbers) == 4 * EACH
    text = list(counts.values())[-1]
    chips.last.click()
    expect(shown(full)).to_have_count(int(text.split()[-1]))
    full.get_by_role("button", name=f"All {4 * EACH}").click()
    full.get_by_label("Search names").fill("pituitary/7")
    expect(shown(full)).to_have_count(1)
    full.get_by_label("Search names").fill("no such name")
    expect(shown(full)).to_have_count(0)
    full.get_by_label("Search names").fill("")
    full.get_by_label("Sort by").select_option("least probable first")
    said = full.locator("#list .said")
    shares = [float(text.split(" %")[0].split()[-1]) for text in said.all_text_contents()]
    assert len(shares) == 4 * EACH
    assert shares == sorted(shares)
    full.get_by_label("Verdict").select_option("uncertain")
    assert all(text.endswith("uncertain") for text in said.all_text_contents())
    full.get_by_label("Verdict").select_option("any")
    full.get_by_label("Sort by").select_option("name")


def test_what_is_no_class_has_no_class_colour_and_names_show_their_end(
    page: Any, tmp_path: Path
) -> None:
    long = "a-name-that-is-longer-than-the-list-is-wide-by-far-and-ends-in"
    for number in range(4):
        (tmp_path / f"{long}-{number}.txt").write_text("no scan")
    give(page, *sorted(tmp_path.iterdir()))
    unreadable = page.get_by_role("button", name="unreadable 4")
    expect(unreadable).to_be_visible()
    assert unreadable.locator("i").count() == 0
    end = """(name) => {
        const range = document.createRange();
        const [text] = name.querySelector("bdi").childNodes;
        range.setStart(text, text.length - 5);
        range.setEnd(text, text.length);
        const [letters, box] = [range.getBoundingClientRect(), name.getBoundingClientRect()];
        return letters.right <= box.right + 1 && letters.left >= box.left;
    }"""
    assert all(name.evaluate(end) for name in page.locator("#list .name").all())


def test_keys_go_through_the_list_by_pages(full: Any) -> None:
    expect(shown(full)).to_have_count(4 * EACH)
    shown(full).first.click()
    full.locator("#list").press("PageDown")
    chosen = full.locator("#list [aria-selected=true]")
    expect(chosen).to_be_in_viewport()
    place = int(chosen.get_attribute("id").removeprefix("scan-"))
    assert place > 3
    full.locator("#list").press("PageUp")
    expect(shown(full).first).to_have_attribute("aria-selected", "true")


def test_folders_that_name_classes_give_a_confusion_matrix(full: Any) -> None:
    table = full.locator(".matrix")
    rows = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["glioma", "meningioma", "no tumour", "pituitary"]
    assert [sum(map(int, row[1:5])) for row in rows] == 4 * [EACH]
    right = sum(int(row[1 + number]) for number, row in enumerate(rows))
    summary = full.locator("#confusion summary")
    expect(summary).to_contain_text(f"{right} of {4 * EACH} right ({100 * right / 48:.1f} %)")
    with full.expect_download() as download:
        full.click("#save-csv")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    targets = [row["target"] for row in csv.DictReader(io.StringIO(text))]
    assert {name: targets.count(name) for name in targets} == dict.fromkeys(
        ("glioma", "meningioma", "notumor", "pituitary"), EACH
    )


def test_work_can_be_stopped_and_gone_on_with(page: Any, folder: Path) -> None:
    held: list[Any] = []
    page.route("**/v1/classify?*", lambda route: held.append(route))  # noqa: PLW0108
    page.set_input_files("#choose-folder", str(folder / "glioma"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.locator(".answer")).to_contain_text("Stopped before it was answered")
    page.unroute("**/v1/classify?*")
    retry = page.get_by_role("button", name=f"Retry ({EACH})")
    expect(retry).to_be_focused()  # (The keyboard goes on from where Stop was.)
    retry.click()
    page.wait_for_selector("#save-csv:enabled")
    expect(page.get_by_role("status")).to_have_text(f"{EACH} files answered")


def test_reload_warns_while_work_would_be_lost(page: Any, scans: Path) -> None:
    asks = "() => !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert not page.evaluate(asks)
    give(page, scans / "scan1.png")
    assert page.evaluate(asks)
    with page.expect_download():
        page.click("#save-csv")
    assert not page.evaluate(asks)


def test_phones_show_the_answer_above_the_fold(browser: Any, service: Service) -> None:
    phone = {"viewport": {"width": 390, "height": 740}, "has_touch": True, "is_mobile": True}
    with opened(browser, service.address, **phone) as page:
        expect(page.get_by_role("button", name="Choose a scan")).to_be_visible()
        for example in ("A slice with a glioma", "A series with its tumour mask"):
            page.get_by_role("button", name=example).click()
            for part in (".label", ".verdict", ".bars"):
                expect(page.locator(f".answer {part}").first).to_be_in_viewport(ratio=1)
            page.get_by_role("button", name="Clear").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, service: Service, folder: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(page: Any) -> None:
        found = axe.run(page).response["violations"]
        assert not found, [(item["id"], item["nodes"][0]["html"]) for item in found]

    with opened(browser, service.address, color_scheme=scheme) as page:
        check(page)
        page.get_by_role("button", name="A series with its tumour mask").click()
        expect(page.locator(".score")).to_be_visible()
        page.get_by_text("Window and zoom").click()
        check(page)
        page.set_input_files("#choose-folder", str(folder / "glioma"))
        page.wait_for_selector("#save-csv:enabled")
        shown(page).first.click()
        check(page)
