/**
 * Preload script for `node --import …/stop-in-write.js?once=FILE`. If FILE exists, the process deletes it and stops
 * itself with SIGSTOP, between the gate's last check of a response and the system call that writes it. With
 * `&unguarded`, the lease guard's add-on cannot be loaded.
 */
// SPDX-License-Identifier: Apache-2.0
import { unlinkSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'

const { searchParams } = new URL(import.meta.url)
const once = searchParams.get('once') ?? ''

function stopOnce(): void {
  try {
    unlinkSync(once)
  } catch {
    return
  }
  process.kill(process.pid, 'SIGSTOP')
}

/** For HTTP/1.1, stop in the event loop turn that writes, because the head is written after the gate's check. */
const http1 = http.ServerResponse.prototype
const writeHead = http1.writeHead as (...given: unknown[]) => http.ServerResponse
http1.writeHead = function (this: http.ServerResponse, ...given: unknown[]) {
  if (given[0] === 200) stopOnce()
  return writeHead.apply(this, given)
}

/** For HTTP/2, stop once Node.js has the response, because Node.js writes it at the end of the turn. */
const response2 = http2.Http2ServerResponse.prototype
const end2 = response2.end as (...given: unknown[]) => http2.Http2ServerResponse
response2.end = function (this: http2.Http2ServerResponse, ...given: unknown[]) {
  const result = end2.apply(this, given)
  if (this.statusCode === 200) stopOnce()
  return result
}

if (searchParams.has('unguarded')) {
  const dlopen = process.dlopen.bind(process)
  process.dlopen = (module: object, file: string, ...more: [flags?: number]) => {
    if (file.endsWith('lease_guard.node')) throw new Error('left out by a test')
    dlopen(module, file, ...more)
  }
}
