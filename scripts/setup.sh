#!/bin/bash
# Installs what the build, the tests and the demo need and lack. Safe to run again; as root, or with sudo.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    say "this needs root and there is no sudo: $*"
    exit 1
  fi
}

missing=()
[ -x /usr/lib/postgresql/15/bin/postgres ] || missing+=(postgresql-15 postgresql-contrib)
[ -x /usr/lib/postgresql/15/bin/psql ] || missing+=(postgresql-client-15)
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
command -v setpriv >/dev/null 2>&1 || missing+=(util-linux)
command -v cc >/dev/null 2>&1 || missing+=(build-essential)

if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || {
    say "missing: ${missing[*]}; this script installs with apt-get alone, please install them"
    exit 1
  }
  say "installing ${missing[*]}"
  # The tests start their own servers. Debian's packages would start theirs too: say no to both, for as long as the
  # installation lasts, and for its cluster for ever.
  as_root mkdir -p /etc/postgresql-common
  if ! grep -qs '^create_main_cluster *= *false' /etc/postgresql-common/createcluster.conf; then
    as_root sh -c "echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf"
  fi
  policy=/usr/sbin/policy-rc.d
  placed=no
  if [ ! -e "$policy" ]; then
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy"
    placed=yes
  fi
  remove_policy() { [ "$placed" = no ] || as_root rm -f "$policy"; }
  trap remove_policy EXIT
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  remove_policy
  trap - EXIT
fi

[ -x /usr/lib/postgresql/15/bin/postgres ] || {
  say "PostgreSQL 15 is not in /usr/lib/postgresql/15 although apt said it installed it"
  exit 1
}

if ! command -v cargo >/dev/null 2>&1; then
  say "cargo is missing: install Rust (https://rustup.rs), then run this again"
  exit 1
fi
say "everything is here: $(/usr/lib/postgresql/15/bin/postgres --version), $(PATH=$PATH:/usr/sbin pgbouncer --version | head -1), $(cargo --version)"
