/**
 * The console's script. It uses plain DOM calls, without a library, and creates text nodes only, so
 * nothing that the API returns can become markup. This file contains the code that all pages share;
 * each script-*.ts contains one page.
 */
// SPDX-License-Identifier: Apache-2.0
import { LOGIN_SCRIPT } from './script-login.ts'
import { KEYS_SCRIPT } from './script-keys.ts'
import { NOW_SCRIPT } from './script-now.ts'
import { RECORDS_SCRIPT } from './script-records.ts'
import { STOP_SCRIPT } from './script-stop.ts'
import { TRAFFIC_SCRIPT } from './script-traffic.ts'

const BASE = `'use strict'
const $ = (id) => document.getElementById(id)
const state = { token: undefined, refreshToken: undefined, about: undefined, status: undefined, isUnlocked: false, view: 'now' }
const POLL_MS = 2000
const ANSWER_MS = 15000
const DAY_MS = 86400000

/** Makes an element with properties and children; a string becomes a text node. */
function h(tag, properties, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name in element) element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...children.filter((child) => child !== undefined))
  return element
}

async function call(method, path, body, isAgain = false) {
  const headers = {}
  if (state.token !== undefined) headers.authorization = 'Bearer ' + state.token
  if (method === 'POST') headers['content-type'] = 'application/json'
  // A GET that hangs must not stop the polling. A POST may wait longer, as a kill does for the instances.
  const signal = method === 'GET' ? AbortSignal.timeout(ANSWER_MS) : undefined
  const response = await fetch(path, {
    method, headers, signal, cache: 'no-store', redirect: 'error',
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((error) => {
    throw error.name === 'TimeoutError' ? new Error('the listener did not respond within 15 seconds; the page may be out of date') : error
  })
  if (response.ok) return response
  if (response.status === 401 && !isAgain && await renewSession()) return call(method, path, body, true)
  const { code, message, hint } = await readError(response)
  // No caller may swallow this, or each poll would renew a session that the listener refuses.
  if (code === 'UNAUTHENTICATED' && path !== LOGIN_PATH) signOut()
  throw Object.assign(new Error(hint === undefined ? message : message + ' (' + hint + ')'), { code })
}

/** A reverse proxy may answer with anything, but 401 always ends the session. */
async function readError(response) {
  const { error } = await response.json().catch(() => ({})) ?? {}
  const { code = 'UNKNOWN', message = 'the response has status ' + response.status, hint } = error ?? {}
  return { code: response.status === 401 ? 'UNAUTHENTICATED' : code, message, hint }
}

const api = async (method, path, body) => (await call(method, '/admin/v1' + path, body)).json()
/**
 * Reads a list page by page, and returns the items and warnings of all pages. Stops after the page
 * during which isWanted, if there is one, began to return false.
 */
async function list(path, name, isWanted = () => true) {
  const items = []
  const warnings = new Set()
  const seen = new Set()
  let cursor
  for (;;) {
    const page = await api('GET', path + '?limit=1000' + (cursor === undefined ? '' : '&cursor=' + cursor))
    items.push(...page[name])
    for (const one of page.warnings ?? []) warnings.add(one)
    const next = page.nextCursor
    if (next === undefined || !isWanted()) return { [name]: items, warnings: [...warnings] }
    if (seen.has(next)) throw new Error('the listener returned the same page of a list again')
    seen.add(next)
    cursor = next
  }
}

const may = (permission) => state.about?.permissions.includes(permission) === true
const count = (n, noun, plural = noun + 's') => n + ' ' + (n === 1 ? noun : plural)
const toTime = (at) => at === undefined || at === null ? '-' : new Date(at).toISOString().slice(0, 19).replace('T', ' ') + ' UTC'
const soft = (text) => h('p', { className: 'soft' }, text)

function describeScope({ kind, keyStore, keyId, criteria }) {
  if (kind === 'all') return 'all'
  if (kind === 'key-store') return 'key store ' + keyStore
  if (kind === 'key') return 'key ' + keyStore + '/' + keyId
  const what = Object.entries(criteria).map(([name, value]) => name + ' ' + value).join(', ')
  return keyStore === undefined ? what : what + ' in key store ' + keyStore
}

function table(caption, headings, rows) {
  return h('div', { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: caption },
    h('table', {},
      h('caption', {}, caption),
      h('thead', {}, h('tr', {}, ...headings.map((one) => h('th', { scope: 'col' }, one)))),
      h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell) => h('td', {}, cell)))))))
}

/** Says how many items of a list a section does not show. */
function more(items, total) {
  return soft(total > items.length ? (total - items.length) + ' more are not shown here; latchkey status --switches shows all.' : '')
}

function field(id, label, input) {
  return [h('label', { htmlFor: id }, label), Object.assign(input, { id })]
}

function options(pairs) {
  return pairs.map(([value, text]) => h('option', { value }, text))
}

/** Returns a link that saves a value as a JSON file. */
function download(text, name, value) {
  const file = new Blob([JSON.stringify(value, undefined, 2)], { type: 'application/json' })
  return h('a', { href: URL.createObjectURL(file), download: name }, text)
}

/** Replaces a section only when its text changed, so that focus and selection survive a refresh. */
function show(id, title, ...children) {
  const next = [h('h2', { id: id + '-title' }, title), ...children]
  const text = next.map((one) => one.textContent).join('\\n')
  const section = $(id)
  if (section.dataset.text === text) return
  section.dataset.text = text
  section.replaceChildren(...next)
}

let loads = 0
const shown = new Map()

/**
 * Starts loading what a section shows. Call the returned function once the response has arrived: it
 * returns false if the section already shows the response of a load that started later.
 */
function startLoad(id) {
  const load = ++loads
  const isWanted = () => load >= (shown.get(id) ?? 0)
  const isNewest = () => {
    if (!isWanted()) return false
    shown.set(id, load)
    return true
  }
  // A load of several pages asks this between them.
  return Object.assign(isNewest, { isWanted })
}

/** Shows an error, or clears it. A refresh clears only errors that a refresh showed. */
function fail(error, source = 'action') {
  const fault = $('fault')
  if (error === undefined && source === 'refresh' && fault.dataset.source !== source) return
  fault.dataset.source = source
  fault.textContent = error === undefined ? '' : error.message
  if (error?.code === 'UNAUTHENTICATED') signOut()
}

/** Loads one section. A caller whose role does not cover it still sees the other sections. */
async function part(id, title, load) {
  try {
    await load()
  } catch (error) {
    if (!['FORBIDDEN', 'NOT_FOUND'].includes(error.code)) throw error
    show(id, title, soft(error.message + '.'))
  }
}

function signOut() {
  state.token = undefined
  state.refreshToken = undefined
  state.about = undefined
  for (const id of ['content', 'headline', 'unlock', 'views']) $(id).hidden = true
  $('who').textContent = ''
  $('sign-in').hidden = false
}
`

const START = `
/**
 * Pages, each with what it loads when opened, the sections that this fills, and what it loads every
 * two seconds while visible.
 */
const VIEWS = {
  now: { title: 'Now', open: () => showExposure(), sections: ['exposure'] },
  keys: { title: 'Keys', open: showKeys, sections: ['expiries', 'stores', 'users', 'credentials'] },
  traffic: { title: 'Traffic', open: showTraffic, sections: [], poll: showTraffic },
  records: { title: 'Records', open: showRecords, sections: ['receipts', 'policies', 'audit'] },
}

async function refresh() {
  const isNewest = startLoad('status')
  const status = await api('GET', '/status?events=100')
  if (!isNewest()) return
  state.status = status
  showHeadline(state.status)
  showRestorations(state.status)
  showSwitches(state.status)
  showInstances(state.status)
  showWarnings(state.status)
  showDeadMan(state.status)
  showEvents(state.status)
  await followSwitches(state.status)
}

/** Removes what sections show from an earlier visit, so that no one acts on outdated content. */
function clearSections(ids) {
  for (const section of ids.map($)) {
    if (section.firstChild === null) continue
    delete section.dataset.text
    section.replaceChildren(section.firstChild, soft('Loading.'))
  }
}

async function openView() {
  const name = location.hash.slice(1)
  state.view = name in VIEWS ? name : 'now'
  for (const one of Object.keys(VIEWS)) $('view-' + one).hidden = one !== state.view
  for (const link of $('views').children) {
    if (link.hash.slice(1) === state.view) link.ariaCurrent = 'page'
    else link.removeAttribute('aria-current')
  }
  document.title = VIEWS[state.view].title + ' - Latchkey console'
  clearSections(VIEWS[state.view].sections)
  await VIEWS[state.view].open()
}

async function enter() {
  try {
    state.about = await api('GET', '/about')
  } catch (error) {
    signOut()
    if (error.code !== 'UNAUTHENTICATED' || state.hasTried) fail(state.loginError ?? error)
    state.loginError = undefined
    state.hasTried = true
    return
  }
  fail()
  $('sign-in').hidden = true
  const { name, role } = state.about
  $('who').textContent = name + ', ' + role
  for (const id of ['content', 'headline', 'views']) $(id).hidden = false
  $('unlock').hidden = !may('stop')
  showStopForm()
  await refresh()
  await openView()
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault()
  state.token = $('token').value.trim()
  $('token').value = ''
  state.hasTried = true
  enter().catch(fail)
})
$('unlock').addEventListener('click', () => {
  state.isUnlocked = !state.isUnlocked
  $('unlock').ariaPressed = String(state.isUnlocked)
  $('stop').hidden = !state.isUnlocked
  for (const id of ['restorations', 'switches']) delete $(id).dataset.text
  if (state.isUnlocked && state.view !== 'now') location.hash = '#now'
  refresh().catch(fail)
})
addEventListener('hashchange', () => {
  if (state.about === undefined || location.hash === '#main') return
  fail()
  openView().then(() => $('main').focus(), fail)
})
setInterval(() => {
  if (state.about === undefined || document.hidden || state.isPolling) return
  state.isPolling = true
  refresh().then(() => VIEWS[state.view].poll?.()).then(() => fail(undefined, 'refresh'), (error) => fail(error, 'refresh'))
    .finally(() => (state.isPolling = false))
}, POLL_MS)
finishLogin().then(enter).catch(fail)
`

export const SCRIPT = [
  BASE,
  LOGIN_SCRIPT,
  NOW_SCRIPT,
  STOP_SCRIPT,
  KEYS_SCRIPT,
  TRAFFIC_SCRIPT,
  RECORDS_SCRIPT,
  START,
].join('')
