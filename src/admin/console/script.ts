/**
 * The console's script: bare DOM, without a library. It makes text nodes only, so nothing that the API
 * returns can become markup. script-stop.ts has the part that stops and restores.
 */
// SPDX-License-Identifier: Apache-2.0
import { STOP_SCRIPT } from './script-stop.ts'

const BASE = `'use strict'
const $ = (id) => document.getElementById(id)
const state = { token: undefined, about: undefined, status: undefined, isUnlocked: false }
const POLL_MS = 2000

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

async function api(method, path, body) {
  const headers = {}
  if (state.token !== undefined) headers.authorization = 'Bearer ' + state.token
  if (method === 'POST') headers['content-type'] = 'application/json'
  const response = await fetch('/admin/v1' + path, {
    method, headers, cache: 'no-store', redirect: 'error',
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  const value = await response.json()
  if (response.ok) return value
  const { code, message, hint } = value.error
  throw Object.assign(new Error(hint === undefined ? message : message + ' (' + hint + ')'), { code })
}

const may = (permission) => state.about?.permissions.includes(permission) === true
const count = (n, noun, plural = noun + 's') => n + ' ' + (n === 1 ? noun : plural)
const toTime = (at) => at === undefined || at === null ? '-' : new Date(at).toISOString().slice(0, 19).replace('T', ' ') + ' UTC'

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

/** Replaces a section only when its text changed, so that focus and selection survive a refresh. */
function show(id, title, ...children) {
  const next = [h('h2', { id: id + '-title' }, title), ...children]
  const text = next.map((one) => one.textContent).join('\\n')
  const section = $(id)
  if (section.dataset.text === text) return
  section.dataset.text = text
  section.replaceChildren(...next)
}

function isSilent(one) { return one.silentMs > one.leaseMs }
function toState(one) {
  if (one.isDismissed) return 'dismissed after a long silence'
  if (!one.isGenuine) return 'unknown: row missing or changed'
  if (isSilent(one)) return 'silent'
  if (one.reason !== null) return one.state + ': ' + one.reason
  const { length } = state.status.switches
  return one.state === 'open' && length > 0 ? 'open, ' + count(length, 'switch', 'switches') : one.state
}

function showHeadline({ switches, instances, epoch }) {
  const all = instances.filter((one) => !one.isDismissed)
  const open = all.filter((one) => toState(one).startsWith('open')).length
  const serving = all.length === 0 ? 'no instance is running' : open + ' of ' + count(all.length, 'instance') + ' serving'
  const latest = switches.reduce((a, b) => a === undefined || b.createdAt > a.createdAt ? b : a, undefined)
  const kind = switches.length > 0 ? 'stopped' : open === 0 || open < all.length ? 'refusing' : 'serving'
  const word = { stopped: 'Stopped', refusing: open === 0 ? 'Refusing' : 'Partly refusing', serving: 'Serving' }[kind]
  const what = latest === undefined ? 'No switch is in force'
    : count(switches.length, 'switch', 'switches') + ' in force: ' + describeScope(latest.scope) + ', since ' + toTime(latest.createdAt) + ', by ' + latest.operator
  const text = what + '; ' + serving + '. Epoch ' + epoch + ', version ' + state.about.version + '.'
  const headline = $('headline')
  if (headline.dataset.text === word + text) return
  headline.dataset.text = word + text
  headline.className = kind
  headline.replaceChildren(h('strong', {}, word), text)
}

function showInstances({ instances }) {
  show('instances', 'Instances', table('Serving processes, and what each has applied',
    ['Instance', 'Host', 'Process', 'State', 'Epoch', 'Acknowledged', 'Lease'],
    instances.map((one) => [one.id.slice(0, 8), one.host, one.pid + ', worker ' + one.worker, toState(one),
      String(one.ackedEpoch), one.hasAcknowledged ? 'yes' : 'no', one.leaseMs + ' ms'])))
}

function showDeadMan({ deadManSwitches }) {
  const rows = deadManSwitches.map((one) => [one.keyStore, toTime(one.openUntil), toTime(one.renewedAt), one.operator, one.reason])
  show('deadman', "Dead man's switches", rows.length === 0
    ? h('p', { className: 'soft' }, "No key store has a dead man's switch.")
    : table('Key stores that close unless they are renewed', ['Key store', 'Open until', 'Renewed', 'By', 'Reason'], rows))
}

function showEvents({ events }) {
  show('events', 'Events', table('The latest events. Each is chained to the previous one.',
    ['Event', 'At', 'Epoch', 'What', 'By'],
    events.slice(0, 25).map((one) => [String(one.seq), toTime(one.at), String(one.epoch), one.kind, one.operator])))
}

async function showExposure() {
  const { exposures, probesLeftOut, until } = await api('GET', '/exposure')
  const rows = exposures.slice(0, 50).map((one) => [one.keyStore + '/' + one.keyId, one.service.name, String(one.requests), toTime(one.lastAt),
    one.endsAt === undefined ? 'unknown: until ' + one.service.endedBy : one.endsAt <= until ? 'over since ' + toTime(one.endsAt) : 'until ' + toTime(one.endsAt) + ' at the latest'])
  show('exposure', 'Data keys that a kill does not reach',
    rows.length === 0 ? h('p', { className: 'soft' }, 'No fetches are recorded.') : table('Who fetched data keys, and what they still work for', ['Key', 'Service', 'Fetches', 'Last', 'Still works'], rows),
    h('p', { className: 'soft' }, probesLeftOut === 0 ? '' : count(probesLeftOut, 'request') + " of Latchkey's own tools left out."))
}

function fail(error) {
  $('fault').textContent = error === undefined ? '' : error.message
  if (error?.code === 'UNAUTHENTICATED') signOut()
}

function signOut() {
  state.token = undefined
  state.about = undefined
  for (const id of ['content', 'headline', 'unlock']) $(id).hidden = true
  $('who').textContent = ''
  $('sign-in').hidden = false
}

async function refresh() {
  state.status = await api('GET', '/status?events=25')
  showHeadline(state.status)
  showRestorations(state.status)
  showSwitches(state.status)
  showInstances(state.status)
  showDeadMan(state.status)
  showEvents(state.status)
}

async function enter() {
  try {
    state.about = await api('GET', '/about')
  } catch (error) {
    signOut()
    if (error.code !== 'UNAUTHENTICATED' || state.hasTried) fail(error)
    state.hasTried = true
    return
  }
  fail()
  $('sign-in').hidden = true
  const { name, role } = state.about
  $('who').textContent = name + ', ' + role
  for (const id of ['content', 'headline']) $(id).hidden = false
  $('unlock').hidden = !may('stop')
  showStopForm()
  await refresh()
  await showExposure()
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
  $('unlock').textContent = state.isUnlocked ? 'Lock actions' : 'Unlock actions'
  $('stop').hidden = !state.isUnlocked
  for (const id of ['restorations', 'switches']) delete $(id).dataset.text
  refresh().catch(fail)
})
setInterval(() => {
  if (state.about !== undefined && !document.hidden) refresh().then(() => fail(), fail)
}, POLL_MS)
`

export const SCRIPT = `${BASE}${STOP_SCRIPT}\nenter().catch(fail)\n`
