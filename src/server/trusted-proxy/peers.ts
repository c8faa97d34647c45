/**
 * Named peers: the addresses from which a load balancer or a terminator may speak for its callers.
 */
// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Reports whether an address, as Node formats it, is a named peer. */
export type IsPeer = (address: string | undefined) => boolean

/** Format of an IPv4 address on a dual-stack socket. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** @param ranges valid addresses, or networks such as `10.0.0.0/16` */
export function createIsPeer(ranges: readonly string[]): IsPeer {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits] = range.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return (address) => {
    if (address === undefined) return false
    const plain = MAPPED.exec(address)?.[1] ?? address
    return (isIPv4(plain) && list.check(plain)) || (isIPv6(plain) && list.check(plain, 'ipv6'))
  }
}
