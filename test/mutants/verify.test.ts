/** Mutation tests for sigv4/verify.ts, where any mistake is a vulnerability. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import ts from 'typescript'
import { killAll, type Mistake } from '../support/mutation/mutation.ts'
import { functionOf } from '../support/mutation/operators.ts'

/** Finds the value of the named property in a function. */
const valueOf =
  (property: string, where: string): Mistake['find'] =>
  (node) =>
    ts.isPropertyAssignment(node.parent) &&
    node === node.parent.initializer &&
    node.parent.name.getText() === property &&
    functionOf(node) === where

const isCallOf = (name: string, node: ts.Node): node is ts.CallExpression =>
  ts.isCallExpression(node) && node.expression.getText().split('.').at(-1) === name

/** Mistakes that the general mutation operators do not produce. */
const MISTAKES: readonly Mistake[] = [
  {
    name: 'the target is not signed',
    find: valueOf('canonicalUri', 'verify'),
    to: "'/'",
  },
  { name: 'the method is not signed', find: valueOf('method', 'verify'), to: "'POST'" },
  {
    name: 'the hash that the caller claims is believed',
    find: (node) => isCallOf('sha256Hex', node),
    to: (node, tree) => `(headers.single('x-amz-content-sha256') ?? ${node.getText(tree)})`,
  },
  {
    name: 'a caller who cannot sign learns that a credential has expired',
    find: (node) => ts.isVariableStatement(node) && node.getText().startsWith('const matches'),
    to: (node, tree) =>
      `if (credential?.expiresAt !== undefined && deps.clock.now() >= credential.expiresAt) fail('CREDENTIAL_EXPIRED', ''); ${node.getText(tree)}`,
  },
  {
    name: 'an invalid date counts as now',
    find: (node) => isCallOf('parseAmzDate', node),
    to: (node, tree) => `(${node.getText(tree)} ?? deps.clock.now())`,
  },
  {
    name: 'a future date will do',
    find: (node) => isCallOf('abs', node),
    to: (node, tree) =>
      `-(${ts.isCallExpression(node) ? (node.arguments[0]?.getText(tree) ?? '') : ''})`,
  },
  {
    name: 'an empty list of regions means any',
    find: (node) =>
      ts.isBinaryExpression(node) &&
      ts.isIdentifier(node.left) &&
      node.left.text === 'regions' &&
      functionOf(node) === 'checkScope',
    to: 'regions?.length',
  },
  {
    name: 'a signed header that is missing is empty',
    find: (node) => ts.isReturnStatement(node) && functionOf(node) === 'readSigned',
    to: "return value ?? ''",
  },
]

const NOBODY =
  'no one can sign with the secret of an unknown credential, and nothing else of it is read'

t.setTimeout(200_000)

void t.test('the tests detect every mistake in sigv4/verify.ts', async (t) => {
  await killAll(t, {
    module: 'src/sigv4/verify.ts',
    tests: ['unit/sigv4/verify-refusals.test.ts', 'unit/sigv4/verify.test.ts'],
    mistakes: MISTAKES,
    atLeast: 140,
    exceptions: [
      ...["accessKeyId: '' as AccessKeyId", "keyStore: '' as KeyStoreName"].map((node) => ({
        where: 'the module',
        name: 'a property is left out',
        node,
        reason: NOBODY,
      })),
      ...["'' as AccessKeyId", "'' as KeyStoreName", "new Secret('')"].map((node) => ({
        where: 'the module',
        name: 'a text is another',
        node,
        reason: NOBODY,
      })),
      {
        where: 'verify',
        name: 'an operand is left out: (deps',
        node: 'credential.expiresAt !== undefined && deps.clock.now() >= credential.expiresAt',
        reason: 'no time is later than undefined',
      },
      {
        where: 'checkDate',
        name: 'an operand is left out: (headers',
        node: "headers.single('x-amz-date') ?? ''",
        reason: 'undefined is no date either',
      },
      {
        where: 'checkDate',
        name: 'a text is another',
        node: "headers.single('x-amz-date') ?? ''",
        reason: 'another text is no date either',
      },
    ],
  })
})

void t.test('the tests detect every mistake in signature comparison', async (t) => {
  const find: Mistake['find'] = (node) => isCallOf('equalBytes', node)
  await killAll(t, {
    module: 'src/sigv4/signing-key.ts',
    tests: ['unit/sigv4/digest.test.ts'],
    appliesTo: (name) => name === 'verify',
    mistakes: [
      {
        name: 'the first half of a signature is enough',
        find,
        to: 'equalBytes(Buffer.from(this.sign(text).slice(0, 32)), Buffer.from(signature.slice(0, 32)))',
      },
      {
        name: 'a signature that is cut off is enough',
        find,
        to: 'this.sign(text).startsWith(signature)',
      },
      { name: 'a signature may go on', find, to: 'signature.startsWith(this.sign(text))' },
    ],
    atLeast: 3,
  })
})
