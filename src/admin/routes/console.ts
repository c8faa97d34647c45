/** The console's files. They are static and hold no data, so they need no authentication. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { createPage } from '../console/assets.ts'
import { SCRIPT } from '../console/script.ts'
import { STYLE } from '../console/style.ts'
import type { AdminRoute } from '../route.ts'

const require = createRequire(import.meta.url)

/** Forbids other origins, inline scripts and styles, and frames. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
}

const HTML = 'text/html; charset=utf-8'
const JAVASCRIPT = 'text/javascript; charset=utf-8'
const CSS = 'text/css; charset=utf-8'

/** @param hasProvider whether people can log in through an identity provider */
export function consoleRoutes(hasProvider: boolean): readonly AdminRoute[] {
  const page = createPage(hasProvider)
  const files = [
    ['/console', () => Promise.resolve(page), HTML],
    ['/console/app.js', () => Promise.resolve(SCRIPT), JAVASCRIPT],
    ['/console/style.css', () => Promise.resolve(STYLE), CSS],
    ['/console/uplot.js', loadPlots, JAVASCRIPT],
    [
      '/console/uplot.css',
      () => readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
      CSS,
    ],
  ] as const
  return files.map(([path, load, contentType]) => ({
    method: 'GET',
    path,
    permission: 'none',
    handle: async () => ({ status: 200, body: await load(), contentType, headers: HEADERS }),
  }))
}

/**
 * Returns the plotting library as a module. Its minified file only declares a variable, so an
 * export is appended.
 */
async function loadPlots(): Promise<string> {
  const library = await readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8')
  return `${library}\nexport default uPlot\n`
}
