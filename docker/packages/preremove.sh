#!/bin/sh
# Debian calls it with "remove" or "upgrade", RPM with the number of installations that stay.
# SPDX-License-Identifier: Apache-2.0
set -e
case "$1" in
  remove | 0) if [ -d /run/systemd/system ]; then systemctl --no-reload disable --now latchkey.service || true; fi ;;
esac
