/**
 * The console's page and style. The page has no data of its own: everything that it shows comes from the
 * admin API, with the caller's certificate or token.
 */
// SPDX-License-Identifier: Apache-2.0

export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Latchkey console</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/console/style.css">
<script src="/console/app.js" type="module"></script>
</head>
<body>
<header>
<h1>Latchkey</h1>
<p id="who"></p>
<button id="unlock" type="button" aria-pressed="false" hidden>Unlock actions</button>
</header>
<main id="main">
<form id="sign-in" hidden>
<h2>Sign in</h2>
<p>The browser did not present a known client certificate. Sign in with a token instead; the page keeps it in memory until you close
the page.</p>
<label for="token">Token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" required>
<button type="submit">Sign in</button>
</form>
<p id="fault" role="alert"></p>
<section id="headline" role="status" aria-label="State" hidden></section>
<div id="content" hidden>
<section id="stop" aria-labelledby="stop-title" hidden></section>
<section id="restorations" aria-labelledby="restorations-title"></section>
<section id="switches" aria-labelledby="switches-title"></section>
<section id="instances" aria-labelledby="instances-title"></section>
<section id="deadman" aria-labelledby="deadman-title"></section>
<section id="exposure" aria-labelledby="exposure-title"></section>
<section id="events" aria-labelledby="events-title"></section>
</div>
</main>
<noscript>The console needs JavaScript. The command line does the same: latchkey status.</noscript>
</body>
</html>
`

export const STYLE = `:root {
  color-scheme: light dark;
  --back: #fff; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --good: #116329; --good-back: #dafbe1; --warn: #7a4100; --warn-back: #fff1d6;
  --bad: #a40e26; --bad-back: #ffebe9; --link: #0550ae;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0d1117; --text: #e6edf3; --soft: #9ea7b3; --line: #3d444d; --card: #161b22;
    --good: #7ee787; --good-back: #12261a; --warn: #f0b463; --warn-back: #2c2112;
    --bad: #ffa198; --bad-back: #33171a; --link: #79c0ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: center; padding: .5rem 1rem; border-bottom: 1px solid var(--line); }
header p { margin: 0; color: var(--soft); flex: 1; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
main { max-width: 75rem; margin: 0 auto; padding: 0 1rem 3rem; }
main p { overflow-wrap: anywhere; }
#headline { margin: 1rem 0; padding: 1rem; border: 2px solid; border-radius: .5rem; font-size: 1.15rem; }
#headline strong { display: block; font-size: 1.6rem; }
.serving { color: var(--good); background: var(--good-back); }
.stopped { color: var(--warn); background: var(--warn-back); }
.refusing, #fault:not(:empty) { color: var(--bad); background: var(--bad-back); }
#fault:not(:empty) { padding: .75rem; border-radius: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--soft); }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; min-width: 5rem; }
form, .card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: .5rem 0; }
form h2 { margin-top: 0; }
label { display: block; font-weight: 600; margin-top: .6rem; }
input, select, button { font: inherit; color: inherit; background: var(--back); border: 1px solid var(--soft); border-radius: .35rem; padding: .4rem .6rem; min-height: 2.5rem; max-width: 100%; }
input { width: 100%; max-width: 40rem; }
button { cursor: pointer; font-weight: 600; margin: .6rem .5rem 0 0; }
button[disabled] { opacity: .55; cursor: not-allowed; }
button.danger { color: var(--bad); border-color: var(--bad); background: var(--bad-back); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.soft { color: var(--soft); }
@media print { header button, form, #exposure, #events { display: none; } }
`
