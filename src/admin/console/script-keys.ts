/** The part of the console's script that shows key stores, keys, their callers, and what expires. */
// SPDX-License-Identifier: Apache-2.0

export const KEYS_SCRIPT = `
/** Expiries closer than this are highlighted. */
const SOON_MS = 30 * DAY_MS

/** Returns the samples of one metric in Prometheus's text format, as labels and a value. */
function samplesOf(text, name) {
  const found = []
  for (const line of text.split('\\n')) {
    if (!line.startsWith(name)) continue
    const [, labels = '', value] = /^[a-z_]+(?:[{](.*)[}])? (\\S+)$/.exec(line) ?? []
    if (value === undefined || !/^[{ ]/.test(line.slice(name.length))) continue
    found.push({ labels: Object.fromEntries([...labels.matchAll(/([a-z_]+)="((?:[^"\\\\]|\\\\.)*)"/g)].map((one) => [one[1], one[2]])), value: Number(value) })
  }
  return found
}

/** Metrics may be disabled, and callers limited to some key stores may not read them. */
async function loadMetrics() {
  try {
    return await (await call('GET', '/metrics')).text()
  } catch (error) {
    if (['NOT_FOUND', 'FORBIDDEN'].includes(error.code)) return undefined
    throw error
  }
}

function inDays(at, now) {
  const days = Math.floor(Math.abs(at - now) / DAY_MS)
  const span = days === 0 ? 'less than a day' : count(days, 'day')
  return at < now ? span + ' ago' : 'in ' + span
}

/** Lists everything that expires on its own, soonest first. */
function showExpiries({ credentials, metrics, switches, deadManSwitches }, now) {
  const certificates = metrics === undefined ? [] : samplesOf(metrics, 'latchkey_certificate_expiry_timestamp_seconds')
  const all = [
    ...deadManSwitches.map((one) => ({ what: "Dead man's switch of " + one.keyStore, at: one.openUntil, then: 'the key store closes' })),
    ...certificates.map((one) => ({ what: 'Certificate: ' + one.labels.certificate, at: one.value * 1000, then: 'connections fail' })),
    ...credentials.filter((one) => one.expiresAt !== undefined && one.status === 'ACTIVE')
      .map((one) => ({ what: 'Credential ' + one.accessKeyId + ' of ' + one.keyStore, at: one.expiresAt, then: 'KMS requests signed with it are refused' })),
    ...switches.filter((one) => one.until !== undefined).map((one) => ({ what: 'Switch ' + one.id, at: one.until, then: 'access is restored' })),
  ].sort((a, b) => a.at - b.at)
  const rows = all.map((one) => [one.what, toTime(one.at), one.at - now < SOON_MS ? h('span', { className: 'due' }, inDays(one.at, now)) : inDays(one.at, now), one.then])
  show('expiries', 'What expires', rows.length === 0 ? soft('Nothing is due to expire.') : table('Soonest first', ['What', 'At', 'Left', 'Then'], rows),
    soft(metrics === undefined ? 'Certificates are not listed: metrics are disabled, or your role is limited to some key stores.' : ''))
}

function describeVersions({ versions }) {
  return versions.map((one) => one.version + ' ' + one.state.toLowerCase()).join(', ')
}

async function showCallers(keyStore, keyId) {
  const since = Date.now() - DAY_MS
  const isNewest = startLoad('users')
  const found = await api('POST', '/rehearsals', { scope: { kind: 'key', keyStore, keyId }, since })
  if (!isNewest()) return
  const rows = found.principals.map((one) => [one.name, String(one.requests), toTime(one.lastAt)])
  const services = found.services.map((one) => (one.name === '-' ? 'direct calls to KMS' : one.name) + ' (' + one.requests + ')').join(', ')
  show('users', 'Callers of ' + keyStore + '/' + keyId,
    rows.length === 0 ? soft('No caller used it in the last 24 hours.') : table('Callers whose requests succeeded in the last 24 hours', ['Principal', 'Requests', 'Last'], rows),
    soft(services === '' ? '' : 'Through: ' + services + '.'))
  const title = $('users-title')
  title.tabIndex = -1
  title.focus()
}

function toKeyRow(keyStore, key, used) {
  const button = h('button', { type: 'button', ariaLabel: 'Callers of ' + keyStore + '/' + key.keyId }, 'Callers')
  button.addEventListener('click', () => { showCallers(keyStore, key.keyId).then(() => fail(), fail) })
  const usage = [key.canEncrypt ? 'encrypt' : '', key.canDecrypt ? 'decrypt' : ''].filter((one) => one !== '').join(', ')
  const use = used.get(keyStore + '/' + key.keyId)
  return [key.keyId, key.problem === undefined ? (key.status === 'DISABLED' ? key.status : key.dateState ?? key.status).toLowerCase() : key.problem.kind.toLowerCase() + ': ' + key.problem.reason, usage,
    describeVersions(key), toTime(key.createdAt), use === undefined ? '-' : count(use.requests, 'request') + ', last ' + toTime(use.lastAt), button]
}

async function showKeys() {
  const now = Date.now()
  const isNewest = startLoad('keys')
  // Reset this section before loading, so that a key that is chosen in the meantime stays chosen.
  startLoad('users')()
  show('users', 'Callers', soft('Choose a key to see who uses it.'))
  const [{ credentials }, metrics, { switches }, { deadManSwitches }, used, stores] = await Promise.all([
    list('/credentials', 'credentials', isNewest.isWanted),
    loadMetrics(),
    list('/switches', 'switches', isNewest.isWanted),
    list('/deadman', 'deadManSwitches', isNewest.isWanted),
    Promise.all(state.about.stores.map((one) => api('POST', '/rehearsals', { scope: { kind: 'key-store', keyStore: one.name }, since: now - DAY_MS }))),
    Promise.all(state.about.stores.map(async (one) => ({ ...one, ...(await list('/keys/' + encodeURIComponent(one.name), 'keys', isNewest.isWanted).catch((error) => ({ keys: [], fault: error.message }))) }))),
  ])
  if (!isNewest()) return
  const byKey = new Map(used.flatMap(({ keys }) => keys.map((one) => [one.name, one])))
  showExpiries({ credentials, metrics, switches, deadManSwitches }, now)
  delete $('stores').dataset.text
  show('stores', 'Key stores', ...stores.flatMap(({ name, prefix, backend, keys, fault, warnings = [] }) => [
    h('h3', {}, name),
    soft('Served at ' + prefix + '/kms/xks/v1; ' + (backend === undefined || backend === 'software' ? 'software keys' : 'keys on the token of ' + backend) + '; ' + count(keys.length, 'key') + '.'),
    ...[...(fault === undefined ? [] : [fault]), ...warnings].map((one) => h('p', { className: 'due' }, one)),
    keys.length === 0 ? soft('There are no keys.') : table('Keys of ' + name, ['Key', 'State', 'Usage', 'Versions', 'Created', 'Use in the last 24 hours', 'Who'], keys.map((key) => toKeyRow(name, key, byKey)))]))
  show('credentials', 'Credentials', table('Credentials that KMS signs its requests with', ['Access key id', 'Key store', 'State', 'Created', 'Expires', 'Uses', 'Last use'],
    credentials.map((one) => [one.accessKeyId, one.keyStore, one.status.toLowerCase(), toTime(one.createdAt), toTime(one.expiresAt), String(one.uses ?? 0), toTime(one.lastUsedAt)])))
}
`
