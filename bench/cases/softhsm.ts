/** Latchkey with its key on a SoftHSM2 token. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseExternalKeyId, parseKeyStoreName } from '../../src/core/ids.ts'
import { openAdministration } from '../../src/app/administration.ts'
import { loadConfig } from '../../src/config/load.ts'
import { casesOf } from '../matrix.ts'
import { startLatchkey } from '../servers.ts'
import { PATIENCE, type Workplace } from '../workplace.ts'
import type { BenchServer } from './server.ts'

export const MODULE = '/usr/lib/softhsm/libsofthsm2.so'
export const LABEL = 'latchkey-bench'
export const PIN = '12345678'

export const configFileOf = ({ folder }: Workplace) => join(folder, 'latchkey-softhsm.yaml')

export const softhsm: BenchServer = {
  name: 'softhsm',
  cases: casesOf('softhsm', 'proxy'),
  async prepare(workplace) {
    createToken(workplace.folder)
    writeFileSync(configFileOf(workplace), configuration(workplace.patience))
    const administration = await openAdministration(await loadConfig(configFileOf(workplace)))
    try {
      const [keyStore, keyId] = [
        parseKeyStoreName('demo'),
        parseExternalKeyId(workplace.demo.keyId),
      ]
      if (keyStore === undefined || keyId === undefined) throw new TypeError('names of the demo')
      await administration.keys(keyStore).createKey({ keyId, canEncrypt: true, canDecrypt: true })
    } finally {
      await administration.close()
    }
  },
  start(workplace, certificate) {
    const { certificateFile, privateKeyFile } = workplace.certificate(certificate)
    const logFile = join(workplace.folder, `softhsm-${certificate}.log`)
    return startLatchkey([...[configFileOf(workplace), logFile, certificateFile, privateKeyFile]])
  },
}

/** Creates the token, and sets SOFTHSM2_CONF for this process and its children. */
function createToken(folder: string): void {
  mkdirSync(join(folder, 'tokens'))
  const file = join(folder, 'softhsm2.conf')
  writeFileSync(file, `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\n`)
  process.env['SOFTHSM2_CONF'] = file
  const pins = ['--so-pin', '87654321', '--pin', PIN]
  execFileSync('softhsm2-util', ['--init-token', '--free', '--label', LABEL, ...pins], {
    stdio: 'ignore',
  })
  writeFileSync(join(folder, 'pin'), PIN, { mode: 0o600 })
}

/** Writes a configuration that places the demo's key store on the token. JSON is valid YAML. */
function configuration(patience: string): string {
  return JSON.stringify({
    listener: {
      ...{ host: '127.0.0.1', port: 0 },
      tls: { certificate: 'pki/server.crt', privateKey: 'pki/server.key' },
    },
    backends: [
      {
        ...{ name: 'hsm', kind: 'pkcs11', module: MODULE },
        tokens: [{ label: LABEL, pin: { file: 'pin' } }],
        ...(patience === PATIENCE ? { deadlines: { operation: PATIENCE } } : {}),
      },
    ],
    limits: { requestDeadline: patience },
    keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm' }],
    store: { path: 'latchkey.db', masterKey: { file: 'master.key' } },
  })
}
