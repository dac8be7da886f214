#!/bin/sh
# Fetches the programs that manage name resolution on Debian and Ubuntu into a folder, for test/system/name-resolution.test.ts.
# Nothing is installed: their installation scripts would take over this machine's /etc/resolv.conf.
# Usage: test/support/fetch-resolvers.sh <folder>, then: export IKESTREAM_TEST_RESOLVERS=<folder>
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
debs=$(mktemp -d)
trap 'rm -rf "$debs"' EXIT
cd "$debs"
# The last one for systemd-analyze alone.
for package in systemd-resolved openresolv resolvconf systemd; do
  apt-get -o APT::Sandbox::User="$(id -un)" -q download "$package"
  rm -rf "${folder:?}/$package"
  dpkg-deb -x "$package"_*.deb "$folder/$package"
done
