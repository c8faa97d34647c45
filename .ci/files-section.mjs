// Generates the table of files in docs/configuration.md: when each file is read, and what happens if it is invalid.
// SPDX-License-Identifier: Apache-2.0

export const FILES_SECTION = `## Files, and when they are read

| file | when it is read | what happens if it is invalid |
|---|---|---|
| the configuration file | when \`serve\` or any other command starts, and at SIGHUP | When starting, the command lists all errors and exits. At SIGHUP, \`serve\` logs the errors and changes nothing. |
| \`listener.tls.certificate\`, \`.privateKey\` | at startup, at SIGHUP, and within five seconds of a change | At startup, \`serve\` exits. Later, the current pair stays in use, \`serve\` logs the reason, and tries the files again every five seconds. |
| \`listener.clientCertificate.ca\`, \`.forwardedBy.certificate.ca\` | as above; if a certificate was removed from a file, connections that may depend on it are closed | as above |
| \`admin.tls.certificate\`, \`.privateKey\`, \`admin.clientCertificates.ca\` | as above; when a file changes, idle connections are closed, and clients on other connections must reconnect before their certificates are accepted again | as above |
| \`store.postgres.password.file\`, the program of \`.exec\` | for each connection to PostgreSQL | The connection fails, and Latchkey tries again. |
| \`store.postgres.tls.ca\`, \`.certificate\`, \`.privateKey\` | for each connection to PostgreSQL, so renewed files need no restart | The connection fails, and Latchkey tries again. |
| \`store.masterKey.file\`, \`.passphrase\` | when \`serve\` or another command opens the store | The process cannot open the store and exits. |
| \`backends[].tokens[].pin\` | at startup and at SIGHUP; a new PIN is used from the next login | At startup, \`serve\` exits. At SIGHUP, \`serve\` logs the error and changes nothing. |
| PKCS#11 modules, and the files that they read | when a worker process starts | The token is unavailable, and its worker processes are restarted. |
| \`webhooks[].to\`: keys and URLs | at startup and at SIGHUP | At startup, \`serve\` exits. At SIGHUP, \`serve\` logs the error and changes nothing. |
| \`webhooks[].to\`: authorities | at startup, and for each message | At startup, \`serve\` exits. Later, the message waits, and \`serve\` tries again. |
| the files in \`policy.folder\` | at startup, then every five seconds | At startup, \`serve\` exits. Later, the current policies stay in force, \`serve\` logs the reason, and tries the files again. |
| \`audit.folder\` | at startup, when \`serve\` creates the folder if necessary and completes logs that a crash left open; after that, \`serve\` writes to it for each request | At startup, \`serve\` exits. Later, the effect depends on \`audit.mode\`: with \`buffered\`, records are lost and counted; with \`strict\`, Decrypt is refused. |
| \`control.sentinelFile\` | every \`store.pollInterval\`, and when the contents of its folder change | If the path cannot be read, the host is blocked, as if the file existed. |
| \`control.highWaterFile\` | at startup; written on every change to the store | At startup, \`serve\` exits. Later, \`serve\` refuses all requests for as long as it cannot write the file. |

`
