"""The style of report.html: light and dark, screen, phone and paper."""

from __future__ import annotations

STYLESHEET = """
:root {
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --tint: #f6f8fa;
  --link: #0550ae; --holds: #116329; --violated: #a40e26; --inconclusive: #7d4e00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #11151a; --ink: #e6edf3; --soft: #a3adb8; --line: #39424d; --tint: #1a2027;
    --link: #79b8ff; --holds: #6fdd8b; --violated: #ff9492; --inconclusive: #f0c060;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem clamp(0.8rem, 3vw, 2rem) 4rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: break-word;
}
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { position: static; }
.kicker { margin: 0; color: var(--soft); }
h1 { margin: 0.1em 0 0.4em; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; }
h2 { margin: 2.5rem 0 0.8rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { margin: 0 0 0.6rem; font-size: 1.1rem; }
h3 span { font-weight: 400; }
.counts, nav ul { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; margin: 0; padding: 0;
  list-style: none; }
.counts li { padding: 0.3rem 0.8rem; border: 1px solid var(--line); border-radius: 0.4rem;
  background: var(--tint); }
.counts b { font-size: 1.3em; }
nav { margin-top: 1rem; }
.holds { color: var(--holds); }
.violated { color: var(--violated); }
.inconclusive { color: var(--inconclusive); }
.verdict { font-weight: 600; white-space: nowrap; }
.kind { display: inline-block; padding: 0 0.5em; border: 1px solid var(--line);
  border-radius: 1em; background: var(--tint); font-size: 0.85em; }
.scroll, .math { overflow-x: auto; margin: 0.8rem 0; }
.math { padding: 0.4rem 0.2rem; }
math { font-size: 1.12em; font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math",
  "DejaVu Math TeX Gyre", math; }
math[display="block"] { margin: 0; width: max-content; }
table { border-collapse: collapse; font-size: 0.9rem; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.2rem; }
th, td { padding: 0.3rem 0.7rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-weight: 400;
  overflow-wrap: normal; }
thead th { font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.nowrap { white-space: nowrap; }
td.text { min-width: 11rem; }
sup, sub { line-height: 0; font-size: 0.75em; }
.reasons { padding-left: 1.2rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; height: auto; padding: 0.4rem; background: #ffffff;
  border: 1px solid var(--line); border-radius: 0.3rem; }
figcaption { max-width: 46rem; margin-top: 0.4rem; color: var(--soft); font-size: 0.92rem; }
.claim { margin: 0 0 2rem; padding: 1rem 1.2rem; border: 1px solid var(--line);
  border-radius: 0.4rem; }
.facts { margin: 0; }
.facts > div { display: grid; grid-template-columns: 9rem 1fr; gap: 0 1rem; padding: 0.15rem 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; }
.facts ul { margin: 0; padding-left: 1.1rem; }
pre { margin: 0; padding: 0.8rem; background: var(--tint); border: 1px solid var(--line);
  border-radius: 0.3rem; width: max-content; min-width: 100%; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.88rem; }
@media (max-width: 40rem) {
  .facts > div { grid-template-columns: 1fr; }
  .claim { padding: 0.8rem; }
  td.text { min-width: 8.5rem; }
  /* The verdict stays in sight while a table is scrolled. */
  td.last { position: sticky; right: 0; padding: 0.3rem 0 0.3rem 0.5rem; background: var(--paper);
    box-shadow: -0.6rem 0 0.5rem var(--paper); }
}
@media print {
  :root { --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --tint: #ffffff;
    --link: #000000; --holds: #116329; --violated: #a40e26; --inconclusive: #7d4e00; }
  html { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  .scroll, .math { overflow: visible; }
  table { font-size: 7.5pt; }
  td.text { min-width: 0; }
  figure, tr, .math { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  pre { white-space: pre-wrap; width: auto; }
  a { text-decoration: none; }
}
"""
