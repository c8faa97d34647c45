#!/bin/sh
# Keeps the keys, the store and the configuration, even after a purge: without them, encrypted data would be lost.
# SPDX-License-Identifier: Apache-2.0
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
case "$1" in
  remove | purge | 0)
    if [ -d /var/lib/latchkey ]; then
      echo 'latchkey: /etc/latchkey and /var/lib/latchkey stay: without the keys in them, data in AWS cannot be read again'
    fi
    ;;
esac
