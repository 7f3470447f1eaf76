#!/bin/sh
# Makes the machine on which it runs one from which an image can be made: the package, settings, and the
# unit before the service that reads the Source.
#
#	provision.sh PACKAGE.deb SETTINGS.yaml SERVICE
set -eu
package=$1
settings=$2
service=$3

# Settings that are there already are replaced below.
dpkg --force-confold -i "$package"
install -m 644 "$settings" /etc/snapsource.yaml
snapsource install --before "$service"
