"""Style, script and HTML template of the evaluation report, which `html_report` fills in.

The page is self-contained. Its Content-Security-Policy forbids requests.
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
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--faint); font-weight: 500; }
.best { font-weight: 700; }
.scroll { overflow-x: auto; }
.summary { overflow-x: auto; margin-top: 16px; }
.controls { position: sticky; top: 0; z-index: 9; display: flex; flex-wrap: wrap; gap: 8px 20px; padding: 12px 0;
  background: var(--paper); border-bottom: 1px solid var(--line); }
select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 4px; padding: 2px 6px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 20px; margin-top: 20px; }
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
"""

SCRIPT = """
const cards = [...document.querySelectorAll(".card")];
const selected = id => document.getElementById(id).value;
function compare() {
  for (const side of ["left", "right"]) {
    const method = selected(side);
    for (const card of cards) {
      for (const img of card.querySelectorAll("img")) img.classList.toggle(side, img.dataset.method === method);
      card.querySelector(".tag." + side).textContent = document.getElementById(side).selectedOptions[0].text;
    }
  }
}
function sort() {
  const [name, sign] = selected("sort").split(" ");
  const value = card => Number(card.dataset[name]);
  cards.sort((a, b) => sign * (value(a) - value(b)) || a.dataset.order - b.dataset.order);
  document.querySelector(".cards").append(...cards);
}
for (const card of cards)
  card.querySelector("input").addEventListener("input", e => card.style.setProperty("--x", e.target.value + "%"));
for (const id of ["left", "right"]) document.getElementById(id).addEventListener("change", compare);
document.getElementById("sort").addEventListener("change", sort);
compare();
sort();  // a browser may restore the selection of the page before a reload
"""

PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="faint">$subtitle</p>
<div class="summary">$summary</div>
</header>
<main>
<div class="controls">
<label>Left <select id="left">$left</select></label>
<label>Right <select id="right">$right</select></label>
<label>Order <select id="sort">$orders</select></label>
<span class="faint">$shown</span>
</div>
<div class="cards">
$cards
</div>
<h2>Protocol and sources</h2>
<dl>$details</dl>
</main>
<script>$script</script>
</body>
</html>
""")
