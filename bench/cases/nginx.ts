/** nginx with TLS and a fixed body, which shows the cost of the connection alone in a server written in C. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../free-port.ts'
import { FIXED_BODY } from '../fixed-body.ts'
import { casesOf } from '../matrix.ts'
import { readCpuMs, SERVER_CORE } from '../servers.ts'
import type { BenchServer } from './server.ts'

const PROGRAM = '/usr/sbin/nginx'

export const nginx: BenchServer = {
  name: 'nginx',
  cases: casesOf('nginx', 'fixed'),
  prepare() {
    install()
    return Promise.resolve()
  },
  async start(workplace, certificate, transport) {
    const { certificateFile, privateKeyFile } = workplace.certificate(certificate)
    const folder = join(workplace.folder, `nginx-${certificate}-${transport}`)
    mkdirSync(folder)
    const port = await freePort()
    const file = join(folder, 'nginx.conf')
    writeFileSync(file, configuration({ folder, port, certificateFile, privateKeyFile, transport }))
    const child = spawn(
      'taskset',
      ['-c', SERVER_CORE, PROGRAM, '-c', file, '-e', join(folder, 'error.log')],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    )
    await untilListening(port)
    return {
      port,
      cpuMs: () => readCpuMs(workerOf(child.pid ?? 0)),
      async stop() {
        const ended = once(child, 'exit')
        child.kill('SIGTERM')
        await ended
      },
    }
  },
}

/** Installs the package. A temporary policy-rc.d keeps its service from starting. */
function install(): void {
  if (existsSync(PROGRAM)) return
  if (process.getuid?.() !== 0) throw new Error('nginx is not here: apt-get install nginx-light')
  const policy = '/usr/sbin/policy-rc.d'
  const script = [
    `test -e ${policy} || { printf '#!/bin/sh\\nexit 101\\n' > ${policy}; chmod 755 ${policy}; made=1; }`,
    'apt-get update -q && apt-get install -qy --no-install-recommends nginx-light; status=$?',
    `test -z "$made" || rm ${policy}`,
    'exit $status',
  ].join('\n')
  execFileSync('sh', ['-c', script], {
    stdio: 'ignore',
    env: { PATH: process.env['PATH'], DEBIAN_FRONTEND: 'noninteractive' },
  })
}

function configuration(parts: {
  readonly folder: string
  readonly port: number
  readonly certificateFile: string
  readonly privateKeyFile: string
  readonly transport: string
}): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off;
worker_processes 1;
pid ${parts.folder}/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${parts.folder}/${name};`).join(' ')}
  keepalive_timeout 400s;
  keepalive_requests 1000000000;
  server {
    listen 127.0.0.1:${String(parts.port)} ssl${parts.transport === 'h2' ? ' http2' : ''};
    ssl_certificate ${parts.certificateFile};
    ssl_certificate_key ${parts.privateKeyFile};
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    default_type application/json;
    location / { return 200 '${FIXED_BODY}'; }
  }
}
`
}

/** Finds the worker process; the master process only waits. */
function workerOf(master: number): number {
  const children = readFileSync(`/proc/${String(master)}/task/${String(master)}/children`, 'utf8')
  return Number(children.trim().split(' ')[0])
}

const TRIES = 500
const STEP_MS = 20

async function untilListening(port: number): Promise<void> {
  for (let i = 0; i < TRIES; i++) {
    const socket = connect(port, '127.0.0.1')
    const is = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => {
        resolve(true)
      })
      socket.once('error', () => {
        resolve(false)
      })
    })
    socket.destroy()
    if (is) return
    await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
  throw new Error('nginx does not listen: its error.log says why')
}
