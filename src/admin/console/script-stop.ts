/** The part of the console's script that stops access, shows acknowledgements and the receipt, and restores access. */
// SPDX-License-Identifier: Apache-2.0

export const STOP_SCRIPT = `
const SCOPES = [['key-store', 'One key store'], ['key', 'One key'], ['account', 'An AWS account'], ['principal', 'A principal'], ['all', 'Everything']]

/** Shows the stop form. Its button works only after a rehearsal and once the name of the scope is typed. */
function showStopForm() {
  const form = h('form', {})
  const isLimited = !state.about.everywhere.includes('stop')
  const kind = h('select', {}, ...options(SCOPES.filter(([scope]) => !isLimited || scope !== 'all')))
  const stores = state.about.stores.filter((one) => one.permissions.includes('stop'))
  const keyStore = h('select', {}, ...options(stores.map(({ name }) => [name, name])))
  const value = h('input', { type: 'text', autocomplete: 'off', spellcheck: false })
  const direction = h('select', {}, ...options([['both', 'Encrypt and decrypt'], ['decrypt', 'Decrypt'], ['encrypt', 'Encrypt']]))
  const reason = h('input', { type: 'text', autocomplete: 'off', maxLength: 500 })
  const name = h('input', { type: 'text', autocomplete: 'off', spellcheck: false })
  const rehearse = h('button', { type: 'button' }, 'Rehearse')
  const stop = h('button', { type: 'submit', className: 'danger', disabled: true }, 'Stop now')
  const result = h('div', { role: 'status', ariaLabel: 'Rehearsal' })
  const outcome = h('div', { role: 'status', ariaLabel: 'Outcome' })
  const storeField = h('div', {}, ...field('stop-key-store', 'Key store', keyStore))
  const valueLabel = h('label', { htmlFor: 'stop-value' }, 'Key id')
  value.id = 'stop-value'
  const valueField = h('div', {}, valueLabel, value)
  const confirmLabel = h('label', { htmlFor: 'stop-name' }, '')
  name.id = 'stop-name'
  const confirm = h('div', { hidden: true }, confirmLabel, name)
  let rehearsed
  let changes = 0

  const toScope = () => {
    if (kind.value === 'all') return { kind: 'all' }
    if (kind.value === 'key-store') return { kind: 'key-store', keyStore: keyStore.value }
    if (kind.value === 'key') return { kind: 'key', keyStore: keyStore.value, keyId: value.value.trim() }
    const criteria = { [kind.value]: value.value.trim() }
    return isLimited ? { kind: 'match', keyStore: keyStore.value, criteria } : { kind: 'match', criteria }
  }
  const toName = () => kind.value === 'all' ? 'all' : kind.value === 'key-store' ? keyStore.value : value.value.trim()
  const check = () => {
    stop.disabled = rehearsed === undefined || reason.value.trim() === '' || name.value.trim() !== toName()
  }
  const reset = () => {
    changes++
    rehearsed = undefined
    confirm.hidden = true
    name.value = ''
    storeField.hidden = !isLimited && !['key-store', 'key'].includes(kind.value)
    valueField.hidden = ['key-store', 'all'].includes(kind.value)
    valueLabel.textContent = { key: 'Key id', account: 'Account, 12 digits', principal: 'Principal ARN; * and ? are wildcards' }[kind.value] ?? ''
    result.replaceChildren()
    check()
  }
  for (const one of [kind, keyStore, value, direction]) one.addEventListener('input', reset)
  for (const one of [reason, name]) one.addEventListener('input', check)

  rehearse.addEventListener('click', async () => {
    const asked = changes
    try {
      const found = await api('POST', '/rehearsals', { scope: toScope(), direction: direction.value })
      // A rehearsal of another scope must not allow this one to be stopped.
      if (asked !== changes) return
      rehearsed = found
      result.replaceChildren(
        h('p', {}, 'In the last hour, ' + count(found.wouldBeRefused, 'request') + ' of ' + found.requests + ' would have been refused. The rehearsal itself refused none.'),
        ...(found.principals.length === 0 ? [] : [table('Callers that would have been refused', ['Principal', 'Requests', 'Last'], found.principals.slice(0, 20).map((one) => [one.name, String(one.requests), toTime(one.lastAt)]))]))
      confirmLabel.textContent = 'Type ' + toName() + ' to confirm'
      confirm.hidden = false
      check()
      name.focus()
      fail()
    } catch (error) { fail(error) }
  })
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    stop.disabled = true
    outcome.replaceChildren(h('p', {}, 'Stopping; waiting for the instances.'))
    let isOver = false
    const watching = setInterval(() => {
      refresh().then(() => {
        const { instances } = state.status
        const done = instances.filter((one) => one.hasAcknowledged).length
        if (!isOver) outcome.firstChild.textContent = 'Stopping: acknowledged by ' + done + ' of ' + count(instances.length, 'instance') + '.'
      }, () => undefined)
    }, 500)
    try {
      const stopped = await api('POST', '/switches', { scope: toScope(), direction: direction.value, reason: reason.value.trim() })
      isOver = true
      outcome.replaceChildren(...describeStop(stopped))
      outcome.firstChild.focus()
      reset()
      reason.value = ''
      fail()
    } catch (error) {
      outcome.replaceChildren()
      fail(error)
    } finally {
      isOver = true
      clearInterval(watching)
      await refresh().catch(fail)
    }
  })
  form.append(
    h('h2', { id: 'stop-title' }, 'Stop'),
    h('p', { className: 'soft' }, 'Rehearse first: a rehearsal does not refuse any requests. A stop takes effect on every instance immediately.'),
    ...field('stop-kind', 'What to stop', kind), storeField, valueField,
    ...field('stop-direction', 'Direction', direction),
    ...field('stop-reason', 'Reason, recorded permanently', reason),
    rehearse, result, confirm, stop)
  $('stop').replaceChildren(outcome, form)
  reset()
}

function describeStop({ state: how, elapsedMs, instances = [], receipt, warning }) {
  return [
    h('h2', { tabIndex: -1 }, how === 'revoked' ? 'Revoked after ' + Math.round(elapsedMs) + ' ms' : 'Written, but not confirmed'),
    ...(warning === undefined ? [] : [h('p', {}, warning)]),
    ...(receipt === undefined
      ? [table('How each instance confirmed the stop', ['Instance', 'Host', 'How', 'After'], instances.map((one) => [one.id.slice(0, 8), one.host, one.how, Math.round(one.afterMs) + ' ms']))]
      : [describeReceipt(receipt)]),
  ]
}

/** Shows a receipt as a document, with a link to the signed file and a button that prints it alone. */
function describeReceipt(receipt) {
  const { statement, publicKey, signature } = receipt
  const facts = [['Receipt', statement.id], ['Stopped', describeScope(statement.scope) + ', ' + (statement.direction === 'both' ? 'encrypt and decrypt' : statement.direction)],
    ['Reason', statement.reason], ['By', statement.operator], ['Stop requested at', toTime(statement.killedAt)],
    ['Revoked at', toTime(statement.revokedAt) + ', ' + statement.timeToRevokeMs + ' ms after the call'],
    ['Last response with data', toTime(statement.lastSuccessAt)], ['Control store', statement.storeId + ', epoch ' + statement.epoch],
    ['Signed with Ed25519 by', publicKey], ['Signature', signature]]
  const print = h('button', { type: 'button' }, 'Print')
  const element = h('article', { className: 'receipt card', ariaLabel: 'Receipt ' + statement.id },
    h('h3', {}, 'Revocation receipt'),
    h('dl', {}, ...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    table('How each instance confirmed the stop', ['Instance', 'Host', 'How', 'After'],
      statement.instances.map((one) => [one.id.slice(0, 8), one.host, one.how, Math.round(one.afterMs) + ' ms'])),
    soft('latchkey receipt verify checks the file with the public key that you were given beforehand.'),
    download('Download the receipt', 'receipt-' + statement.id + '.json', receipt), ' ', print)
  print.addEventListener('click', () => {
    document.body.classList.add('print-receipt')
    element.classList.add('chosen')
    addEventListener('afterprint', () => {
      document.body.classList.remove('print-receipt')
      element.classList.remove('chosen')
    }, { once: true })
    window.print()
  })
  return element
}

/** Returns a button that asks for a typed name before it acts. */
function actButton(text, typed, act, needsReason = true) {
  const button = h('button', { type: 'button' }, text)
  button.addEventListener('click', () => {
    const input = h('input', { type: 'text', autocomplete: 'off', ariaLabel: 'Type ' + typed + ' to confirm' })
    const reason = h('input', { type: 'text', ariaLabel: 'Reason, recorded permanently' })
    const go = h('button', { type: 'button', className: 'danger', disabled: true }, text + ' now')
    const check = () => { go.disabled = input.value.trim() !== typed || (needsReason && reason.value.trim() === '') }
    for (const one of [input, reason]) one.addEventListener('input', check)
    go.addEventListener('click', () => {
      act(reason.value.trim()).then(() => { fail(); return refresh() }).catch(fail)
    })
    button.replaceWith(h('div', { className: 'card' }, h('p', {}, 'Type ' + typed + ' to confirm' + (needsReason ? ', and enter a reason.' : '.')), input, ...(needsReason ? [reason] : []), go))
    input.focus()
  })
  return button
}

function showSwitches({ switches, counts }) {
  const canRestore = state.isUnlocked && may('restore')
  const rows = switches.map((one) => [one.id, describeScope(one.scope), one.direction, toTime(one.createdAt), toTime(one.until), one.operator, one.reason,
    ...(canRestore ? [actButton('Restore', one.id, (reason) => api('POST', '/restorations', { switch: one.id, reason }))] : [])])
  show('switches', 'Switches in force', rows.length === 0
    ? h('p', { className: 'soft' }, 'Nothing is stopped.')
    : table('What is stopped', ['Switch', 'Stops', 'Direction', 'Since', 'Until', 'By', 'Reason', ...(canRestore ? ['Action'] : [])], rows),
    more(switches, counts.switches.total))
}

function describeTarget(target) {
  if (target.kind === 'switches') return 'lift ' + target.switchIds.join(', ')
  return target.kind === 'reopen' ? 'reopen ' + target.keyStore : "end the dead man's switch of " + target.keyStore
}

function showRestorations({ requests, counts }) {
  const rows = requests.map((one) => {
    const path = '/restorations/' + encodeURIComponent(one.id)
    const actions = h('div', {},
      ...(state.isUnlocked && may('restore') ? [actButton('Approve', one.id, () => api('POST', path + '/approve', {}), false)] : []),
      ...(state.isUnlocked && may('stop') ? [actButton('Withdraw', one.id, (reason) => api('POST', path + '/withdraw', { reason }))] : []))
    const approved = one.approval === undefined ? '-' : one.approval.operator
    return [one.id, describeTarget(one.target), one.operator, approved, toTime(one.readyAt), toTime(one.expiresAt), one.reason, actions]
  })
  show('restorations', 'Pending restore requests', rows.length === 0
    ? h('p', { className: 'soft' }, 'No request is pending.')
    : table('Requests awaiting approval by a second person, or the end of their delay', ['Request', 'Effect', 'Requested by', 'Approved by', 'Effective from', 'Expires', 'Reason', 'Action'], rows),
    more(requests, counts.requests))
}
`
