/** Each of these wrong lines in gate.ts, rules.ts or lease.ts is noticed by the tests of the gate and the lease. */
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../../support/repository.ts'

const BUILT = join(ROOT, '.test-build')

const MUTANTS: readonly (readonly [file: string, from: string, to: string])[] = [
  ['gate.js', "epoch >= 0 && lease.isHeld() ? undefined : 'LEASE_EXPIRED'", 'undefined'],
  ['gate.js', 'epoch >= 0 && lease.isHeld()', 'lease.isHeld()'],
  ['gate.js', 'general() ?? rules.refusal(subject)', 'rules.refusal(subject)'],
  ['gate.js', 'general() ?? rules.refusal(subject)', 'general()'],
  ['gate.js', "return isOpen ? undefined : 'ACCESS_DEADLINE'", 'return undefined'],
  ['gate.js', 'clock.monotonic() < deadline.monotonicAt &&', ''],
  ['gate.js', '&& clock.now() < deadline.wallAt', ''],
  ['gate.js', 'const code = checkAgain(pass);', 'const code = undefined;'],
  ['gate.js', "rules.isKeyBlocked(subject) && !isKeyBlocked ? 'KILLED_KEY' :", 'false ? null :'],
  ['gate.js', 'rules = next;', ''],
  ['gate.js', 'isGuarded || lease.leftMs() > 0', 'true'],
  ['gate.js', 'isGuarded || lease.leftMs() > 0', 'lease.leftMs() > 0'],
  ['rules.js', 'if ((all & bit) !== 0)', 'if (false)'],
  ['rules.js', '((stores.get(subject.keyStore) ?? 0) & bit) !== 0', 'false'],
  ['rules.js', '(bitsOfKey(subject) & bit) !== 0', 'false'],
  [
    'rules.js',
    "matchers.some((one) => isMatch(one, bit, subject)) ? 'KILLED_MATCH' :",
    'false ? 1 :',
  ],
  ['rules.js', '(bits.get(name) ?? 0) | more', 'more'],
  ['rules.js', 'decrypt: DECRYPT,', 'decrypt: ENCRYPT,'],
  ['lease.js', 'endsAt = askedAt + durationMs', 'endsAt = clock.monotonic() + durationMs'],
  ['lease.js', 'if (!(now < endsAt))', 'if (false)'],
  ['lease.js', 'if (!hasSlept())', 'if (true)'],
  ['lease.js', 'if (hasSlept())', 'if (false)'],
]

t.setTimeout(180_000)

void t.test('no mutant of the gate passes its tests', (t) => {
  // Beside the build, so that it finds the packages.
  const folder = mkdtempSync(join(BUILT, 'mutants-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  for (const part of ['src', 'test/support', 'test/unit/killswitch']) {
    cpSync(join(BUILT, part), join(folder, part), { recursive: true })
  }
  symlinkSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
  const isNoticed = () =>
    ['gate', 'lease'].some((name) => {
      const file = join(folder, `test/unit/killswitch/gate/${name}.test.js`)
      return spawnSync(process.execPath, [file], { stdio: 'ignore' }).status !== 0
    })
  t.notOk(isNoticed(), 'without a mutation they pass')
  for (const [name, from, to] of MUTANTS) {
    const file = join(folder, 'src/killswitch/gate', name)
    const text = readFileSync(file, 'utf8')
    t.ok(text.includes(from), `${name} has: ${from}`)
    writeFileSync(file, text.replace(from, to))
    t.ok(isNoticed(), `${name}: ${from} -> ${to}`)
    writeFileSync(file, text)
  }
  t.end()
})
