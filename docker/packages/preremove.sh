#!/bin/sh
# Debian calls this script with "remove" or "upgrade"; RPM calls it with the number of remaining installations.
# SPDX-License-Identifier: Apache-2.0
set -e
case "$1" in
  remove | 0) if [ -d /run/systemd/system ]; then systemctl --no-reload disable --now latchkey.service || true; fi ;;
esac
