/**
 * Runs Cedar's own hand-written cases through our wrapper, and compares the decisions, the policies that determined
 * them, and the policies that failed.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import t from 'tap'
import { loadCedar } from '../../src/policy/cedar.ts'
import { runCorpusCase } from '../support/cedar-corpus.ts'
import { listFiles, ROOT } from '../support/repository.ts'

const FOLDER = 'test/vectors/cedar'

void t.test('every case of cedar-integration-tests without a 64-bit number agrees', async (t) => {
  const cedar = await loadCedar()
  const paths = listFiles(`${FOLDER}/tests`).filter((path) => path.endsWith('.json'))
  t.ok(paths.length >= 20, `${String(paths.length)} files`)
  let agreed = 0
  for (const path of paths) {
    const found = runCorpusCase(cedar, join(ROOT, FOLDER), path.slice(FOLDER.length + 1))
    t.same(found.differences, [], path)
    agreed += found.agreed
  }
  t.ok(agreed >= 70, `${String(agreed)} requests`)
})
