/**
 * For `node --import …/stop-in-write.js?once=FILE`: if FILE exists, the process removes it and
 * stops itself, as SIGSTOP from outside would, between the gate's last check of an answer and the
 * system call that writes it. With `&unguarded`, the add-on of the lease guard cannot be loaded.
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

/** Stops in the tick that writes: the head is written after the check. */
const http1 = http.ServerResponse.prototype
const writeHead = http1.writeHead as (...given: unknown[]) => http.ServerResponse
http1.writeHead = function (this: http.ServerResponse, ...given: unknown[]) {
  if (given[0] === 200) stopOnce()
  return writeHead.apply(this, given)
}

/** Node has everything and writes at the end of the turn. */
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
