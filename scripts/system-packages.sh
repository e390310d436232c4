#!/bin/sh
# See to it that Debian or Ubuntu packages are installed: install what is missing where that is
# allowed, otherwise name it in one line to copy, and stop. Usage: scripts/system-packages.sh NAME...
set -eu

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian or Ubuntu: what these packages bring must be there already: $*" >&2
    exit 0
fi

# A package may go by another name: libglib2.0-0 is provided by libglib2.0-0t64 on newer systems.
installed=$(dpkg-query --show --showformat '${db:Status-Status}, ${Package}, ${Provides}\n' |
    sed -n 's/^installed, //p' | sed 's/([^)]*)//g' | tr -s ', ' '\n')
missing=""
for name in "$@"; do
    echo "$installed" | grep -qxF -- "$name" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "System packages are missing. Install them with this line, then try again:" >&2
    echo "sudo apt-get update && sudo apt-get install --yes --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing system packages:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update --quiet --quiet
# shellcheck disable=SC2086  # one word a package
$sudo apt-get install --quiet --quiet --yes --no-install-recommends $missing >/dev/null
