/** Tests the witness policy parser against c2sp.org/tlog-policy. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createNoteSigner, parseVerifierKey } from '../../../src/core/tlog/note.ts'
import { parseLogPolicy } from '../../../src/core/tlog/policy.ts'

const seed = (n: number) => Buffer.alloc(32, n)
const log = createNoteSigner('example.com/log', seed(100)).verifierKey
const NAMES = ['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3']
const keys = NAMES.map(
  (name, i) => createNoteSigner(`${name}.example`, seed(i + 1), 'cosignature').verifierKey,
)
const witnesses = NAMES.map((name, i) => `witness ${name} ${String(keys[i])}`).join('\n')
/** The example from c2sp.org/tlog-policy. */
const EXAMPLE = `# comment
log ${log} https://log.example/

${witnesses}
\tgroup  X-witnesses\t2 X1 X2 X3
group Y-witnesses any Y1 Y2 Y3
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`

void t.test("the specification's example", (t) => {
  const policy = parseLogPolicy(EXAMPLE)
  if (typeof policy === 'string') throw new Error(policy)
  t.match(policy.logs, [{ key: { name: 'example.com/log' }, url: 'https://log.example/' }])
  const isQuorum = (...names: string[]) =>
    policy.isQuorum(
      names.flatMap((name) => parseVerifierKey(keys[NAMES.indexOf(name)] ?? '') ?? []),
    )
  t.ok(isQuorum('X1', 'X3', 'Y2'))
  t.ok(isQuorum(...NAMES))
  t.notOk(isQuorum('X1', 'X2', 'X3'))
  t.notOk(isQuorum('X1', 'Y1', 'Y2', 'Y3'))
  t.notOk(isQuorum())
  t.end()
})

void t.test('a policy without a quorum', (t) => {
  const policy = parseLogPolicy('quorum none')
  t.ok(typeof policy !== 'string' && policy.isQuorum([]))
  t.end()
})

const [x1 = ''] = keys
const FAULTS: readonly (readonly [policy: string, fault: RegExp])[] = [
  ['', /quorum line is missing/],
  ['quorum X1', /line 1: .*defined above/],
  ['quorum none\nquorum none', /line 2: expected only one quorum line/],
  [`log ${x1}\nquorum none`, /line 1: expected the Ed25519 key of a log/],
  [`log ${log}\nlog ${log}\nquorum none`, /line 2: this key is listed twice/],
  [`witness X1 ${log}\nquorum none`, /key of a witness/],
  [`witness none ${x1}\nquorum none`, /expected a name/],
  [`witness X1 ${x1}\nwitness X1 ${String(keys[1])}\nquorum none`, /line 2: .*used twice/],
  [`witness X1 ${x1} nowhere\nquorum none`, /nowhere is not a URL/],
  [`witness X1 ${x1} file:///etc/passwd\nquorum none`, /not a URL/],
  [`witness X1 ${x1}\ngroup G all\nquorum G`, /line 2: expected all, any or a number/],
  [`witness X1 ${x1}\ngroup G 2 X1\nquorum G`, /line 2: expected all, any or a number/],
  [`witness X1 ${x1}\ngroup G 0 X1\nquorum G`, /line 2: expected all, any or a number/],
  [`witness X1 ${x1}\ngroup G any X1 X1\nquorum G`, /already a member/],
  ['group G any none\nquorum none', /none is not defined/],
  ['threshold 1', /found threshold/],
  ['quorum none\r', /control characters/],
]

for (const [policy, fault] of FAULTS) {
  void t.test(`refused: ${JSON.stringify(policy.slice(0, 40))} ${fault.source}`, (t) => {
    t.match(parseLogPolicy(policy), fault)
    t.end()
  })
}
