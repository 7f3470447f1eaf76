#!/bin/sh
# For an image without snapsource: downloads the program, and has systemd bring up the Source now and at
# each later boot, before the service that reads it.
set -eu
url=https://downloads.example.com/snapsource-amd64 # the program for the instance's architecture
sha256=0000000000000000000000000000000000000000000000000000000000000000
service=app.service

curl -sSf --retry 5 -o /usr/local/bin/snapsource "$url"
echo "$sha256  /usr/local/bin/snapsource" | sha256sum -c --quiet
chmod 755 /usr/local/bin/snapsource

# In an Auto Scaling group with a launch hook: lifecycle-hook, with its name.
cat >/etc/snapsource.yaml <<'END'
roles: [app]
sources:
  - source: codepen-app
END

# The unit tries again after a temporary failure.
snapsource install --before "$service"
systemctl start "$service"
