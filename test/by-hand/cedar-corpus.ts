/**
 * Runs Cedar's generated corpus through our Cedar wrapper, and exits with code 1 if any result differs. Unpack
 * corpus-tests.tar.gz from cedar-policy/cedar-integration-tests into a folder first:
 *
 *     node .test-build/test/by-hand/cedar-corpus.js FOLDER [COUNT]
 */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadCedar } from '../../src/policy/cedar.ts'
import { runCorpusCase } from '../support/cedar-corpus.ts'

const [folder = '.', count = 'all'] = process.argv.slice(2)
const cedar = await loadCedar()
const cases = readdirSync(join(folder, 'corpus-tests'))
  .filter((name) => /^[0-9a-f]+\.json$/.test(name))
  .slice(0, count === 'all' ? undefined : Number(count))
let agreed = 0
let leftOut = 0
const differences: string[] = []
for (const name of cases) {
  const found = runCorpusCase(cedar, folder, `corpus-tests/${name}`)
  agreed += found.agreed
  leftOut += found.leftOut
  differences.push(...found.differences)
}
process.stdout.write(
  `${String(cases.length)} cases: ${String(agreed)} requests agree, ${String(leftOut)} left out, ${String(differences.length)} differ\n${differences.slice(0, 20).join('\n')}\n`,
)
process.exitCode = differences.length === 0 ? 0 : 1
