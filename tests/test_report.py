"""The HTML report: in a browser, and its content."""

import io
import re

import browser
import numpy as np
import pytest
from PIL import Image

from hazeheal.evaluation import html_report, pictures, results

RED, GREEN, BLUE, GRAY = (200, 40, 30), (30, 170, 60), (40, 60, 210), (128, 128, 128)
VIEWS = """[...document.querySelectorAll(".view")].map(v => {
    const b = v.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"""


def flat(color, *, size=(60, 90)):
    return np.full((*size, 3), color, "uint8")


def scored(key, psnr, *, before=10.0, colors=(RED, GREEN, BLUE), hazy="h.png", size=(60, 90)):
    """A pair whose input, method and clear image are flat."""
    figures = {"ssim": 0.5, "psnr_y": 12.0, "ssim_y": 0.5, "ciede2000": 9.0}
    scores = {"input": {"psnr": before, **figures}, "mine": {"psnr": psnr, **figures}}
    row = {"key": key, "hazy": hazy, "clear": "c.png", "width": size[1], "height": size[0], "scores": scores}
    names = ("input", "mine", "clear")
    kept = {
        name: pictures.Picture(pictures.encode_jpeg(flat(c, size=size))) for name, c in zip(names, colors, strict=True)
    }
    return row, kept


def build(*all_scored, by="mine", size=100, source="D/hazy and D/GT"):
    gallery = html_report.Gallery(by=by, size=size)
    for one in all_scored:
        gallery.add(*one)
    rows = [row for row, _ in all_scored]
    summary = results.summarize(rows)
    about = {"protocol": {"border": "none"}, "versions": {"numpy": "2.0"}}
    return html_report.build(gallery, summary=summary, count=len(rows), source=source, about=about)


def at(image, view, x):
    """The color of a screenshot at the share `x` of a view's width, at half its height."""
    left, top, width, height = view
    return image[int(top + height / 2), int(left + width * x)].astype(int)


def near(color, wanted):
    return np.abs(color - wanted).max() <= 12


@browser.needed
def test_the_slider_shows_the_input_left_and_the_restored_image_right(tmp_path):
    page = build(scored("good", 30.0), scored("bad", 11.0))
    views, shown = browser.look(page, tmp_path / "at rest", script=VIEWS)
    assert len(views) == 2
    for view in views:
        assert view[2] / view[3] == pytest.approx(1.5, rel=0.01)
        for x, color in ((0.1, RED), (0.45, RED), (0.55, GREEN), (0.9, GREEN)):
            assert near(at(shown, view, x), color), (view, x)
    move = f"""(() => {{ const slider = document.querySelector(".view input"); slider.value = 20;
        slider.dispatchEvent(new Event("input")); return {VIEWS}; }})()"""
    views, shown = browser.look(page, tmp_path / "moved", script=move)
    for x, color in ((0.1, RED), (0.25, GREEN), (0.45, GREEN)):
        assert near(at(shown, views[0], x), color), x
    assert near(at(shown, views[1], 0.45), RED)  # each image has its own slider


@browser.needed
def test_both_sides_and_the_order_can_be_selected(tmp_path):
    page = build(scored("b", 30.0, before=29.0), scored("a", 11.0, before=5.0), scored("c", 20.0, before=25.0))
    script = f"""(() => {{
        const keys = () => [...document.querySelectorAll(".card strong")].map(e => e.textContent).join("");
        const choose = (id, value) => {{ const s = document.getElementById(id); s.value = value;
            s.dispatchEvent(new Event("change")); }};
        const orders = [keys()];
        for (const order of ["quality -1", "gain 1", "gain -1", "order 1", "quality 1"]) {{ choose("sort", order); orders.push(keys()); }}
        choose("left", "mine"); choose("right", "clear");
        const tags = [...document.querySelectorAll(".card:first-child .tag")].map(e => e.textContent);
        return [orders, tags, {VIEWS}]; }})()"""
    (orders, tags, views), shown = browser.look(page, tmp_path / "page", script=script)
    assert orders == ["acb", "bca", "cba", "abc", "abc", "acb"]
    assert tags == ["mine", "clear (ground truth)"]
    assert near(at(shown, views[0], 0.25), GREEN) and near(at(shown, views[0], 0.75), BLUE)


@browser.needed
def test_names_are_escaped(tmp_path):
    name = '<script>document.title = "broken"</script>"><img src=x onerror="document.title=1">\n\u2028&amp;'
    page = build(scored(name, 30.0, hazy=name), source=name)
    script = (
        '[document.title, document.querySelector(".card strong").textContent, document.querySelectorAll("img").length]'
    )
    (title, key, images), _ = browser.look(page, tmp_path / "page", script=script)
    assert title == "HazeHeal: evaluation"
    assert key == name.replace("\n", "\\n").replace("\u2028", "\\u2028")
    assert images == 3


CARDS = """[...document.querySelectorAll(".card")].map(v => {
    const b = v.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"""
SHAPES = {"landscape": (200, 300), "portrait": (300, 200), "panorama": (100, 400), "square": (90, 90)}


@browser.needed
@pytest.mark.parametrize("width", [500, 1000, 1500])
def test_cards_of_all_shapes_are_placed_without_blanks(tmp_path, width):
    sizes = [SHAPES[name] for name in ("portrait", "landscape", "panorama", "landscape", "portrait", "square")]
    page = build(*(scored(f"k{i}", 10.0 + i, size=size) for i, size in enumerate(sizes)))
    script = f"[{CARDS}, {VIEWS}]"
    (cards, views), _ = browser.look(page, tmp_path / "page", script=script, size=(width, 2000))
    for view, (height, wide) in zip(views, sizes, strict=True):
        assert view[2] / view[3] == pytest.approx(wide / height, rel=0.02)
    top = min(card[1] for card in cards)
    for left, y, wide, _ in cards:
        over = [other for other in cards if other[0] == left and other[1] < y]
        assert y == pytest.approx(max((other[1] + other[3] + 20 for other in over), default=top), abs=1)
        assert left + wide <= width
    columns = {card[0] for card in cards}
    assert len(columns) == {500: 1, 1000: 2, 1500: 3}[width]
    bottoms = [max(card[1] + card[3] for card in cards if card[0] == column) for column in columns]
    assert max(bottoms) - min(bottoms) <= max(card[3] for card in cards)


@browser.needed
def test_panoramas_get_wider_columns(tmp_path):
    page = build(*(scored(f"k{i}", 10.0 + i, size=SHAPES["panorama"]) for i in range(3)))
    cards, _ = browser.look(page, tmp_path / "page", script=CARDS, size=(2000, 1400))
    assert len({card[0] for card in cards}) == 1 and cards[0][2] > 1400


def coordinates(blue, *, size=(1500, 2000)):
    """An image whose red and green are the column and the row, divided by 8."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x // 8, y // 8, np.full_like(x, blue)], -1).astype("uint8")


def with_files(tmp_path):
    """A pair of 2000x1500 pixels whose images at full resolution are files; the page is in a folder beside them."""
    row, kept = scored("a b#c", 20.0, size=(1500, 2000))
    for name, blue in (("input", 0), ("mine", 100), ("clear", 200)):
        file = tmp_path / "images" / name / "a b#c.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(coordinates(blue)).save(file)
        kept[name] = pictures.Picture(kept[name].small, f"../images/{name}/a b#c.png")
    return row, kept


CLICK = """const slider = document.querySelector(".view input"), box = slider.getBoundingClientRect();
    for (const type of ["pointerdown", "pointerup"]) slider.dispatchEvent(new PointerEvent(type,
        {clientX: box.left + box.width * 0.25, clientY: box.top + box.height * 0.5, bubbles: true}));"""


def middles(panes, shown):
    """The middle of each pane in a screenshot, which is taller than the window in which the script ran."""
    top, (height, width) = panes[0][1], shown.shape[:2]
    side_by_side = len({pane[1] for pane in panes}) == 1
    size = (height - top if side_by_side else (height - top - 8) / 3), (width - 8) / 3 if side_by_side else width
    steps = [(0, i) if side_by_side else (i, 0) for i in range(3)]
    return [(int(top + i * (size[0] + 4) + size[0] / 2), int(j * (size[1] + 4) + size[1] / 2)) for i, j in steps]


PANES = """[...document.querySelectorAll(".pane")].filter(p => p.clientWidth).map(v => {
    const b = v.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"""


@browser.needed
@pytest.mark.parametrize("size", [(1400, 900), (900, 1400)])
def test_a_click_shows_the_same_position_of_all_images_at_full_resolution(tmp_path, size):
    page = build(with_files(tmp_path))
    script = f"(() => {{ {CLICK} return [{PANES}, document.getElementById('zoom-percent').textContent]; }})()"
    (panes, percent), shown = browser.look(page, tmp_path / "page", script=script, size=size)
    assert percent == "100 %" and len(panes) == 3
    for (y, x), blue in zip(middles(panes, shown), (0, 100, 200), strict=True):
        for dx, dy in ((0, 0), (-120, 0), (120, 80), (0, -80)):  # one pixel of the image is one of the screen
            color = shown[y + dy, x + dx].astype(int)
            assert np.abs(color - [(500 + dx) // 8, (750 + dy) // 8, blue]).max() <= 1, (dx, dy)


@browser.needed
def test_panes_move_and_zoom_together(tmp_path):
    page = build(with_files(tmp_path))
    drag = """const area = document.querySelector(".pane"), send = (type, x, y) => area.dispatchEvent(new PointerEvent(type,
        {clientX: x, clientY: y, bubbles: true, pointerId: 1}));
    HTMLElement.prototype.setPointerCapture = () => {};
    send("pointerdown", 100, 100); send("pointermove", 60, 180); send("pointerup", 60, 180);"""
    twice = 'document.getElementById("zoom-200").click();'
    script = (
        f"(() => {{ {CLICK} {drag} {twice} return [{PANES}, document.getElementById('zoom-percent').textContent]; }})()"
    )
    (panes, percent), shown = browser.look(page, tmp_path / "page", script=script, size=(1400, 900))
    assert percent == "200 %"
    for (y, x), blue in zip(middles(panes, shown), (0, 100, 200), strict=True):
        for dx in (0, 160):
            color = shown[y, x + dx].astype(int)
            assert np.abs(color - [(540 + dx // 2) // 8, (750 - 80) // 8, blue]).max() <= 1


@browser.needed
def test_a_click_at_the_border_shows_no_blanks(tmp_path):
    page, corner = build(with_files(tmp_path)), CLICK.replace("0.25", "0").replace("0.5", "0")
    panes, shown = browser.look(
        page, tmp_path / "page", script=f"(() => {{ {corner} return {PANES}; }})()", size=(1400, 900)
    )
    top, left = int(panes[0][1]), int(panes[0][0])
    assert np.abs(shown[top + 4, left + 4].astype(int) - [0, 0, 0]).max() <= 1
    assert np.abs(shown[top + 100, left + 100].astype(int) - [12, 12, 0]).max() <= 1


@browser.needed
def test_a_drag_moves_the_slider_and_opens_nothing(tmp_path):
    page = build(with_files(tmp_path))
    drag = CLICK.replace("0.25", '(type === "pointerup" ? 0.5 : 0.25)')
    opened, _ = browser.look(
        page, tmp_path / "page", script=f'(() => {{ {drag} return document.getElementById("zoom").open; }})()'
    )
    assert opened is False


@browser.needed
def test_a_missing_file_is_named(tmp_path):
    page = build(with_files(tmp_path))
    (tmp_path / "images/mine/a b#c.png").unlink()
    wait = f"""(() => {{ {CLICK} setTimeout(() => {{ document.title = [...document.querySelectorAll(".pane p")].map(
        e => e.textContent).join("|"); document.getElementById("found-by-test").textContent = JSON.stringify(document.title);
        }}, 1000); return 1; }})()"""
    text, _ = browser.look(page, tmp_path / "page", script=wait, size=(1400, 900))
    assert text == "../images/mine/a%20b%23c.png cannot be read; it belongs beside this page"


def test_without_files_the_page_says_how_to_get_them(tmp_path):
    assert "with --save_images" in build(scored("a", 30.0)) and 'aria-label="a at full' not in build(scored("a", 30.0))
    assert "with --save_images" not in build(with_files(tmp_path))


def test_the_page_is_self_contained():
    page = build(scored("a", 30.0))
    sources = re.findall(r'(?:src|href|srcset|action)\s*=\s*"([^"]{0,30})', page)
    assert len(sources) == 3 and all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert "default-src 'none'; img-src 'self' file: data:;" in page


def test_worst_first_and_at_most_as_many_as_requested():
    several = [scored(f"k{i}", psnr) for i, psnr in enumerate([20.0, 12.0, 30.0, 12.0, 8.0, 25.0])]
    assert re.findall("<strong>(k.)</strong>", build(*several)) == ["k4", "k1", "k3", "k0", "k5", "k2"]
    page = build(*several, size=3)
    assert re.findall("<strong>(k.)</strong>", page) == ["k4", "k1", "k3"]
    assert "the 3 worst of 6 pairs; worst means lowest PSNR of mine" in page
    assert "<strong>" not in build(*several, size=0)


def test_a_report_of_the_input_alone():
    row, images = scored("a", 30.0)
    row["scores"].pop("mine")
    images.pop("mine")
    page = build((row, images), by="input")
    assert "PSNR gain" not in page and "gain first" not in page
    assert re.findall(r'value="(\w+)" selected', page) == ["input", "clear"]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1000, 2000), (320, 640)), ((640, 3), (640, 3)), ((1, 1), (1, 1)), ((4000, 2), (640, 1))],
)
def test_the_size_of_images_is_limited(size, wanted):
    data = pictures.encode_jpeg(flat(GRAY, size=size))
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG" and image.size == wanted[::-1]
    assert near(np.asarray(image).astype(int), GRAY)


def test_the_best_value_of_each_metric_is_bold():
    worse, better = ({"psnr": p, "ciede2000": c} for p, c in ((10.0, 3.0), (12.0, 5.0)))
    table = html_report._table({"input": worse, "mine": better})
    assert table.count('class="best"') == 2
    figures = [{"dark": d, "edges": e, "gradient": 1.0, "saturated": 0.0} for d, e in ((0.5, 20.0), (0.2, 40.0))]
    assert 'class="best"' not in html_report._table(dict(zip(("input", "mine"), figures, strict=True)))
    assert '<td class="best">12.00</td><td>5.00</td>' in table and '<td>10.00</td><td class="best">3.00</td>' in table
