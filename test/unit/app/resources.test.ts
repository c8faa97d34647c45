/**
 * Tests the order in which a server reloads its keys, credentials and other resources, and what a failed reload
 * prevents.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type Reloaded, reloadResources } from '../../../src/app/resources.ts'
import { StorageError } from '../../../src/store/database.ts'

const ALL = ['backends', 'credentials', 'dates', 'keystore', 'retired']

/** Returns resources, of which those in `failing` fail to reload, and a list of the reload calls made. */
function withFailures(failing: Readonly<Record<string, StorageError>>) {
  const calls: string[] = []
  const part = (name: string) => ({
    async reload() {
      await Promise.resolve()
      calls.push(name)
      const error = failing[name]
      if (error !== undefined) throw error
    },
  })
  const resources: Reloaded = {
    ...{ keystore: part('keystore'), backends: part('backends') },
    ...{ retired: part('retired'), dates: part('dates') },
    credentials: { ...part('credentials'), forget: () => calls.push('forget') },
  }
  return { resources, calls }
}

const timeout = new StorageError('STORE_TIMEOUT', 'late')
const tampered = new StorageError('STORE_TAMPERED', 'changed')

void t.test('dates and retirements are read before the keys', async (t) => {
  const { resources, calls } = withFailures({})
  await reloadResources(resources)
  t.same(calls.toSorted(), ALL)
  t.same(calls.slice(3).toSorted(), ['backends', 'keystore'])
})

for (const name of ['dates', 'retired']) {
  void t.test(`no key is read if ${name} cannot be read`, async (t) => {
    const { resources, calls } = withFailures({ [name]: timeout })
    await t.rejects(reloadResources(resources), { code: 'STORE_TIMEOUT' })
    t.same(calls.toSorted(), ['credentials', 'dates', 'retired'])
  })
}

void t.test('a credential that cannot be read holds up no key', async (t) => {
  const { resources, calls } = withFailures({ credentials: timeout })
  await t.rejects(reloadResources(resources), { code: 'STORE_TIMEOUT' })
  t.same(calls.toSorted(), ALL)
})

for (const name of ALL) {
  void t.test(`no credential is valid after tampering that ${name} found`, async (t) => {
    const { resources, calls } = withFailures({ [name]: tampered })
    await t.rejects(reloadResources(resources), { code: 'STORE_TAMPERED' })
    t.ok(calls.includes('keystore'), 'health then says that nothing is served')
    t.equal(calls.at(-1), 'forget')
  })
}

void t.test('another failure hides no tampering', async (t) => {
  const { resources, calls } = withFailures({ credentials: timeout, retired: tampered })
  await t.rejects(reloadResources(resources), { code: 'STORE_TAMPERED' })
  t.equal(calls.at(-1), 'forget')
})
