"""The look of the page: one style sheet, for light and dark, wide and narrow."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --text: #16191f; --soft: #5b6472; --line: #e2e5ea; --fill: #eef1f5;
  --good: #12784a; --bad: #b3261e; --c1: #2f62d9; --c2: #c2570c; --c3: #0f8a7e; --c4: #a23b87; --c5: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101318; --card: #181c23; --text: #e7eaef; --soft: #9aa4b2; --line: #2b313b; --fill: #232933;
    --good: #5cc894; --bad: #f28b82; --c1: #7ea6ff; --c2: #f0a35e; --c3: #4fc4b7; --c4: #dd8cc7; --c5: #9aa4b2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text); -webkit-text-size-adjust: 100%;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; letter-spacing: -0.01em; }
h3 { font-size: 14px; margin: 0 0 2px; font-weight: 600; }
p { margin: 0 0 8px; max-width: 76ch; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.eyebrow { font-size: 12px; font-weight: 600; letter-spacing: 0.08em; text-transform: uppercase; color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 20px; color: var(--soft); font-size: 14px; margin: 0; padding: 0; }
.facts b { color: var(--text); font-weight: 600; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; min-width: 0; }
:not(.grid) > .card + .card { margin-top: 16px; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 24px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tile .name { font-size: 13px; color: var(--soft); line-height: 1.3; }
.tile .value { font-size: 26px; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tile .unit { font-size: 14px; font-weight: 500; color: var(--soft); margin-left: 3px; letter-spacing: 0; }
.tile .change { font-size: 13px; font-variant-numeric: tabular-nums; color: var(--soft); }
.verdict {
  margin: 22px 0 0; padding: 14px 18px; border-radius: 10px; border: 1px solid var(--line);
  border-left: 4px solid var(--c5); background: var(--card);
}
.verdict.better { border-left-color: var(--good); }
.verdict.worse { border-left-color: var(--bad); }
.verdict b { font-weight: 650; }
.better { color: var(--good); }
.worse { color: var(--bad); }
.verdict.better, .verdict.worse { color: var(--text); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
td.word, th.word { text-align: left; }
th, td:first-child, td.word:last-child { white-space: normal; }  /* wrapped only where the table would not fit */
td:first-child { min-width: 12ch; }
tbody tr:last-child td { border-bottom: 0; }
th { font-size: 12px; font-weight: 600; color: var(--soft); vertical-align: bottom; }
tr.main td { font-weight: 650; }
.pictures { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.strips { display: grid; gap: 14px; }
.strip img { aspect-ratio: auto; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #0b0d10; }
figcaption { padding: 8px 12px 10px; font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.key { display: inline-flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--soft); margin: 0 0 10px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 18px; margin: 10px 0; }
summary { cursor: pointer; font-weight: 600; font-size: 14px; padding: 4px 0; }
dl { display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 6px 20px; margin: 10px 0; font-size: 14px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 10px 0; overflow-x: auto; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
svg text { fill: var(--soft); }
svg text.name { fill: var(--text); }
svg .rule { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
@media (max-width: 640px) {
  main { padding: 22px 14px 48px; }
  h1 { font-size: 24px; }
  .card { padding: 14px; }
  th, td { padding: 6px 9px; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
  .tile .value { font-size: 22px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
}
@media print { body { background: #fff; } .card, figure, .tile { break-inside: avoid; } }
"""
