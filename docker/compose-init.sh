#!/bin/sh
# Once, before compose.yaml: development certificates, secrets, the configuration, the store, a key and a credential.
# Needs the project built (npm run build) and, for the last step, a container engine.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
umask 077
etc=docker/compose/etc
if [ ! -e "$etc/latchkey.yaml" ]; then
  mkdir -p "$etc"
  # quickstart makes a development authority and a server certificate for localhost.
  node dist/src/main.js quickstart --dir docker/compose/etc/demo --port 0 --once > /dev/null
  cp "$etc/demo/pki/server.crt" "$etc/demo/pki/server.key" "$etc/demo/pki/ca.crt" "$etc/"
  rm -rf "$etc/demo"
  head -c 24 /dev/urandom | base64 | tr -d '\n' > "$etc/postgres-password"
  head -c 32 /dev/urandom | base64 | tr -d '\n' > "$etc/passphrase"
  lines=$(node dist/src/main.js admin token --name prometheus --role viewer --output docker/compose/prometheus-token --json)
  hash=$(printf '%s' "$lines" | sed 's/.*"sha256":"\([0-9a-f]*\)".*/\1/')
  cat > "$etc/latchkey.yaml" <<YAML
listener:
  port: 8443
  ping: { port: 8080 }
  tls: { certificate: server.crt, privateKey: server.key }
  drain: { delay: 5s, timeout: 10s }
keyStores: [{ name: main, prefix: /main }]
store:
  postgres:
    host: postgres
    database: latchkey
    user: latchkey
    password: { file: postgres-password }
    tls: { mode: 'off' } # the network of this compose file only
  masterKey: { passphrase: { file: passphrase } }
control:
  sentinelFile: /var/lib/latchkey/stop
  highWaterFile: /var/lib/latchkey/high-water
admin:
  host: 0.0.0.0
  port: 8444
  tls: { certificate: server.crt, privateKey: server.key }
  tokens: [{ name: prometheus, role: viewer, sha256: $hash }]
YAML
fi
# The images run as uid 1000.
[ "$(id -u)" != 0 ] || chown -R 1000:1000 "$etc" docker/compose/prometheus-token
compose="docker compose -f docker/compose.yaml"
$compose up -d --wait postgres
$compose run --rm --no-deps proxy-1 init --dir /etc/latchkey
$compose run --rm --no-deps proxy-1 keys create demo-key
$compose run --rm --no-deps proxy-1 credentials create > docker/compose/etc/credential.txt
echo "now: $compose up --build   (the credential is in docker/compose/etc/credential.txt)"
