/** The console's style sheet, with rules for light and dark mode, narrow screens and print. */
// SPDX-License-Identifier: Apache-2.0

export const STYLE = `:root {
  color-scheme: light dark;
  --back: #fff; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --good: #116329; --good-back: #dafbe1; --warn: #7a4100; --warn-back: #fff1d6;
  --bad: #a40e26; --bad-back: #ffebe9; --link: #0550ae;
  --plot-a: #0550ae; --plot-b: #a40e26; --plot-c: #8250df; --limit: #a40e26;
  --stage-read: #57606a; --stage-auth: #0550ae; --stage-decode: #1b7c83; --stage-gate: #bc4c00; --stage-key: #8250df;
  --stage-policy: #bf3989; --stage-backend: #116329; --stage-verify: #7d4e00; --stage-encode: #24292f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0d1117; --text: #e6edf3; --soft: #9ea7b3; --line: #3d444d; --card: #161b22;
    --good: #7ee787; --good-back: #12261a; --warn: #f0b463; --warn-back: #2c2112;
    --bad: #ffa198; --bad-back: #33171a; --link: #79c0ff;
    --plot-a: #79c0ff; --plot-b: #ffa198; --plot-c: #d2a8ff; --limit: #ff7b72;
    --stage-read: #9ea7b3; --stage-auth: #79c0ff; --stage-decode: #76e3ea; --stage-gate: #ffa657; --stage-key: #d2a8ff;
    --stage-policy: #ff9bce; --stage-backend: #7ee787; --stage-verify: #e3b341; --stage-encode: #e6edf3;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: center; padding: .5rem 1rem; border-bottom: 1px solid var(--line); }
header p { margin: 0; color: var(--soft); flex: 1; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
main { max-width: 75rem; margin: 0 auto; padding: 0 1rem 3rem; }
main p { overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem; padding: .25rem 1rem; border-bottom: 1px solid var(--line); }
nav a { padding: .5rem .75rem; border-radius: .35rem; color: var(--link); }
nav a[aria-current] { background: var(--card); color: var(--text); font-weight: 600; text-decoration: none; }
a { color: var(--link); }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }
#headline { margin: 1rem 0; padding: 1rem; border: 2px solid; border-radius: .5rem; font-size: 1.15rem; }
#headline strong { display: block; font-size: 1.6rem; }
.serving { color: var(--good); background: var(--good-back); }
.stopped { color: var(--warn); background: var(--warn-back); }
.refusing, #fault:not(:empty) { color: var(--bad); background: var(--bad-back); }
.due { color: var(--bad); font-weight: 600; }
#fault:not(:empty) { padding: .75rem; border-radius: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--soft); }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; min-width: 5rem; }
th { overflow-wrap: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } }
form, .card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: .5rem 0; }
form h2 { margin-top: 0; }
label { display: block; font-weight: 600; margin-top: .6rem; }
input, select, button { font: inherit; color: inherit; background: var(--back); border: 1px solid var(--soft); border-radius: .35rem; padding: .4rem .6rem; min-height: 2.5rem; max-width: 100%; }
input, select { display: block; }
input { width: 100%; max-width: 40rem; }
button { cursor: pointer; font-weight: 600; margin: .6rem .5rem 0 0; }
td button { margin-top: 0; }
button[disabled] { opacity: .55; cursor: not-allowed; }
button[aria-pressed="true"] { color: var(--back); background: var(--text); }
button.danger { color: var(--bad); border-color: var(--bad); background: var(--bad-back); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--card); padding: .75rem; border: 1px solid var(--line); border-radius: .5rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.soft { color: var(--soft); }
.plot { min-height: 16rem; margin: .5rem 0; }
.plot .u-legend { text-align: left; font-size: .85rem; }
.plot .u-legend th, .plot .u-legend td { border: 0; min-width: 0; padding: .1rem .25rem; }
.plot .u-marker { width: 1rem; height: 1rem; }
@media print {
  header button, nav, form, button, .skip { display: none; }
  .scroll { overflow: visible; }
  body.print-receipt :not(:has(.receipt.chosen), .receipt.chosen, .receipt.chosen *) { display: none; }
}
`
