/** Tests a running server's credentials: several at once, and changes without a restart. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../src/core/secret.ts'
import type { Credential } from '../../src/sigv4/credential.ts'
import { checkError } from '../support/answers.ts'
import { storeName } from '../support/credential.ts'
import { KEY_ID, eventually, startTestServer } from '../support/server.ts'
import { openSession, type Session } from '../support/session.ts'
import { encryptBody } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`

const signingOf = ({ accessKeyId, secretAccessKey }: Credential) => ({
  accessKeyId,
  secretAccessKey: secretAccessKey.reveal(),
})

const statusOf = async (session: Session, credential: Credential) =>
  (await session.call(ENCRYPT, encryptBody(), signingOf(credential))).status

void t.test(
  '[AUTH-5] three credentials are active at once, each with its own secret',
  async (t) => {
    const server = await startTestServer(t, { stopped: true })
    const { administration, credential } = server
    const all = [
      credential,
      await administration.credentials.create(credential.keyStore),
      await administration.credentials.create(credential.keyStore),
    ]
    await server.start()
    const session = await openSession(t, server)
    for (const one of all) {
      t.equal(await statusOf(session, one), 200)
      for (const other of all.filter((each) => each !== one)) {
        const crossed = { ...one, secretAccessKey: other.secretAccessKey }
        t.equal(await statusOf(session, crossed), 401, "another one's secret")
      }
    }
    const lines = await server.stopAndReadLog()
    const served = lines.filter(({ status }) => status === 200)
    t.same(
      served.map(({ accessKeyId }) => accessKeyId),
      all.map(({ accessKeyId }) => accessKeyId),
      'and the log says which',
    )
  },
)

void t.test(
  '[AUTH-6] a rotation on one connection: both credentials, then only the new one',
  async (t) => {
    const server = await startTestServer(t)
    const { administration, credential: old } = server
    const session = await openSession(t, server)
    t.equal(await statusOf(session, old), 200)
    const fresh = await administration.credentials.create(old.keyStore)
    await eventually(async () => (await statusOf(session, fresh)) === 200)
    t.equal(await statusOf(session, old), 200, 'the old one goes on')
    await administration.credentials.revoke(old.accessKeyId)
    await eventually(async () => (await statusOf(session, old)) === 401)
    checkError(
      t,
      await session.call(ENCRYPT, encryptBody(), signingOf(old)),
      'AuthenticationFailedException',
    )
    t.equal(await statusOf(session, fresh), 200)
  },
)

void t.test(
  '[AUTH-6] an expiry takes effect on time, and can be postponed or advanced',
  async (t) => {
    const server = await startTestServer(t)
    const { administration, credential } = server
    const session = await openSession(t, server)
    const { accessKeyId } = credential
    await administration.credentials.expire(accessKeyId, Date.now() + 3_600_000)
    t.equal(await statusOf(session, credential), 200, 'an hour to go')
    // The store does not change when the credential expires, so the server must rely on its own clock.
    const at = Date.now() + 1500
    await administration.credentials.expire(accessKeyId, at)
    await eventually(async () => (await statusOf(session, credential)) === 401)
    t.ok(Date.now() >= at, 'not before')
    await administration.credentials.expire(accessKeyId, Date.now() + 3_600_000)
    await eventually(async () => (await statusOf(session, credential)) === 200)
    await administration.credentials.expire(accessKeyId, Date.now())
    await eventually(async () => (await statusOf(session, credential)) === 401)
    const reasons = (await server.stopAndReadLog()).flatMap(({ reason }) => reason ?? [])
    t.same(new Set(reasons), new Set(['CREDENTIAL_EXPIRED']))
  },
)

void t.test('[AUTH-6] a revoked credential stays revoked', async (t) => {
  const server = await startTestServer(t)
  const { administration, credential } = server
  await administration.credentials.revoke(credential.accessKeyId)
  await t.rejects(
    administration.credentials.expire(credential.accessKeyId, Date.now() + 3_600_000),
    { code: 'CREDENTIAL_REVOKED' },
  )
  await server.stop()
  await server.start()
  t.equal(await statusOf(await openSession(t, server), credential), 401, 'also after a restart')
})

const SAMPLES = 200

void t.test('[AUTH-9] ids and secrets have the required form and are unique', async (t) => {
  const { administration } = await startTestServer(t, { stopped: true })
  const ids = new Set<string>()
  const secrets = new Set<string>()
  const letters = new Set<string>()
  for (let i = 0; i < SAMPLES; i++) {
    const created = await administration.credentials.create(storeName('demo'))
    const secret = created.secretAccessKey.reveal()
    if (!/^[A-Z2-7]{20,30}$/.test(created.accessKeyId)) t.fail(created.accessKeyId)
    if (!/^[A-Za-z0-9/+=]{43,64}$/.test(secret)) t.fail('a secret of another form')
    if (Buffer.from(secret, 'base64').length < 32) t.fail('a secret of less than 256 bits')
    ids.add(created.accessKeyId)
    secrets.add(secret)
    for (const letter of created.accessKeyId) letters.add(letter)
  }
  t.equal(ids.size, SAMPLES)
  t.equal(secrets.size, SAMPLES)
  t.equal(letters.size, 32, 'the whole alphabet is used')
})

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

function base32(bytes: Buffer): string {
  const bits = Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('')
  return bits.replace(/.{5}/g, (five) => BASE32.charAt(parseInt(five, 2))).replace(/[01]+$/, '')
}

void t.test('[AUTH-9] an id is neither part of its secret nor derived from it', async (t) => {
  t.equal(base32(Buffer.from('fooba')), 'MZXW6YTB', 'RFC 4648, section 10')
  const { administration } = await startTestServer(t, { stopped: true })
  const { accessKeyId, secretAccessKey } = await administration.credentials.create(
    storeName('demo'),
  )
  const secret = secretAccessKey.reveal()
  const bytes = Buffer.from(secret, 'base64')
  const sources = [bytes, Buffer.from(secret)].flatMap((source) => [
    source,
    ...['md5', 'sha1', 'sha256', 'sha512'].map((name) => createHash(name).update(source).digest()),
  ])
  for (const source of sources) t.notOk(base32(source).includes(accessKeyId.slice(0, 10)))
})

void t.test('[AUTH-9] an id in use is refused in every key store, permanently', async (t) => {
  const server = await startTestServer(t, {
    config: {
      keyStores: [
        { name: 'one', prefix: '/one' },
        { name: 'two', prefix: '/two' },
      ],
    },
    stopped: true,
  })
  const { credentials } = server.administration
  const pair = {
    accessKeyId: server.credential.accessKeyId,
    secretAccessKey: new Secret('another/secret+of+forty+three+characters+12'),
  }
  for (const round of ['active', 'revoked']) {
    for (const name of ['one', 'two'])
      await t.rejects(
        credentials.create(storeName(name), { pair }),
        { code: 'CREDENTIAL_EXISTS' },
        `${round}, ${name}`,
      )
    await credentials.revoke(pair.accessKeyId)
  }
})
