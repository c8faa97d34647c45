/** Tests that a configuration, including its secrets, reaches a worker process unchanged. */
// SPDX-License-Identifier: Apache-2.0
import { deserialize, serialize } from 'node:v8'
import { inspect } from 'node:util'
import t from 'tap'
import { Secret } from '../../../src/core/secret.ts'
import { packConfig, unpackConfig } from '../../../src/config/transfer.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'

/** Serializes and deserializes a value, as the channel between two processes does. */
const send = (value: unknown): unknown => deserialize(serialize(value))

void t.test('a configuration arrives as it was sent', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(SMALLEST)
  const received = unpackConfig(send(packConfig(config)))
  t.strictSame(received, config)
  t.throws(() => {
    ;(received as { workers: unknown }).workers = 2
  }, TypeError)
})

void t.test('a passphrase arrives as a secret', async (t) => {
  const { load } = await configFolder(t)
  const text = SMALLEST.replace('{ file: master.key }', '{ passphrase: { env: PASS } }')
  const config = await load(text, { PASS: 'open sesame' })
  const { masterKey } = unpackConfig(send(packConfig(config))).store
  if (masterKey.kind !== 'passphrase') throw new TypeError('no passphrase')
  t.type(masterKey.passphrase, Secret)
  t.equal(masterKey.passphrase.reveal(), 'open sesame')
  t.notMatch(inspect(masterKey), 'sesame')
})

void t.test('so does a binary secret in a list', (t) => {
  const config = { parts: [{ pin: new Secret(Buffer.from([1, 0, 255])) }] }
  const received = unpackConfig(send(packConfig(config as never))) as unknown as typeof config
  const bytes = received.parts[0]?.pin.reveal()
  t.ok(Buffer.isBuffer(bytes))
  t.same([...(bytes ?? [])], [1, 0, 255])
  t.end()
})
