/**
 * The part of the console's script that shows events, receipts, policies and the audit log. It is
 * read-only.
 */
// SPDX-License-Identifier: Apache-2.0

export const RECORDS_SCRIPT = `
/** Summarizes what an event is about. The details depend on its kind. */
function describeDetail(detail) {
  const { scope, keyStore, keyId, origin, statement, reason } = detail
  const key = keyId === undefined ? keyStore : keyStore + '/' + keyId
  const what = scope ?? key ?? (statement === undefined ? origin : 'receipt ' + statement.id) ?? detail.switch
  return [what, reason].filter((one) => typeof one === 'string' && one !== '').join(': ') || '-'
}

function showEvents({ events }) {
  const last = events[0]?.seq ?? 0
  show('events', 'Events',
    h('p', {}, last === 0 ? 'There are no events yet, or your role is limited to some key stores.' : 'Chain verified: events 1 to ' + last + '.'),
    soft("At each refresh, this server checks every event's authentication code and its link to the previous event with the key of the control store, and refuses to respond if an event was changed or removed. The browser cannot check this itself."),
    ...(last === 0 ? [] : [table(last > events.length ? 'The most recent ' + events.length + ' of ' + last : 'All events', ['Event', 'At', 'Epoch', 'What', 'By', 'About'],
      events.map((one) => [String(one.seq), toTime(one.at), String(one.epoch), one.kind, one.operator, describeDetail(one.detail)]))]))
}

async function showReceipts() {
  const isNewest = startLoad('receipts')
  const { receipts } = await api('GET', '/receipts')
  if (!isNewest()) return
  const place = h('div', {})
  const rows = receipts.map((receipt) => {
    const { statement } = receipt
    const button = h('button', { type: 'button', ariaLabel: 'Show the receipt ' + statement.id }, 'Show')
    button.addEventListener('click', () => {
      const shown = describeReceipt(receipt)
      shown.tabIndex = -1
      place.replaceChildren(shown)
      shown.focus()
    })
    return [statement.id, describeScope(statement.scope), toTime(statement.revokedAt), statement.operator, button]
  })
  delete $('receipts').dataset.text
  show('receipts', 'Receipts', rows.length === 0 ? soft('Nothing has been stopped yet.') : table('The most recent receipts', ['Receipt', 'Stopped', 'Revoked', 'By', 'Document'], rows), place)
}

function describeShadow(name, { enforced, shadow }) {
  if (shadow === undefined || shadow[name] === enforced[name]) return '-'
  return shadow[name] === undefined ? 'deleted' : 'changed'
}

async function showPolicies() {
  const isNewest = startLoad('policies')
  const policies = await api('GET', '/policies')
  const { revision, enforced, shadow } = policies
  const names = [...new Set([...Object.keys(enforced), ...Object.keys(shadow ?? {})])].sort()
  const place = h('div', {})
  const rows = names.map((name) => {
    const button = h('button', { type: 'button', ariaLabel: 'Show the policy document ' + name }, 'Show')
    button.addEventListener('click', () => {
      const parts = [['In force', enforced[name]], ['In shadow', shadow?.[name]]].filter(([, text], i, all) => text !== undefined && (i === 0 || text !== all[0][1]))
      const shown = h('div', { tabIndex: -1 }, ...parts.flatMap(([title, text]) => [h('h3', {}, name + ': ' + title.toLowerCase()), h('pre', { tabIndex: 0 }, text)]))
      place.replaceChildren(shown)
      shown.focus()
    })
    return [name, enforced[name] === undefined ? '-' : 'in force', describeShadow(name, policies), button]
  })
  const { revisions } = await list('/policies/history', 'revisions', isNewest.isWanted).catch((error) => error.code === 'CONFLICT' ? { revisions: [] } : Promise.reject(error))
  if (!isNewest()) return
  delete $('policies').dataset.text
  show('policies', 'Policies',
    ...(rows.length === 0 ? [soft('No policies: every caller with a credential of a key store may use all of its keys.')]
      : [h('p', {}, 'Revision ' + revision + '.'), table('Policy documents', ['Document', 'State', 'In shadow', 'Text'], rows), place]),
    ...(revisions.length === 0 ? [] : [table('Changes, newest first', ['Revision', 'At', 'Action', 'By', 'Documents', 'Reason'],
      revisions.slice(0, 50).map((one) => [String(one.revision), toTime(one.createdAt), one.action, one.operator, one.documents.map(({ name }) => name).join(', '), one.reason]))]))
}

async function showAudit() {
  const isNewest = startLoad('audit')
  const { mode, logs, entries } = await api('GET', '/audit')
  if (!isNewest()) return
  if (mode === 'off' && logs.length === 0) {
    show('audit', 'Audit log', soft('There is no audit log; audit.mode enables it.'))
    return
  }
  show('audit', 'Audit log',
    soft("Logs on this server's host. The server checked that the store vouches for each log's key, and that this key signed the size shown. It did not check the entries against the tree; latchkey audit verify does."),
    table('Logs', ['Log', 'Host', 'Entries', 'Checked'], logs.map((one) => [one.name, one.host ?? '-', one.size === undefined ? '-' : String(one.size), one.fault ?? 'certificate and checkpoint'])),
    ...(entries.length === 0 ? [soft('No checkpoint covers a request yet.')] : [table('The most recent requests', ['Time', 'Outcome', 'Operation', 'Key', 'Principal', 'Request'],
      entries.map((one) => [one.time, one.errorName ?? one.outcome, one.operation, one.keyStore + '/' + (one.keyId ?? '-'), one.awsPrincipalArn ?? '-', one.kmsRequestId ?? '-']))]))
}

async function showRecords() {
  await part('receipts', 'Receipts', showReceipts)
  await part('policies', 'Policies', showPolicies)
  await part('audit', 'Audit log', showAudit)
}
`
