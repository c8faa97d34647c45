// Prints the provenance of images as an in-toto statement with an SLSA v1 predicate. Its content comes from the
// arguments, so the builder must vouch for the statement by signing it with the builder's key or identity.
//   node provenance.mjs --builder ID --revision COMMIT --source URL --epoch SECONDS [--base NAME@sha256:…]…
//   NAME@sha256:…
// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    builder: { type: 'string' },
    revision: { type: 'string' },
    source: { type: 'string' },
    epoch: { type: 'string' },
    base: { type: 'string', multiple: true, default: [] },
  },
})
const { builder, revision, source, epoch, base } = values
if ([builder, revision, source, epoch].includes(undefined) || positionals.length === 0) {
  process.stderr.write(
    'provenance: --builder, --revision, --source, --epoch and an image are required\n',
  )
  process.exit(64)
}

/** @param {string} text NAME@sha256:HEX */
function parseImage(text) {
  const [, name, sha256] = /^(.+)@sha256:([0-9a-f]{64})$/.exec(text) ?? []
  if (name === undefined) throw new Error(`expected NAME@sha256:HEX, found ${text}`)
  return { name, digest: { sha256 } }
}

const statement = {
  _type: 'https://in-toto.io/Statement/v1',
  subject: positionals.map(parseImage),
  predicateType: 'https://slsa.dev/provenance/v1',
  predicate: {
    buildDefinition: {
      buildType: `${source}#docker/release/README.md`,
      externalParameters: { dockerfile: 'docker/Dockerfile', SOURCE_DATE_EPOCH: epoch },
      resolvedDependencies: [
        { uri: `git+${source}`, digest: { gitCommit: revision } },
        ...base.map(parseImage).map(({ name, digest }) => ({ uri: `docker:${name}`, digest })),
      ],
    },
    runDetails: { builder: { id: builder } },
  },
}
process.stdout.write(`${JSON.stringify(statement, undefined, 2)}\n`)
