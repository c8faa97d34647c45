/**
 * Sends SIGKILL to a process at random times: acknowledged changes must be in the store, and any other change must be
 * there completely or not at all.
 */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { silentLogger } from '../../src/core/logger.ts'
import type { KeySummary } from '../../src/keys/administration.ts'
import { systemClock as clock } from '../../src/core/clock.ts'
import { openSoftwareKeystore } from '../../src/keys/software/software-keystore.ts'
import { Deadline } from '../../src/core/deadline.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { openStore } from '../../src/store/store.ts'
import { promised, type PromisedBackend } from '../../src/keys/suite/promised-backend.ts'
import { keyId, startTestServer, type TestServer } from '../support/server.ts'
import { startStorm, STORM_AAD, type Change, type Encrypted, type Line } from '../support/storm.ts'
import { keyStoreName } from '../support/store.ts'

const KILLS = 14
const soon = () => new Deadline(clock, 20_000)

/** A key's state as implied by the acknowledgements. */
interface Expected {
  readonly status: string
  /** For each version, in ascending order: whether it still has its key material. */
  readonly versions: readonly boolean[]
  /** Key material of version 1, if it was imported. */
  readonly material?: string
}
type World = ReadonlyMap<string, Expected>

function apply(world: World, change: Change): World {
  const key = world.get(change.keyId) ?? { status: 'ENABLED', versions: [] }
  const next = (): Expected => {
    switch (change.kind) {
      case 'create':
        return { ...key, versions: [true] }
      case 'import':
        return { ...key, versions: [true], material: change.material }
      case 'rotate':
        return { ...key, versions: [...key.versions, true] }
      case 'status':
        return { ...key, status: change.status }
      case 'destroy':
        return { ...key, versions: key.versions.with(change.version - 1, false) }
    }
  }
  return new Map(world).set(change.keyId, next())
}

/** Renders the expected state as `keys list` would, so that any half-finished change shows as a difference. */
function render(world: World): unknown {
  return [...world]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, { status, versions }]) => [
      id,
      status,
      versions.map((whole, i) =>
        i + 1 === versions.length ? 'CURRENT' : whole ? 'PREVIOUS' : 'DESTROYED',
      ),
    ])
}

const renderFound = (keys: readonly KeySummary[]): unknown =>
  keys.map((key) => [key.keyId, key.status, key.versions.map(({ state }) => state)])

interface Storm {
  readonly acknowledged: readonly Line[]
  /** The change that was announced, but neither completed nor refused when the process died. */
  readonly open: Change | undefined
}

/** Runs a storm and kills it after a number of acknowledgements, or during startup. */
async function runStorm(t: Test, configFile: string, killAfter: number): Promise<Storm> {
  const child = startStorm(configFile)
  const { stdout, stderr } = child
  if (stdout === null || stderr === null) throw new TypeError('no pipes')
  let text = ''
  let errors = ''
  let timer: NodeJS.Timeout | undefined
  const killIn = (ms: number) => {
    timer ??= setTimeout(() => child.kill('SIGKILL'), ms)
  }
  if (killAfter === 0) killIn(randomInt(100, 700))
  stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    const done = text.split('\n').filter((line) => /^\{"(?:did|encrypted)"/.test(line)).length
    if (done >= killAfter) killIn(randomInt(12))
  })
  stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const [, signal] = (await once(child, 'close')) as [number | null, string | null]
  clearTimeout(timer)
  t.same([signal, errors], ['SIGKILL', ''], 'it was killed, and had no trouble before')
  // The last line may be incomplete, in which case it is not an acknowledgement.
  const lines = text.split('\n').slice(0, -1)
  const acknowledged = lines.map((line) => JSON.parse(line) as Line)
  const changes = acknowledged.filter((line) => !('encrypted' in line))
  const last = changes.at(-1)
  return { acknowledged, open: last !== undefined && 'will' in last ? last.will : undefined }
}

function follow(world: World, lines: readonly Line[]): World {
  return lines.reduce((so, line) => ('did' in line ? apply(so, line.did) : so), world)
}

async function opens(backend: PromisedBackend, made: Encrypted): Promise<boolean> {
  const bytes = (text: string) => Buffer.from(text, 'base64')
  const { version, iv, ciphertext, tag } = made
  const sealed = { version, iv: bytes(iv), ciphertext: bytes(ciphertext), tag: bytes(tag) }
  const opened = await backend.decrypt({
    ...sealed,
    ...{ keyId: keyId(made.keyId), aad: STORM_AAD, deadline: soon() },
  })
  return opened.equals(bytes(made.plaintext))
}

/** Reports whether `backend` decrypts a ciphertext that node:crypto has encrypted with the imported key material. */
async function hasMaterial(
  backend: PromisedBackend,
  id: string,
  material: string,
): Promise<boolean> {
  const [iv, plaintext] = [randomBytes(12), randomBytes(32)]
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(material, 'base64'), iv)
  cipher.setAAD(STORM_AAD)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  const sealed = { version: 1, iv, ciphertext, tag: cipher.getAuthTag() }
  const request = { ...sealed, keyId: keyId(id), aad: STORM_AAD, deadline: soon() }
  return (await backend.decrypt(request)).equals(plaintext)
}

/** Opens the store as a restarted server would, and compares it with the acknowledged changes. */
async function examine(
  t: Test,
  server: TestServer,
  world: World,
  encrypted: readonly Encrypted[],
): Promise<void> {
  const store = await openStore(await toStoreOptions(server.config))
  const keystore = await openSoftwareKeystore({
    store,
    clock,
    version: '0',
    logger: silentLogger,
  })
  const name = keyStoreName('demo')
  const backend = promised(keystore.backend(name))
  t.match(await backend.health(soon()), [{ status: 'ACTIVE' }])
  const isServed = (id: string, version: number) => {
    const key = world.get(id)
    return key?.status === 'ENABLED' && key.versions[version - 1] === true
  }
  const lost: unknown[] = []
  for (const made of encrypted) {
    if (isServed(made.keyId, made.version) && !(await opens(backend, made))) lost.push(made)
  }
  for (const [id, { material }] of world) {
    if (material === undefined || !isServed(id, 1)) continue
    if (!(await hasMaterial(backend, id, material))) lost.push(id)
  }
  t.same(lost, [], 'every acknowledged ciphertext and import opens')

  const done = new Map<string, number>()
  for (const made of encrypted) {
    const version = `${made.keyId} ${String(made.version)}`
    done.set(version, (done.get(version) ?? 0) + 1)
  }
  const uncounted = (await keystore.administration(name).listKeys()).flatMap((key) =>
    key.versions.filter(
      ({ version, encryptions }) =>
        (encryptions ?? 0) < (done.get(`${key.keyId} ${String(version)}`) ?? 0),
    ),
  )
  t.same(uncounted, [], 'no version has fewer uses counted than were acknowledged')
  await keystore.close()
  await store.close()
}

void t.test('a storm of changes, killed repeatedly', async (t) => {
  const server = await startTestServer(t, { stopped: true })
  const keys = server.administration.keys(keyStoreName('demo'))
  let world: World = follow(new Map(), [{ did: { kind: 'create', keyId: 'test-key' } }])
  const encrypted: Encrypted[] = []
  let changes = 0
  for (let kill = 1; kill <= KILLS; kill++) {
    await t.test(`kill ${String(kill)}`, async (t) => {
      const storm = await runStorm(t, server.configFile, kill % 6 === 0 ? 0 : randomInt(5, 60))
      for (const line of storm.acknowledged) {
        if ('encrypted' in line) encrypted.push(line.encrypted)
        if ('did' in line) changes += 1
      }
      const acknowledged = follow(world, storm.acknowledged)
      const found = renderFound(await keys.listKeys())
      const withOpen = storm.open === undefined ? acknowledged : apply(acknowledged, storm.open)
      const isOpenDone = JSON.stringify(found) === JSON.stringify(render(withOpen))
      world = isOpenDone ? withOpen : acknowledged
      t.same(found, render(world), 'nothing acknowledged is lost, and nothing is half done')
      await examine(t, server, world, encrypted)
    })
  }
  for (const [id, { status }] of world) {
    if (status === 'DISABLED') await keys.setKeyStatus(keyId(id), 'ENABLED')
  }
  const enabled = [...world].map(([id, key]) => [id, { ...key, status: 'ENABLED' }] as const)
  await examine(t, server, new Map(enabled), encrypted)
  t.comment(`${String(changes)} changes and ${String(encrypted.length)} encryptions acknowledged`)
  t.ok(changes >= 30 && encrypted.length >= 50, 'there was a storm')
})
