#!/bin/sh
# Runs after an installation or upgrade. It does not start the service, which needs a certificate first.
# SPDX-License-Identifier: Apache-2.0
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Restarts the service only if it is running. The service drains before it stops.
  systemctl try-restart latchkey.service || true
fi
if [ ! -e /etc/latchkey/latchkey.yaml ]; then
  echo 'latchkey: run "latchkey init --system", then put a certificate in /etc/latchkey/tls (man latchkey)'
fi
