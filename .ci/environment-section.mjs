// Parts of docs/configuration.md: settings from the environment, secrets from programs, and reloads.
// SPDX-License-Identifier: Apache-2.0
import { FILES_SECTION } from './files-section.mjs'

const ENVIRONMENT_SECTION = `## Settings from the environment

An environment variable can replace or add every setting of the file. Its name is \`LATCHKEY_\`, then the path of the
setting in capitals: \`__\` separates parts, \`_\` separates words, and entries of lists are counted from 0.

| variable | setting |
|---|---|
| \`LATCHKEY_LISTENER__PORT=9443\` | \`listener.port\` |
| \`LATCHKEY_LISTENER__TIMEOUTS__KEEP_ALIVE=90s\` | \`listener.timeouts.keepAlive\` |
| \`LATCHKEY_KEY_STORES__0__QUOTA__REQUESTS_PER_SECOND=500\` | \`keyStores[0].quota.requestsPerSecond\` |
| \`LATCHKEY_KEY_STORES__0__REGIONS=eu-west-1,eu-west-3\` | \`keyStores[0].regions\`; a list of texts is separated by commas |
| \`LATCHKEY_METRICS={"port":9100}\` | \`metrics\`; sections and entries are YAML or JSON |
| \`LATCHKEY_STORE__PATH=null\` | takes \`store.path\` out of the file |

- A whole section is set before its parts. An empty variable changes nothing.
- If only one of several settings is allowed, as in \`store.masterKey\`, the variable replaces the one in the file.
- Errors name the variable. A variable with \`__\` that names no setting is an error; other names that begin with
  \`LATCHKEY_\` are ignored, such as those that Kubernetes sets for a service.
- Every command reads the variables, \`config check\` included: set them for the commands as for \`serve\`.
- Such a variable never contains a secret; it only says where the secret is: \`LATCHKEY_STORE__MASTER_KEY__PASSPHRASE__ENV=PASS\`.

`

const PROGRAMS_SECTION = `### Secrets from programs

\`exec\` names a program and its arguments. It is run without a shell and without input, with the environment of Latchkey,
for up to 30 seconds; what it prints is the secret. If it fails, the error has the last line of its standard error.

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
    passphrase: # AWS Secrets Manager, with the role of the host
      exec: [aws, secretsmanager, get-secret-value, --secret-id, latchkey, --query, SecretString, --output, text]
\`\`\`

\`\`\`yaml
store:
  postgres:
    host: db.example.com
    database: latchkey
    user: latchkey
    password: # Amazon RDS with IAM: a token that lasts 15 minutes, so the program is run for each connection
      exec: [aws, rds, generate-db-auth-token, --hostname, db.example.com, --port, '5432', --username, latchkey]
  masterKey:
    file: master.key
\`\`\`

A secret in AWS Secrets Manager needs AWS at each start. If you want to be able to stop AWS itself, keep the master key elsewhere, because
it opens the store. The files of systemd's \`LoadCredential=\`, of
Docker secrets and of mounted Kubernetes secrets are \`file\`s.

`

const RELOAD_SECTION = `## Changes while serving

At SIGHUP (\`systemctl reload latchkey\`, \`kill -HUP\`) \`serve\` reads the file again, checks it, and logs the paths of the
changed settings: \`applied\`, and \`needsRestart\`. A file with errors changes nothing: the log has them.

| setting | at SIGHUP |
|---|---|
| \`keyStores\`: added, removed, or changed, quotas included | applied. Unchanged key stores keep their state; requests in progress end as they began. A key store that is the first of its \`backends\` entry needs a restart. |
| \`admin.tokens\`, \`admin.clientCertificates.subjects\` | applied to the next request |
| \`logging.level\` | applied |
| \`backends[].tokens[].pin\`, and the secret that it points to | applied to the next login. If the token has refused the PIN before, the new one is tried once. |
| contents of certificate files | reloaded, as they are every five seconds in any case |
| all others, including the paths of certificates, and secrets whose contents changed | need a restart. The running values stay in use, also in worker processes that are restarted. |

Environment variables are those of the running process: a changed unit file or manifest needs a restart.

`

export const SETTINGS_SECTIONS = [
  PROGRAMS_SECTION,
  ENVIRONMENT_SECTION,
  FILES_SECTION,
  RELOAD_SECTION,
].join('')
