"""The page's style sheet. Its colours are told apart by colour-blind people too (Okabe and Ito), by dashes besides."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1c2430; --soft: #5b6675; --line: #dfe3e8; --grid: #e9ecf0;
  --accent: #0072b2; --s0: #6b7480; --s1: #c98500; --s2: #00875f; --s3: #b9558f; --s4: #c24a00; --s5: #3d8fc4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2029; --text: #e6eaf0; --soft: #9aa5b4; --line: #2d3542; --grid: #262d38;
    --accent: #56b4e9; --s0: #9aa3ae; --s1: #e69f00; --s2: #2bbf92; --s3: #dd8fbb; --s4: #ee7a3b; --s5: #86c3ec;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { overflow-wrap: anywhere; margin: 0 0 20px; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; }
h2 { margin: 0 0 16px; font-size: 1.25rem; letter-spacing: -0.01em; }
section { margin-top: 44px; scroll-margin-top: 60px; }
nav {
  position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: 4px 20px; margin-top: 24px;
  padding: 10px 0; background: var(--page); border-bottom: 1px solid var(--line); font-size: 0.9rem;
}
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
dl, dd, figure { margin: 0; }
.scrolls { overflow-x: auto; }
.scrolls:focus-visible, button:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px;
}
.empty { padding: 32px; border: 1px dashed var(--line); border-radius: 10px; color: var(--soft); text-align: center; }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 10px; }
.tiles > div {
  display: flex; flex-direction: column-reverse; justify-content: flex-end; padding: 10px 12px;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
.tiles dt { color: var(--soft); font-size: 0.8rem; line-height: 1.3; }
.tiles dd { font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tiles > div:first-child { border-color: var(--accent); }
.tiles > div:first-child dd { color: var(--accent); }

.cards { display: grid; gap: 16px; margin: 0; padding: 0; list-style: none; }
.card, section > figure, .tree, table, .side-by-side > figure {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
.card { padding: 18px 20px; }
.card header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; }
.card h3 { margin: 0; color: var(--soft); font-size: 0.9rem; font-weight: 500; }
.rank {
  align-self: center; min-width: 28px; padding: 2px 6px; border-radius: 14px; background: var(--accent);
  color: var(--card); font-size: 0.85rem; font-weight: 700; text-align: center;
}
.score { font-weight: 650; font-variant-numeric: tabular-nums; }
.card .score { font-size: 1.3rem; }
.card .score small { margin-left: 5px; color: var(--soft); font-size: 0.8rem; font-weight: 400; }
.figures { display: flex; flex-wrap: wrap; gap: 0 16px; margin-left: auto; font-size: 0.85rem; }
.figures div { display: flex; gap: 6px; }
.figures dt { color: var(--soft); }
.figures dd { font-variant-numeric: tabular-nums; }

math { font-family: "STIX Two Math", "Latin Modern Math", "Cambria Math", "Libertinus Math", "TeX Gyre Termes Math",
  "DejaVu Math TeX Gyre", math; }
.formulas {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); align-items: baseline; gap: 4px 8px;
  margin: 14px 0; font-size: 1.15rem;
}
.formulas dt { color: var(--soft); text-align: right; }
.formulas math { math-style: normal; }
.formulas dd { padding: 3px 2px; }
.inline-formulas { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 28px; }
.inline-formulas > span { display: inline-flex; align-items: baseline; gap: 5px; max-width: 100%; overflow-x: auto; }

.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 8px 16px; }
.chart { display: block; width: 100%; height: auto; font-size: 12px; }
.chart text { fill: var(--soft); font-variant-numeric: tabular-nums; }
.chart .axis-label { font-size: 12px; }
.chart .panel-title { fill: var(--text); font-size: 13px; font-weight: 600; }
.grid { stroke: var(--grid); }
.axis { stroke: var(--soft); }
.series { fill: none; stroke-width: 1.6; }
.searched { stroke: var(--accent); stroke-width: 3; stroke-linejoin: round; }
.s0 { stroke: var(--s0); stroke-dasharray: 7 3; }
.s1 { stroke: var(--s1); stroke-dasharray: 2 2.5; }
.s2 { stroke: var(--s2); stroke-dasharray: 9 3 2 3; }
.s3 { stroke: var(--s3); stroke-dasharray: 5 2; }
.s4 { stroke: var(--s4); stroke-dasharray: 12 4; }
.s5 { stroke: var(--s5); stroke-dasharray: 3 3 8 3; }
.leader { fill: none; stroke: var(--line); }
.point { fill: var(--accent); fill-opacity: 0.45; }
.point:hover { fill-opacity: 1; }
.diagonal { fill: none; stroke: var(--soft); stroke-dasharray: 5 4; }
.bar { fill: var(--s0); }
.bar.evaluated { fill: var(--accent); }
.bar.duplicate { fill: var(--s1); }
.bar.failed { fill: var(--s4); }
.bar.waiting { fill: var(--s5); }
section > figure, .side-by-side > figure { padding: 18px 20px; }
figcaption { margin-top: 6px; color: var(--soft); font-size: 0.85rem; }
.legend {
  display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 4px 0 0; padding: 0 0 0 46px; list-style: none;
  color: var(--soft); font-size: 0.85rem;
}
.legend li { display: flex; align-items: center; gap: 7px; }
.side-by-side { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 16px; }
.side-by-side > figure { flex: 0 1 420px; }
.side-by-side > .scrolls { flex: 1 1 320px; }

details { margin-top: 12px; font-size: 0.9rem; }
summary { width: max-content; color: var(--accent); cursor: pointer; }
details dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 6px 14px; margin-top: 10px; }
details dt { color: var(--soft); }
details dd { display: flex; align-items: flex-start; justify-content: space-between; gap: 10px; }
code {
  font: 0.92em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere;
}
button {
  padding: 1px 9px; border: 1px solid var(--line); border-radius: 6px; background: var(--page); color: var(--soft);
  font: inherit; font-size: 0.8rem; white-space: nowrap; cursor: pointer;
}
button:hover { color: var(--accent); border-color: var(--accent); }

table { width: 100%; border-collapse: separate; border-spacing: 0; font-size: 0.9rem; }
section > .scrolls { margin-top: 16px; }
caption { padding: 0 0 6px; color: var(--soft); font-size: 0.85rem; text-align: left; }
th, td { padding: 6px 14px; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
tr:last-child > * { border-bottom: 0; }
thead tr:last-child > * { border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
td { overflow-wrap: anywhere; }
th.number, td.number { width: 1%; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.settings th { width: 1%; white-space: nowrap; }

.tree { margin: 0; padding: 14px 18px; overflow-x: auto; }
.tree, .tree ul { list-style: none; }
.tree ul { margin: 0 0 0 10px; padding: 0; }
.tree li { position: relative; }
.tree ul > li { padding-left: 20px; border-left: 1.5px solid var(--line); }
.tree ul > li:last-child { border-left-color: transparent; }
.tree ul > li::before {
  content: ""; position: absolute; left: -1.5px; top: 0; width: 15px; height: 19px;
  border-left: 1.5px solid var(--line); border-bottom: 1.5px solid var(--line); border-bottom-left-radius: 6px;
}
.tree details { margin: 2px 0 4px; }
.node { padding: 6px 0; }
.node-head { display: flex; flex-wrap: wrap; gap: 0 10px; align-items: baseline; font-size: 0.9rem; }
.node-head > span:last-child { color: var(--soft); }
.note { color: var(--soft); font-size: 0.9rem; }

@media (max-width: 560px) {
  main { padding: 24px 14px 60px; }
  .legend { padding-left: 0; }
  details dl { grid-template-columns: 1fr; }
}
@media print {
  nav, button { display: none; }
  .card, section > figure { break-inside: avoid; }
}
"""
