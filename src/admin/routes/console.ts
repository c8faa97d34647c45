/** The console's files. They are static and hold no data, so they need no authentication. */
// SPDX-License-Identifier: Apache-2.0
import { PAGE, STYLE } from '../console/assets.ts'
import { SCRIPT } from '../console/script.ts'
import type { AdminRoute } from '../route.ts'

/** Forbids other origins, inline scripts and styles, and frames. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
}

export function consoleRoutes(): readonly AdminRoute[] {
  const files = [
    ['/console', PAGE, 'text/html; charset=utf-8'],
    ['/console/app.js', SCRIPT, 'text/javascript; charset=utf-8'],
    ['/console/style.css', STYLE, 'text/css; charset=utf-8'],
  ] as const
  return files.map(([path, body, contentType]) => ({
    method: 'GET',
    path,
    permission: 'none',
    handle: () => Promise.resolve({ status: 200, body, contentType, headers: HEADERS }),
  }))
}
