/**
 * The console's page. It has no data of its own: everything that it shows comes from the admin API, with the caller's
 * certificate or token.
 */
// SPDX-License-Identifier: Apache-2.0

const LOG_IN = `<p><button id="log-in" type="button">Log in with the identity provider</button></p>
`

/** @param hasProvider whether people can log in at an identity provider */
export const createPage = (hasProvider: boolean): string => `<!doctype html>
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
<a class="skip" href="#main">Skip to the content</a>
<header>
<h1>Latchkey</h1>
<p id="who"></p>
<button id="unlock" type="button" aria-pressed="false" hidden>Unlock actions</button>
</header>
<nav id="views" aria-label="Pages" hidden>
<a href="#now">Now</a>
<a href="#keys">Keys</a>
<a href="#traffic">Traffic</a>
<a href="#records">Records</a>
</nav>
<main id="main" tabindex="-1">
<form id="sign-in" hidden>
<h2>Sign in</h2>
<p>The browser did not present a known client certificate. Sign in with a token instead; the page keeps it in memory until you close
the page.</p>
<label for="token">Token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" required>
<button type="submit">Sign in</button>
${hasProvider ? LOG_IN : ''}</form>
<p id="fault" role="alert"></p>
<section id="headline" role="status" aria-label="State" hidden></section>
<div id="content" hidden>
<div id="view-now">
<section id="stop" aria-labelledby="stop-title" hidden></section>
<section id="warnings" aria-labelledby="warnings-title" hidden></section>
<section id="restorations" aria-labelledby="restorations-title"></section>
<section id="switches" aria-labelledby="switches-title"></section>
<section id="exposure" aria-labelledby="exposure-title"></section>
<section id="instances" aria-labelledby="instances-title"></section>
<section id="deadman" aria-labelledby="deadman-title"></section>
</div>
<div id="view-keys" hidden>
<section id="expiries" aria-labelledby="expiries-title"></section>
<section id="stores" aria-labelledby="stores-title"></section>
<section id="users" aria-labelledby="users-title"></section>
<section id="credentials" aria-labelledby="credentials-title"></section>
</div>
<div id="view-traffic" hidden>
<section id="rates" aria-labelledby="rates-title"></section>
<section id="stages" aria-labelledby="stages-title"></section>
<section id="refusals" aria-labelledby="refusals-title"></section>
</div>
<div id="view-records" hidden>
<section id="events" aria-labelledby="events-title"></section>
<section id="receipts" aria-labelledby="receipts-title"></section>
<section id="policies" aria-labelledby="policies-title"></section>
<section id="audit" aria-labelledby="audit-title"></section>
</div>
</div>
</main>
<noscript>The console needs JavaScript. The command line does the same: latchkey status.</noscript>
</body>
</html>
`
