#!/bin/sh
# Keys, store and configuration stay, even after a purge: without them nothing that they encrypted can be read again.
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
