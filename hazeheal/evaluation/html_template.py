"""Style, script and HTML template of the evaluation report, which `html_report` fills in.

The page needs no other file except the images at full resolution, which are beside it. Its Content-Security-Policy
forbids requests to other places.
"""

import string

STYLE = """
:root { color-scheme: light dark; --paper: #fafaf8; --ink: #1c2024; --faint: #6b7278; --line: #d9dbd6; --card: #fff; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --ink: #e8e8e4; --faint: #9aa1a7; --line: #34383c;
  --card: #1e2124; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 1500px; margin: 0 auto; padding: 24px; }
header { padding-bottom: 0; }
h1 { font-size: 24px; margin: 0 0 4px; }
p { margin: 4px 0; }
.faint { color: var(--faint); }
.note { border-left: 3px solid #c98a00; padding-left: 12px; margin: 12px 0; max-width: 900px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--faint); font-weight: 500; }
.best { font-weight: 700; }
.scroll { overflow-x: auto; }
.summary { overflow-x: auto; margin-top: 16px; }
.controls { position: sticky; top: 0; z-index: 9; display: flex; flex-wrap: wrap; gap: 8px 20px; padding: 12px 0;
  background: var(--paper); border-bottom: 1px solid var(--line); }
select, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 4px; padding: 2px 6px; }
button { cursor: pointer; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 20px;
  align-items: start; margin-top: 20px; position: relative; }
.placed { display: block; }
.placed .card { position: absolute; }
.card { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; --x: 50%; }
.view { position: relative; overflow: hidden; background: var(--line); }
.view:focus-within { outline: 3px solid #3b82f6; outline-offset: -3px; }
.view img { position: absolute; inset: 0; width: 100%; height: 100%; display: none; }
.view img.right { display: block; }
.view img.left { display: block; z-index: 1; clip-path: inset(0 calc(100% - var(--x)) 0 0); }
.view::after { content: ""; position: absolute; z-index: 2; top: 0; bottom: 0; left: calc(var(--x) - 1px); width: 2px;
  background: #fff; box-shadow: 0 0 4px #000a; pointer-events: none; }
.view input { position: absolute; z-index: 3; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; touch-action: pan-y; appearance: none; -webkit-appearance: none; }
.view input::-webkit-slider-thumb { -webkit-appearance: none; width: 1px; height: 100%; }
.view input::-moz-range-thumb { width: 1px; height: 100%; border: 0; }
.view button { position: absolute; z-index: 5; top: 8px; right: 8px; background: #000a; color: #fff; border: 0;
  font-size: 13px; }
.tag { position: absolute; z-index: 4; bottom: 8px; padding: 0 8px; border-radius: 4px; background: #000a; color: #fff;
  font-size: 13px; pointer-events: none; max-width: 46%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.tag.left { left: 8px; } .tag.right { right: 8px; }
figcaption { padding: 10px 14px 12px; font-size: 13px; }
figcaption strong { font-size: 15px; overflow-wrap: anywhere; }
figcaption p { margin: 0 0 6px; overflow-wrap: anywhere; }
figcaption th, figcaption td { padding: 1px 3px; font-size: 12px; }
figcaption th { white-space: normal; vertical-align: bottom; }
figcaption th:last-child, figcaption td:last-child { padding-right: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
dialog { width: 100vw; height: 100vh; max-width: none; max-height: none; margin: 0; padding: 0; border: 0;
  background: var(--paper); color: var(--ink); overflow: hidden; }
dialog[open] { display: flex; flex-direction: column; }
#zoom-methods { display: flex; flex-wrap: wrap; gap: 2px 14px; }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 18px; padding: 8px 12px; }
#zoom-close { margin-left: auto; }
.panes { flex: 1; min-height: 0; display: flex; gap: 4px; background: var(--line); cursor: grab; touch-action: none; }
.panes:active { cursor: grabbing; }
.pane { position: relative; flex: 1; min-width: 0; min-height: 0; overflow: hidden; background: #555; }
.pane img { position: absolute; left: 0; top: 0; transform-origin: 0 0; max-width: none; user-select: none; }
.pane p { position: absolute; inset: 40% 12px auto; color: #fff; text-align: center; overflow-wrap: anywhere; }
"""

SCRIPT = """
const cards = [...document.querySelectorAll(".card")];
const element = id => document.getElementById(id);
const selected = id => element(id).value;
const grid = document.querySelector(".cards");

// The cards under the slider.
function compare() {
  for (const side of ["left", "right"]) {
    const method = selected(side);
    for (const card of cards) {
      for (const img of card.querySelectorAll("img")) img.classList.toggle(side, img.dataset.method === method);
      card.querySelector(".tag." + side).textContent = element(side).selectedOptions[0].text;
    }
  }
}
function sort() {
  const [name, sign] = selected("sort").split(" ");
  const value = card => Number(card.dataset[name]);
  cards.sort((a, b) => sign * (value(a) - value(b)) || a.dataset.order - b.dataset.order);
  grid.append(...cards);
  place();
}
// Columns without blanks: each card is placed in the column that ends highest up. Wide images get wider columns.
function place() {
  const aspects = cards.map(card => card.dataset.width / card.dataset.height).sort((a, b) => a - b);
  const least = 440 * Math.max(1, (aspects[aspects.length >> 1] || 1) / 2);
  const gap = 20, width = grid.clientWidth, count = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const column = (width - gap * (count - 1)) / count, bottoms = Array(count).fill(0);
  grid.classList.add("placed");
  for (const card of cards) card.style.width = column + "px";
  const heights = cards.map(card => card.offsetHeight);
  cards.forEach((card, i) => {
    const best = bottoms.indexOf(Math.min(...bottoms));
    card.style.left = best * (column + gap) + "px";
    card.style.top = bottoms[best] + "px";
    bottoms[best] += heights[i] + gap;
  });
  grid.style.height = Math.max(0, ...bottoms) + "px";
}
for (const card of cards) {
  const slider = card.querySelector("input"), button = card.querySelector("button");
  const slide = () => card.style.setProperty("--x", slider.value + "%");
  slider.addEventListener("input", slide);
  if (!button) continue;
  button.addEventListener("click", () => openZoom(card, 0.5, 0.5));
  slider.addEventListener("keydown", e => { if (e.key === "Enter") openZoom(card, 0.5, 0.5); });
  let down = null;
  slider.addEventListener("pointerdown", e => { down = e.button ? null : [e.clientX, e.clientY, slider.value]; });
  slider.addEventListener("pointerup", e => {
    if (!down || Math.hypot(e.clientX - down[0], e.clientY - down[1]) > 4) return;
    const box = slider.getBoundingClientRect();
    openZoom(card, (e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
    const before = down[2];  // a click moves the slider, which only a drag should do
    setTimeout(() => { slider.value = before; slide(); });
  });
}

// The zoom: the same position of several images at full resolution, side by side.
const zoom = { width: 1, height: 1, x: 0, y: 0, scale: 1 };  // x, y: the pixel in the middle; scale: CSS pixels per pixel
const panes = () => [...document.querySelectorAll(".pane")];
function openZoom(card, x, y) {
  zoom.width = Number(card.dataset.width);
  zoom.height = Number(card.dataset.height);
  element("zoom-key").textContent = card.querySelector("strong").textContent;
  const shown = new Set(["input", selected("left"), selected("right"), "clear"]);
  element("zoom-methods").replaceChildren();
  document.querySelector(".panes").replaceChildren();
  for (const small of card.querySelectorAll("img")) {
    const label = document.createElement("label"), box = document.createElement("input");
    const pane = document.createElement("div"), tag = document.createElement("span"), img = document.createElement("img");
    Object.assign(box, { type: "checkbox", checked: shown.has(small.dataset.method) });
    box.addEventListener("change", () => { show(); arrange(); });
    label.append(box, " " + small.alt);
    element("zoom-methods").append(label);
    Object.assign(pane, { className: "pane", hidden: false });
    Object.assign(tag, { className: "tag left", textContent: small.alt });
    Object.assign(img, { draggable: false, alt: small.alt });
    img.addEventListener("error", () => {
      const text = document.createElement("p");
      text.textContent = small.dataset.full + " cannot be read; it belongs beside this page";
      img.replaceWith(text);
    });
    const show = () => {
      pane.style.display = box.checked ? "" : "none";
      if (box.checked && !img.src) img.src = small.dataset.full;
    };
    pane.append(img, tag);
    document.querySelector(".panes").append(pane);
    show();
  }
  if (!element("zoom").open) element("zoom").showModal();
  zoom.x = x * zoom.width;
  zoom.y = y * zoom.height;
  zoom.scale = 1 / devicePixelRatio;  // 100 %: a pixel of the image is a pixel of the screen
  arrange();
}
// Side by side, or one below the other if that shows much more of the images.
function arrange() {
  const area = document.querySelector(".panes"), count = panes().filter(pane => pane.style.display !== "none").length || 1;
  const seen = (columns, rows) => Math.min(zoom.width * zoom.scale, area.clientWidth / columns)
    * Math.min(zoom.height * zoom.scale, area.clientHeight / rows);
  area.style.flexDirection = seen(1, count) > 1.3 * seen(count, 1) ? "column" : "row";
  update();
}
function update() {
  zoom.scale = Math.min(16, Math.max(zoom.scale, Math.min(0.02, fitting())));
  const within = (x, size, half) => size < 2 * half ? size / 2 : Math.min(size - half, Math.max(half, x));
  zoom.x = within(zoom.x, zoom.width, visible().clientWidth / 2 / zoom.scale);
  zoom.y = within(zoom.y, zoom.height, visible().clientHeight / 2 / zoom.scale);
  const percent = 100 * zoom.scale * devicePixelRatio;
  element("zoom-percent").textContent = percent.toFixed(percent < 10 ? 1 : 0) + " %";
  for (const pane of panes()) {
    const img = pane.querySelector("img");
    if (!img) continue;
    img.style.width = zoom.width * zoom.scale + "px";
    img.style.height = zoom.height * zoom.scale + "px";
    img.style.imageRendering = percent > 100 ? "pixelated" : "auto";
    const left = pane.clientWidth / 2 - zoom.x * zoom.scale, top = pane.clientHeight / 2 - zoom.y * zoom.scale;
    img.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }
}
const visible = () => panes().find(pane => pane.clientWidth) || document.querySelector(".panes");
const fitting = () => Math.min(visible().clientWidth / zoom.width, visible().clientHeight / zoom.height);
function setScale(scale) { zoom.scale = scale; update(); }
function fit() { zoom.x = zoom.width / 2; zoom.y = zoom.height / 2; setScale(fitting()); }
element("zoom-fit").addEventListener("click", fit);
element("zoom-100").addEventListener("click", () => setScale(1 / devicePixelRatio));
element("zoom-200").addEventListener("click", () => setScale(2 / devicePixelRatio));
element("zoom-400").addEventListener("click", () => setScale(4 / devicePixelRatio));
element("zoom-close").addEventListener("click", () => element("zoom").close());
element("zoom").addEventListener("close", () => document.querySelector(".panes").replaceChildren());  // frees the memory
const area = document.querySelector(".panes");
let held = null;
area.addEventListener("pointerdown", e => { held = [e.clientX, e.clientY]; area.setPointerCapture(e.pointerId); });
area.addEventListener("pointerup", () => { held = null; });
area.addEventListener("pointercancel", () => { held = null; });
area.addEventListener("pointermove", e => {
  if (!held) return;
  zoom.x -= (e.clientX - held[0]) / zoom.scale;
  zoom.y -= (e.clientY - held[1]) / zoom.scale;
  held = [e.clientX, e.clientY];
  update();
});
area.addEventListener("wheel", e => {
  e.preventDefault();
  const pane = e.target.closest(".pane");
  if (!pane) return;
  const box = pane.getBoundingClientRect(), factor = 2 ** (-Math.sign(e.deltaY) / 2);
  const dx = e.clientX - box.left - box.width / 2, dy = e.clientY - box.top - box.height / 2;
  zoom.x += dx / zoom.scale - dx / (zoom.scale * factor);  // the pixel under the pointer stays there
  zoom.y += dy / zoom.scale - dy / (zoom.scale * factor);
  setScale(zoom.scale * factor);
}, { passive: false });
element("zoom").addEventListener("keydown", e => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
  if (step) {
    zoom.x += step[0] * visible().clientWidth / 4 / zoom.scale;
    zoom.y += step[1] * visible().clientHeight / 4 / zoom.scale;
    update();
  } else if (e.key === "+" || e.key === "-") setScale(zoom.scale * (e.key === "+" ? 2 : 0.5));
  else if (e.key === "1") setScale(1 / devicePixelRatio);
  else if (e.key === "0") fit();
  else return;
  e.preventDefault();
});
addEventListener("resize", () => { place(); if (element("zoom").open) arrange(); });

for (const id of ["left", "right"]) element(id).addEventListener("change", compare);
element("sort").addEventListener("change", sort);
compare();
sort();  // a browser may restore the selection of the page before a reload
"""

PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="faint">$subtitle</p>
$note
<div class="summary">$summary</div>
</header>
<main>
<div class="controls">
<label>Left <select id="left">$left</select></label>
<label>Right <select id="right">$right</select></label>
<label>Order <select id="sort">$orders</select></label>
<span class="faint">$shown</span>
</div>
<p class="faint">$hint</p>
<div class="cards">
$cards
</div>
<h2>Protocol and sources</h2>
<dl>$details</dl>
</main>
<dialog id="zoom" aria-label="images at full resolution">
<div class="bar"><strong id="zoom-key"></strong><span id="zoom-methods"></span>
<span><button id="zoom-fit">Fit</button> <button id="zoom-100">100 %</button> <button id="zoom-200">200 %</button>
<button id="zoom-400">400 %</button> <span id="zoom-percent" class="faint"></span></span>
<button id="zoom-close">Close</button></div>
<div class="panes"></div>
</dialog>
<script>$script</script>
</body>
</html>
""")
