// The table of files in docs/configuration.md: when each is read, and what happens when it is bad.
// SPDX-License-Identifier: Apache-2.0

export const FILES_SECTION = `## Files, and when they are read

| file | read | when it is bad |
|---|---|---|
| the configuration | at the start of each command and of \`serve\` | everything that is wrong with it is listed; nothing starts. A change needs a restart. |
| \`listener.tls.certificate\`, \`.privateKey\` | at the start; then looked at every five seconds, and at SIGHUP | at the start: \`serve\` ends. Later: the pair in use stays, the log says why, and the files are tried again every five seconds. |
| \`listener.clientCertificate.ca\`, \`.forwardedBy.certificate.ca\` | the same; when a certificate is gone from it, the connections that may stand on it are closed | the same |
| \`admin.tls.certificate\`, \`.privateKey\`, \`admin.clientCertificates.ca\` | the same; idle connections are closed when a file changes, and others prove their certificate again | the same |
| \`store.postgres.password.file\` | for each connection to PostgreSQL | that connection fails, and is tried again |
| \`store.postgres.tls.ca\`, \`.certificate\`, \`.privateKey\` | when the store is opened | the store is not opened |
| \`store.masterKey.file\`, \`.passphrase.file\` | when the store is opened | the store is not opened |
| \`backends[].tokens[].pin.file\` | at the start | nothing starts. A rotated PIN needs a restart. |
| \`control.sentinelFile\` | every \`store.pollInterval\`, and when its folder changes | a path that cannot be looked at blocks, as the file does |
| \`control.highWaterFile\` | at the start; written at each change of the store | \`serve\` does not start; later everything is refused while it cannot be written |

`
