/** Allows plain HTTP on loopback only, because elsewhere it can be read and modified in transit. */
// SPDX-License-Identifier: Apache-2.0

/** Loopback host names, in the format of `URL.hostname`; traffic to them never leaves the host. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/** Reports whether messages to this address could be read or modified in transit. */
export function isExposed({ protocol, hostname }: URL): boolean {
  return protocol !== 'https:' && !(protocol === 'http:' && LOOPBACK.test(hostname))
}
