/** Checks that certs/amazon-trust-services.sha256 contains the fingerprints of the Amazon roots that Node.js ships. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import t from 'tap'
import { read } from '../support/repository.ts'

const SUBJECTS = new Map([
  ['AmazonRootCA1.cer', 'Amazon Root CA 1'],
  ['AmazonRootCA2.cer', 'Amazon Root CA 2'],
  ['AmazonRootCA3.cer', 'Amazon Root CA 3'],
  ['AmazonRootCA4.cer', 'Amazon Root CA 4'],
  ['SFSRootCAG2.cer', 'Starfield Services Root Certificate Authority - G2'],
])

void t.test('each root has its fingerprint, in sha256sum format', (t) => {
  const known = new Map(
    rootCertificates.map((pem) => {
      const { subject, raw } = new X509Certificate(pem)
      return [/CN=(.*)$/.exec(subject)?.[1], createHash('sha256').update(raw).digest('hex')]
    }),
  )
  const lines = read('certs/amazon-trust-services.sha256').trimEnd().split('\n')
  t.equal(lines.length, SUBJECTS.size)
  for (const line of lines) {
    const [fingerprint, file = ''] = line.split('  ')
    t.equal(fingerprint, known.get(SUBJECTS.get(file)), file)
    t.match(read('certs/README.md'), file.replace('.cer', ''))
  }
  t.end()
})
