// Generates parts of docs/configuration.md: settings from the environment, secrets from programs, and reloads.
// SPDX-License-Identifier: Apache-2.0
import { FILES_SECTION } from './files-section.mjs'

const ENVIRONMENT_SECTION = `## Settings from the environment

Environment variables can override or add any setting of the file. The name of a variable is \`LATCHKEY_\` followed by the path of
the setting in upper case: \`__\` separates the parts of the path, \`_\` separates words, and list entries are numbered from 0.

| variable | setting |
|---|---|
| \`LATCHKEY_LISTENER__PORT=9443\` | \`listener.port\` |
| \`LATCHKEY_LISTENER__TIMEOUTS__KEEP_ALIVE=90s\` | \`listener.timeouts.keepAlive\` |
| \`LATCHKEY_KEY_STORES__0__QUOTA__REQUESTS_PER_SECOND=500\` | \`keyStores[0].quota.requestsPerSecond\` |
| \`LATCHKEY_KEY_STORES__0__REGIONS=eu-west-1,eu-west-3\` | \`keyStores[0].regions\`; entries of a list of strings are separated by commas |
| \`LATCHKEY_METRICS={"port":9100}\` | \`metrics\`; a whole section or list entry is written in YAML or JSON |
| \`LATCHKEY_STORE__PATH=null\` | removes \`store.path\` from the file |

- A variable that sets a whole section is applied before variables that set its parts. An empty variable changes nothing.
- If a section allows only one of several settings, as \`store.masterKey\` does, the variable replaces the setting in the file.
- Errors name the variable that caused them. A variable whose name contains \`__\` but matches no setting is an error. Other variables
  that begin with \`LATCHKEY_\`, such as those that Kubernetes sets for a service, are ignored.
- All commands, including \`config check\`, read the variables, so set the same variables for them as for \`serve\`.
- These variables never contain a secret; they only name its source: \`LATCHKEY_STORE__MASTER_KEY__PASSPHRASE__ENV=PASS\`.

`

const PROGRAMS_SECTION = `### Secrets from programs

\`exec\` names a program and its arguments. Latchkey runs the program without a shell and without input, passes it Latchkey's own
environment, and waits up to 30 seconds. The program's standard output is the secret. If the program fails, the error shows the
last line of its standard error.

\`\`\`yaml
store:
  path: latchkey.db
  masterKey:
    passphrase: # HashiCorp Vault, with VAULT_ADDR and VAULT_TOKEN in the environment
      exec: [vault, kv, get, -field=passphrase, secret/latchkey]
\`\`\`

\`\`\`yaml
store:
  path: latchkey.db
  masterKey:
    passphrase: # AWS Secrets Manager, using the role of the host
      exec: [aws, secretsmanager, get-secret-value, --secret-id, latchkey, --query, SecretString, --output, text]
\`\`\`

\`\`\`yaml
store:
  postgres:
    host: db.example.com
    database: latchkey
    user: latchkey
    password: # Amazon RDS with IAM: tokens last 15 minutes, so the program runs for each connection
      exec: [aws, rds, generate-db-auth-token, --hostname, db.example.com, --port, '5432', --username, latchkey]
  masterKey:
    file: master.key
\`\`\`

If a secret is in AWS Secrets Manager, Latchkey can start only while AWS is available. The master key opens the store, so if you want
to be able to stop AWS itself, keep the master key outside AWS. For systemd's \`LoadCredential=\`, Docker secrets and mounted
Kubernetes secrets, use \`file\`.

`

const RELOAD_SECTION = `## Changes while serving

On SIGHUP (\`systemctl reload latchkey\`, \`kill -HUP\`), \`serve\` reads the configuration file again, checks it, and logs the
paths of the changed settings as \`applied\` or \`needsRestart\`. If the file has errors, \`serve\` logs them and changes nothing.

| setting | at SIGHUP |
|---|---|
| \`keyStores\`: key stores that were added, removed or changed, including quotas and \`rotateEvery\` | applied. Unchanged key stores keep their state, and requests in progress finish with their original settings. If a key store is the first to use an entry in \`backends\`, a restart is needed. |
| \`admin.tokens\`, \`admin.clientCertificates.subjects\` | applied from the next request |
| \`logging.level\` | applied |
| \`webhooks\`, and the secrets that they point to | applied from the next message ([webhooks.md](webhooks.md#receivers)) |
| \`backends[].tokens[].pin\`, and the secret that it points to | applied from the next login. If the token refused the previous PIN, the new PIN is tried once. |
| contents of certificate files | reloaded. They are also reloaded within five seconds of a change, without SIGHUP. |
| all other settings, including \`tripwire\` and its rules, the paths of certificates, and all other secrets whose contents changed | need a restart. Until then, the current values stay in use, even in worker processes that are restarted. |

SIGHUP does not change the environment variables of a running process, so a changed unit file or manifest needs a restart.

`

export const SETTINGS_SECTIONS = [
  PROGRAMS_SECTION,
  ENVIRONMENT_SECTION,
  FILES_SECTION,
  RELOAD_SECTION,
].join('')
