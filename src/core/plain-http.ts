/** Where plain HTTP is acceptable: only on loopback, because elsewhere it can be read and changed in transit. */
// SPDX-License-Identifier: Apache-2.0

/** Host names that never leave the host, in the form of `URL.hostname`. */
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/** Whether messages to this address could be read or changed in transit. */
export function isExposed({ protocol, hostname }: URL): boolean {
  return protocol !== 'https:' && !(protocol === 'http:' && LOOPBACK.test(hostname))
}
