/** The part of the console's script that shows the state of the fleet, and what a kill does not reach. */
// SPDX-License-Identifier: Apache-2.0

export const NOW_SCRIPT = `
function isSilent(one) { return one.silentMs > one.leaseMs }
function toState(one) {
  if (one.isDismissed) return 'dismissed after a long silence'
  if (!one.isGenuine) return 'unknown: row missing or changed'
  if (isSilent(one)) return 'silent'
  if (one.reason !== null) return one.state + ': ' + one.reason
  const { total } = state.status.counts.switches
  return one.state === 'open' && total > 0 ? 'open, ' + count(total, 'switch', 'switches') : one.state
}

const EVERYTHING = { both: 'everything', decrypt: 'every Decrypt', encrypt: 'every Encrypt' }

function showHeadline({ counts, latestSwitch: latest, stopsEverything, instances, epoch }) {
  const all = instances.filter((one) => !one.isDismissed)
  const open = all.filter((one) => toState(one).startsWith('open')).length
  const serving = all.length === 0 ? 'no instance is running' : open + ' of ' + count(all.length, 'instance') + ' serving'
  const { total } = counts.switches
  const kind = total > 0 ? 'stopped' : open === 0 || open < all.length ? 'refusing' : 'serving'
  const word = { stopped: 'Stopped', refusing: open === 0 ? 'Refusing' : 'Partly refusing', serving: 'Serving' }[kind]
  const what = latest === undefined ? 'No switch is in force'
    : count(total, 'switch', 'switches') + ' in force' + (stopsEverything !== undefined && total > 1 ? ', ' + EVERYTHING[stopsEverything] + ' is stopped' : '') + ': ' + (total > 1 ? 'the most recent ' : '') + describeScope(latest.scope) + ', since ' + toTime(latest.createdAt) + ', by ' + latest.operator
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

/** Shows what an operator should know about the control store, such as a missing backup. */
function showWarnings({ storeWarnings = [] }) {
  $('warnings').hidden = storeWarnings.length === 0
  show('warnings', 'Warnings', h('ul', {}, ...storeWarnings.map((one) => h('li', { className: 'due' }, one))))
}

function showDeadMan({ deadManSwitches, counts }) {
  const rows = deadManSwitches.map((one) => [one.keyStore, toTime(one.openUntil), toTime(one.renewedAt), one.operator, one.reason])
  show('deadman', "Dead man's switches", rows.length === 0
    ? soft("No key store has a dead man's switch.")
    : table('Key stores that close unless they are renewed', ['Key store', 'Open until', 'Renewed', 'By', 'Reason'], rows),
    more(deadManSwitches, counts.deadManSwitches))
}

/** Returns the listed switches and the most recent one, which may be beyond the first part of the list. */
function withLatest({ switches, latestSwitch: latest }) {
  return latest === undefined || switches.some(({ id }) => id === latest.id) ? switches : [...switches, latest]
}

/**
 * Scopes to show the exposure for: everything, a key store, or a switch in force. Each value is a
 * query string.
 */
function exposureChoices() {
  return [...(state.isLimited ? [] : [['', 'Everything']]),
    ...state.about.keyStores.map((one) => ['?keyStore=' + encodeURIComponent(one), 'Key store ' + one]),
    ...withLatest(state.status).map((one) => ['?switch=' + encodeURIComponent(one.id), 'Switch ' + one.id + ': ' + describeScope(one.scope)])]
}

function describeEnd(one, until) {
  if (one.endsAt === undefined) return 'unknown: until ' + one.service.endedBy
  return one.endsAt <= until ? 'over since ' + toTime(one.endsAt) : 'until ' + toTime(one.endsAt) + ' at the latest'
}

async function showExposure(wanted = '') {
  // Callers limited to some key stores may not ask about everything.
  const own = '?keyStore=' + encodeURIComponent(state.about.keyStores[0])
  const chosen = state.isLimited && wanted === '' ? own : wanted
  const isNewest = startLoad('exposure')
  const report = await api('GET', '/exposure' + chosen).catch((error) => {
    if (error.code !== 'FORBIDDEN' || chosen !== '') throw error
    state.isLimited = true
  })
  if (report === undefined) return showExposure()
  if (!isNewest()) return
  const { exposures, longKills, probesLeftOut, until } = report
  const rows = exposures.slice(0, 50).map((one) => [one.keyStore + '/' + one.keyId, one.service.name, String(one.requests), toTime(one.lastAt),
    describeEnd(one, until), one.service.goesOn])
  const choice = h('select', {}, ...options(exposureChoices()))
  choice.value = chosen
  choice.addEventListener('input', () => { showExposure(choice.value).then(() => { fail(); $('exposure-choice').focus() }, fail) })
  show('exposure', 'Data keys that a kill does not reach',
    ...field('exposure-choice', 'Show what continues to work with', choice),
    ...longKills.map((one) => h('p', { className: 'due' }, 'The switch ' + one.id + ' is approaching seven days. After ' + toTime(one.harmAt) +
      ', DynamoDB archives tables, and Aurora clusters can only be restored from a backup.')),
    rows.length === 0 ? soft('No fetches are recorded.')
      : table('Who fetched data keys, and how long those keys still work', ['Key', 'Service', 'Fetches', 'Last', 'Still works', 'What continues'], rows),
    soft(exposures.length > rows.length ? 'The file has all ' + exposures.length + ' entries.' : ''),
    soft(probesLeftOut === 0 ? '' : count(probesLeftOut, 'request') + " from Latchkey's own tools left out."),
    h('p', {}, download('Download as JSON', 'exposure.json', report)))
  $('exposure-choice').value = chosen
}

/** After a stop, shows what continues to work with the new switch; after a restore, everything. */
async function followSwitches(status) {
  const { counts } = status
  const ids = withLatest(status).map(({ id }) => id)
  const known = state.switchIds
  const before = state.switchCount
  state.switchIds = ids
  state.switchCount = counts.switches.total
  if (known === undefined || state.view !== 'now' || ids.join() === known.join() && before === state.switchCount) return
  const added = before > state.switchCount ? undefined : ids.findLast((id) => !known.includes(id))
  await showExposure(added === undefined ? '' : '?switch=' + encodeURIComponent(added))
}
`
