#!/bin/sh
# Builds the image, and creates everything that compose.yaml needs: development certificates, secrets, configurations,
# stores, a key and a credential. Run it once. It needs only a container engine. `compose-init.sh hsm` creates the SoftHSM
# token.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
umask 077
etc=docker/compose/etc
compose="docker compose -f docker/compose.yaml"

if [ ! -e "$etc/latchkey.yaml" ]; then
  $compose build proxy-1
  mkdir -p "$etc/softhsm"
  # quickstart creates a development authority and a server certificate for localhost.
  docker run --rm --workdir /out --user "$(id -u):$(id -g)" --volume "$PWD/$etc:/out" latchkey \
    quickstart --dir /out/demo --port 0 --once > /dev/null
  for folder in "$etc" "$etc/softhsm"; do
    cp "$etc/demo/pki/server.crt" "$etc/demo/pki/server.key" "$etc/demo/pki/ca.crt" "$folder/"
  done
  rm -rf "$etc/demo"
  for secret in postgres-password passphrase softhsm/passphrase softhsm/pin; do
    head -c 24 /dev/urandom | base64 | tr -d '\n' > "$etc/$secret"
  done
  cat > "$etc/latchkey.yaml" << YAML
listener:
  port: 8443
  ping: { port: 8080 }
  tls: { certificate: server.crt, privateKey: server.key }
  drain: { delay: 5s, timeout: 10s }
metrics: { host: 0.0.0.0, port: 9464 } # reachable only from the compose network
keyStores: [{ name: main, prefix: /main }]
store:
  postgres:
    host: postgres
    database: latchkey
    user: latchkey
    password: { file: postgres-password }
    tls: { mode: 'off' } # the traffic stays in the compose network
  masterKey: { passphrase: { file: passphrase } }
control:
  sentinelFile: /var/lib/latchkey/stop
  highWaterFile: /var/lib/latchkey/high-water
YAML
  cat > "$etc/softhsm/latchkey.yaml" << YAML
listener:
  port: 8443
  ping: { port: 8080 }
  tls: { certificate: server.crt, privateKey: server.key }
keyStores: [{ name: hsm, prefix: /hsm, backend: softhsm }]
backends:
  - name: softhsm
    kind: pkcs11
    module: /usr/lib/softhsm/libsofthsm2.so
    environment: [SOFTHSM2_CONF=/etc/latchkey/softhsm2.conf]
    tokens: [{ label: latchkey, pin: { file: pin } }]
store:
  path: /var/lib/latchkey/latchkey.db
  masterKey: { passphrase: { file: passphrase } }
YAML
  cat > "$etc/softhsm/softhsm2.conf" << CONF
directories.tokendir = /var/lib/latchkey/tokens
objectstore.backend = file
log.level = ERROR
CONF
  # The images run as uid 1000.
  if [ "$(id -u)" = 0 ]; then
    chown -R 1000:1000 "$etc"
  elif [ "$(id -u)" != 1000 ]; then
    docker run --rm -v "$PWD/$etc:/etc/latchkey" postgres:15-bookworm chown -R 1000:1000 /etc/latchkey
  fi
fi

if [ "${1-}" = hsm ]; then
  run="$compose --profile hsm run --rm"
  # shellcheck disable=SC2016
  $run --entrypoint sh softhsm -c 'mkdir -p /var/lib/latchkey/tokens && pin=$(cat /etc/latchkey/pin) &&
    softhsm2-util --init-token --free --label latchkey --so-pin "$pin" --pin "$pin"'
  $run softhsm init --dir /etc/latchkey
  $run softhsm keys create demo-key
  $run softhsm credentials create
  exit
fi
$compose up -d --wait postgres
$compose run --rm --no-deps proxy-1 init --dir /etc/latchkey
$compose run --rm --no-deps proxy-1 keys create demo-key
$compose run --rm --no-deps --volume "$PWD/$etc:/out" proxy-1 credentials create --output /out/kms-console.json
echo "now: $compose up --build --detach"
