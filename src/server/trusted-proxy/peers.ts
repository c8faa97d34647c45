/** Named peers: the addresses from which a load balancer or a terminator may speak for its callers. */
// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Whether an address, as Node has it, is one of the named peers. */
export type IsPeer = (address: string | undefined) => boolean

/** What IPv4 looks like on a socket that listens on both. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** @param ranges addresses, or networks such as `10.0.0.0/16`, each valid (see isRange) */
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
