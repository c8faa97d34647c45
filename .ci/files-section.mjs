// The table of files in docs/configuration.md: when each is read, and what happens when it is invalid.
// SPDX-License-Identifier: Apache-2.0

export const FILES_SECTION = `## Files, and when they are read

| file | read | if it is invalid |
|---|---|---|
| the configuration | at the start of each command and of \`serve\`, and at SIGHUP | At the start, all errors are listed, and nothing starts. At SIGHUP, the log has the errors, and nothing changes. |
| \`listener.tls.certificate\`, \`.privateKey\` | at the start, then every five seconds if changed, and at SIGHUP | At the start, \`serve\` exits. Later, the current pair stays in use, the log says why, and the files are tried again every five seconds. |
| \`listener.clientCertificate.ca\`, \`.forwardedBy.certificate.ca\` | the same; when a certificate was removed, connections that may depend on it are closed | the same |
| \`admin.tls.certificate\`, \`.privateKey\`, \`admin.clientCertificates.ca\` | the same; when a file changes, idle connections are closed, and others must prove their certificate again | the same |
| \`store.postgres.password.file\`, the program of \`.exec\` | for each connection to PostgreSQL | The connection fails, and is tried again. |
| \`store.postgres.tls.ca\`, \`.certificate\`, \`.privateKey\` | for each connection to PostgreSQL, so renewed files need no restart | The connection fails, and is tried again. |
| \`store.masterKey.file\`, \`.passphrase\` | when the store is opened | The store is not opened. |
| \`backends[].tokens[].pin\` | at the start, and at SIGHUP; a new PIN is used at the next login | At the start, nothing starts. At SIGHUP, the log has the error, and nothing changes. |
| PKCS#11 modules, and the files that they read | when a worker process of the module starts | The token is unavailable, and its worker processes are restarted. |
| \`webhooks[].to\`: keys, URLs and authorities | at the start | \`serve\` exits. |
| the files in \`policy.folder\` | at the start, then every five seconds | At the start, \`serve\` exits. Later, the policies in force stay, the log says why, and the files are tried again. |
| \`audit.folder\` | at the start, which creates it and completes logs that a crash left open; then written for each request | At the start, \`serve\` exits. Later, \`audit.mode\` decides: \`buffered\` loses records and counts them, \`strict\` refuses Decrypt. |
| \`control.sentinelFile\` | every \`store.pollInterval\`, and when its folder changes | A path that cannot be read blocks, like the file itself. |
| \`control.highWaterFile\` | at the start; written at each change of the store | \`serve\` does not start. Later, everything is refused while the file cannot be written. |

`
