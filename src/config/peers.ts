/** Who may speak for callers: named peers, and what a terminator among them needs besides. */
// SPDX-License-Identifier: Apache-2.0
import { isIPv4, isIPv6 } from 'node:net'
import type { RawConfig } from './schema.ts'

type Report = (path: string, message: string) => void
type ForwardedBy = NonNullable<
  NonNullable<RawConfig['listener']['clientCertificate']>['forwardedBy']
>

/** Networks that never leave the host. */
const LOOPBACK_V4 = /^127\.[\d.]+(\/(8|9|[12]\d|3[0-2]))?$/
const LOOPBACK_V6 = /^::1(\/128)?$/

export function checkPeers({ listener }: RawConfig, fault: Report): void {
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
    // An address alone proves nothing on a network.
    fault(`${path}.certificate`, `is required when a peer is not loopback (${remote})`)
  }
  if (format === 'subject-dn' && verifyHeader === undefined) {
    fault(`${path}.verifyHeader`, 'is required with the format subject-dn')
  }
  if (format === 'xfcc' && verifyHeader !== undefined) {
    fault(`${path}.verifyHeader`, 'is for the format subject-dn: Envoy has no such header')
  }
  if (verifyHeader === header) {
    fault(`${path}.verifyHeader`, `expected another header than ${header}`)
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
