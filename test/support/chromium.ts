/** Starts Debian's Chromium in headless mode, with its background network traffic disabled. */
// SPDX-License-Identifier: Apache-2.0
import { chromium, type Browser } from 'playwright-core'
import type { Test } from 'tap'

export async function startChromium(t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    headless: true,
    timeout: 120_000,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  t.teardown(() => browser.close())
  return browser
}

/** Page script that finds text whose contrast is below the WCAG 2.1 AA minimum of 4.5:1. */
export const FIND_PALE_TEXTS = `(() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n }
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b)
  const behind = (element) => {
    for (let e = element; e !== null; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor)
      if (color[3] === 1) return color
    }
    return [255, 255, 255, 1]
  }
  const pale = []
  let count = 0
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim() !== '')
    if (!own || element.closest('script, style') !== null) continue
    count += 1
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))].sort((x, y) => y - x)
    const ratio = (a + 0.05) / (b + 0.05)
    if (ratio < 4.5) pale.push(element.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2))
  }
  return { count, pale }
})()`

/** Page script that counts the drawn pixels and the colors on each canvas. */
export const LOOK_AT_CANVASES = `[...document.querySelectorAll('canvas')].map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const colors = new Set()
  let drawn = 0
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 0) continue
    drawn += 1
    if (data[i + 3] === 255) colors.add(data[i] + ',' + data[i + 1] + ',' + data[i + 2])
  }
  return { drawn, colors: colors.size, has: [...colors] }
})`
