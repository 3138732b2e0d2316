#!/bin/sh
# Run by both recipes inside a bare Debian 12 or Ubuntu 22.04 and later, beside the release archive:
# Open MPI, and Contrail in /opt/contrail.
#   install.sh ARCHIVE.tar.gz
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends openmpi-bin openssh-client libstdc++6
rm -rf /var/lib/apt/lists/*
mkdir -p /opt/contrail
tar -xzf "$1" -C /opt/contrail --strip-components=1
ln -sf /opt/contrail/bin/contrail /opt/contrail/bin/contrail-worker /usr/local/bin/
contrail version
