"""A folder name comes in, `phantoms.png` goes out there: the planes and classes of the phantoms.

Run from the project's root: `python benchmarks/draw_phantoms.py docs/pictures`.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tumorscope.classes import CLASSES
from tumorscope.files import whole_file
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.phantoms.outlines import PLANES

SIDE, GAP, CAPTION, MARGIN = 184, 4, 26, 26
CAPTIONS = {"notumor": "no tumour"}
PATIENT_SEED = 200
GREY_STEP = 5


def draw_sheet() -> Image.Image:
    """Return the contact sheet: a row a plane, a column a class."""
    step = SIDE + GAP
    sheet = Image.new("L", (MARGIN + len(CLASSES) * step, CAPTION + len(PLANES) * step), 12)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, label in enumerate(CLASSES):
        middle = MARGIN + column * step + SIDE / 2
        pen.text((middle, CAPTION / 2), CAPTIONS.get(label, label), 235, font, anchor="mm")
    for row, plane in enumerate(PLANES):
        caption = Image.new("L", (SIDE, MARGIN), 12)
        ImageDraw.Draw(caption).text((SIDE / 2, MARGIN / 2), plane, 170, font, anchor="mm")
        sheet.paste(caption.rotate(90, expand=True), (0, CAPTION + row * step))
        for column, label in enumerate(CLASSES):
            phantom = draw_phantom(
                label,
                plane=plane,
                patient_seed=PATIENT_SEED + len(CLASSES) * row + column,
                slice_number=2,
                size=SIDE,
            )
            picture = Image.fromarray(phantom.image)
            sheet.paste(picture, (MARGIN + column * step, CAPTION + row * step))
    # Fewer greys compress to half the size and look the same.
    return sheet.point([value // GREY_STEP * GREY_STEP for value in range(256)])


def main() -> None:
    """Draw the sheet into the folder named on the command line."""
    with whole_file(Path(sys.argv[1]) / "phantoms.png") as temporary:
        draw_sheet().save(temporary, optimize=True)


if __name__ == "__main__":
    main()
