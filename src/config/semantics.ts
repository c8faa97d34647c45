/** Checks what a schema cannot express: how settings depend on each other. */
// SPDX-License-Identifier: Apache-2.0
import { isIPv4, isIPv6 } from 'node:net'
import { toMilliseconds } from '../core/duration.ts'
import type { Fault } from './faults.ts'
import type { RawConfig } from './schema.ts'
import { SOFTWARE } from './sections/backends.ts'
import { checkTripwire } from './tripwire-semantics.ts'

/**
 * Maximum length of XksProxyUriPath, and the part that follows each prefix (XKS 1.0.3, API
 * operations).
 */
const MAX_URI_PATH = 128
const API_ROOT = '/kms/xks/v1'

type Section = keyof RawConfig
type Report = (path: string, message: string) => void

const CHECKS: Partial<Record<Section, (raw: RawConfig, fault: Report) => void>> = {
  listener: checkListener,
  keyStores: checkKeyStores,
  backends: checkBackends,
  admin: checkAdmin,
}

/** @param isSound reports whether a section matches the schema, so its static type can be relied on */
export function checkSemantics(
  raw: RawConfig,
  isSound: (section: Section) => boolean,
): readonly Fault[] {
  const faults: Fault[] = []
  for (const [section, check] of Object.entries(CHECKS)) {
    if (isSound(section as Section)) {
      check(raw, (path, message) => faults.push({ path, message }))
    }
  }
  checkPlace((raw as Partial<RawConfig> | null | undefined)?.store, (path, message) =>
    faults.push({ path, message }),
  )
  checkPorts(raw, isSound, (path, message) => faults.push({ path, message }))
  if (isSound('store') && isSound('backends')) {
    checkMasterKeyBackend(raw, (path, message) => faults.push({ path, message }))
  }
  if (isSound('keyStores') && isSound('backends')) {
    checkKeyStoreBackends(raw, (path, message) => faults.push({ path, message }))
  }
  if (isSound('store') && isSound('control')) {
    checkLease(raw, (path, message) => faults.push({ path, message }))
  }
  if (isSound('tripwire')) {
    const known = isSound('keyStores') ? raw.keyStores.map(({ name }) => name) : undefined
    checkTripwire(raw, known, (path, message) => faults.push({ path, message }))
  }
  return faults
}

/**
 * Checks that no two listeners bind the same port on addresses that are equal or of which one
 * includes the other.
 */
function checkPorts(raw: RawConfig, isSound: (section: Section) => boolean, fault: Report): void {
  // An empty file parses to null, and a missing section counts as sound.
  const { listener, admin, metrics } = (raw as Partial<RawConfig> | null) ?? {}
  const bound = [
    ...(isSound('listener') ? [{ path: 'listener.port', at: listener }] : []),
    ...(isSound('listener') ? [{ path: 'listener.ping.port', at: listener?.ping }] : []),
    ...(isSound('admin') ? [{ path: 'admin.port', at: admin }] : []),
    ...(isSound('metrics') ? [{ path: 'metrics.port', at: metrics }] : []),
  ].flatMap(({ path, at }) => (at === undefined || at.port === 0 ? [] : [{ path, ...at }]))
  bound.forEach(({ path, host, port }, i) => {
    const other = bound.slice(0, i).find((one) => one.port === port && overlap(one.host, host))
    if (other !== undefined)
      fault(path, `expected a port other than that of ${other.path}, found ${String(port)}`)
  })
}

function overlap(one: string, other: string): boolean {
  const hosts = [one, other].map((host) => (host === 'localhost' ? '127.0.0.1' : host))
  // Node.js binds :: for both address families.
  if (hosts[0] === hosts[1] || hosts.includes('::')) return true
  return hosts.includes('0.0.0.0') && !hosts.some(isIPv6)
}

/** Checks that a single late poll cannot cost an instance its lease. */
function checkLease({ control, store }: RawConfig, fault: Report): void {
  if (toMilliseconds(store.pollInterval) * 2 > toMilliseconds(control.lease)) {
    fault(
      'control.lease',
      `expected at least twice store.pollInterval (${store.pollInterval}), found ${control.lease}`,
    )
  }
}

/** Runs even if the section has other errors, so that all errors are reported together. */
function checkPlace(store: unknown, fault: Report): void {
  if (typeof store !== 'object' || store === null) return
  if ('path' in store === 'postgres' in store) {
    fault('store', 'expected exactly one of path, postgres')
  }
}

function checkKeyStores(raw: RawConfig, fault: Report): void {
  checkUnique(raw, 'name', fault)
  checkUnique(raw, 'prefix', fault)
  raw.keyStores.forEach(({ prefix }, i) => {
    const length = prefix.length + API_ROOT.length
    if (length > MAX_URI_PATH) {
      fault(
        `keyStores[${String(i)}].prefix`,
        `expected at most ${String(MAX_URI_PATH - API_ROOT.length)} characters, found ${String(prefix.length)}`,
      )
    }
  })
}

function checkListener(raw: RawConfig, fault: Report): void {
  const { listener } = raw
  const { headers, request } = listener.timeouts
  if (toMilliseconds(headers) >= toMilliseconds(request)) {
    // If the headers timeout exceeded the request timeout, Node.js would silently swap the two.
    fault(
      'listener.timeouts.headers',
      `expected less than listener.timeouts.request (${request}), found ${headers}`,
    )
  }
  const { clientCertificate } = listener
  if (clientCertificate && !clientCertificate.regions && !clientCertificate.subjects) {
    fault('listener.clientCertificate', 'expected regions, subjects or both')
  }
  checkPeers(raw, fault)
}

/** Matches loopback addresses. Traffic to them never leaves the host. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/

function checkAdmin({ admin, keyStores }: RawConfig, fault: Report): void {
  if (admin === undefined) return
  const { host, tls, clientCertificates, tokens = [] } = admin
  if (tls === undefined && !LOOPBACK.test(host))
    fault('admin.tls', `is required when admin.host is not loopback (${host})`)
  if (tls === undefined && clientCertificates !== undefined) {
    fault('admin.clientCertificates', 'requires admin.tls')
  }
  const holders = [
    ...(clientCertificates?.subjects ?? []).map(
      ({ commonName: name, keyStores: limits = [] }, i) => ({
        ...{ name, limits, path: `admin.clientCertificates.subjects[${String(i)}].commonName` },
      }),
    ),
    ...tokens.map(({ name, keyStores: limits = [] }, i) => ({
      ...{ name, limits, path: `admin.tokens[${String(i)}].name` },
    })),
  ]
  holders.forEach(({ name, limits, path }, i) => {
    // In the log and the events, a name must identify one person with one role.
    if (holders.findIndex((other) => other.name === name) < i)
      fault(path, `is already used: ${JSON.stringify(name)}`)
    for (const limit of limits.filter((one) => !keyStores.some((other) => other.name === one)))
      fault(path, `expected names of key stores in keyStores, found ${JSON.stringify(limit)}`)
  })
}

function checkUnique(raw: RawConfig, field: 'name' | 'prefix', fault: Report): void {
  const seen = new Map<string, number>()
  raw.keyStores.forEach((keyStore, i) => {
    const first = seen.get(keyStore[field])
    if (first === undefined) seen.set(keyStore[field], i)
    else {
      fault(
        `keyStores[${String(i)}].${field}`,
        `is already used by keyStores[${String(first)}]: ${JSON.stringify(keyStore[field])}`,
      )
    }
  })
}

type ForwardedBy = NonNullable<
  NonNullable<RawConfig['listener']['clientCertificate']>['forwardedBy']
>

/** Matches loopback networks. Traffic from them never leaves the host. */
const LOOPBACK_V4 = /^127\.[\d.]+(\/(8|9|[12]\d|3[0-2]))?$/
const LOOPBACK_V6 = /^::1(\/128)?$/

function checkPeers({ listener }: RawConfig, fault: Report): void {
  checkRanges(listener.proxyProtocol?.peers ?? [], 'listener.proxyProtocol.peers', fault)
  const forwardedBy = listener.clientCertificate?.forwardedBy
  if (forwardedBy !== undefined) checkForwardedBy(forwardedBy, fault)
}

function checkForwardedBy(forwardedBy: ForwardedBy, fault: Report): void {
  const { peers, certificate, format, header, verifyHeader } = forwardedBy
  const path = 'listener.clientCertificate.forwardedBy'
  checkRanges(peers, `${path}.peers`, fault)
  const remote = peers.find((peer) => !LOOPBACK_V4.test(peer) && !LOOPBACK_V6.test(peer))
  if (certificate === undefined && remote !== undefined) {
    // On a network, an address alone does not prove who the peer is.
    fault(`${path}.certificate`, `is required when a peer is not loopback (${remote})`)
  }
  if (format === 'subject-dn' && verifyHeader === undefined) {
    fault(`${path}.verifyHeader`, 'is required with the format subject-dn')
  }
  if (format === 'xfcc' && verifyHeader !== undefined) {
    fault(`${path}.verifyHeader`, 'applies to the format subject-dn only: Envoy has no such header')
  }
  if (verifyHeader === header) {
    fault(`${path}.verifyHeader`, `expected a header other than ${header}`)
  }
}

function checkRanges(ranges: readonly string[], path: string, fault: Report): void {
  ranges.forEach((range, i) => {
    const [address = '', bits = '0', ...rest] = range.split('/')
    const most = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1
    const isRange = rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= most
    if (!isRange) {
      fault(
        `${path}[${String(i)}]`,
        `expected an address or a network, found ${JSON.stringify(range)}`,
      )
    }
  })
}

function checkBackends({ backends }: RawConfig, fault: Report): void {
  const names = [SOFTWARE, ...backends.map(({ name }) => name)]
  backends.forEach((backend, i) => {
    const path = `backends[${String(i)}]`
    const first = names.indexOf(backend.name)
    if (first <= i) {
      const whose = first === 0 ? 'the embedded keys' : `backends[${String(first - 1)}]`
      fault(`${path}.name`, `is already used by ${whose}: ${JSON.stringify(backend.name)}`)
    }
    const { min, max } = backend.sessions
    if (min > max) {
      fault(
        `${path}.sessions.min`,
        `expected at most sessions.max (${String(max)}), found ${String(min)}`,
      )
    }
    const seen = new Set<string>()
    backend.tokens.forEach(({ label, serial, slot }, j) => {
      const selectors = [label, serial, slot].filter((one) => one !== undefined)
      const own = `${path}.tokens[${String(j)}]`
      if (selectors.length !== 1) fault(own, 'expected exactly one of label, serial, slot')
      const text = JSON.stringify({ label, serial, slot })
      if (seen.has(text)) fault(own, 'is listed twice')
      seen.add(text)
    })
  })
}

function checkKeyStoreBackends(raw: RawConfig, fault: Report): void {
  raw.keyStores.forEach((keyStore, i) => {
    const path = `keyStores[${String(i)}]`
    const backend = raw.backends.find(({ name }) => name === keyStore.backend)
    if (backend === undefined && keyStore.backend !== SOFTWARE) {
      const known = [SOFTWARE, ...raw.backends.map(({ name }) => name)].join(', ')
      fault(
        `${path}.backend`,
        `expected one of ${known}, found ${JSON.stringify(keyStore.backend)}`,
      )
      return
    }
    if (keyStore.rotateEvery !== undefined && backend !== undefined) {
      fault(`${path}.rotateEvery`, 'requires the software backend')
    }
    if (keyStore.accept.length > 0 && backend === undefined) {
      fault(`${path}.accept`, 'requires a backend of kind pkcs11')
    }
    if (keyStore.keyPrefix !== '' && backend?.keys.by !== 'label') {
      fault(`${path}.keyPrefix`, 'requires a backend of kind pkcs11 whose keys are found by label')
    }
  })
}

function checkMasterKeyBackend({ store, backends }: RawConfig, fault: Report): void {
  const { pkcs11 } = store.masterKey
  if (pkcs11 === undefined || backends.some(({ name }) => name === pkcs11.backend)) return
  fault(
    'store.masterKey.pkcs11.backend',
    `expected the name of one of the backends, found ${JSON.stringify(pkcs11.backend)}`,
  )
}
