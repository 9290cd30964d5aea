#!/bin/sh
# What the tests need beside Python: Chromium for the page, Java for METEOR and the reference tokenizer, PostgreSQL for
# the database tests, curl for the README's example. Root on Debian gets them installed, and is told so; anybody else
# reads what to install, and the tests that lack a program skip (or fail, if CI=true).
missing=""
command -v chromium >/dev/null || [ -x /usr/bin/chromium ] || missing="$missing chromium chromium-driver"
command -v java >/dev/null || missing="$missing default-jre-headless"
command -v curl >/dev/null || missing="$missing curl"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    echo "Installing with apt-get, for the tests:$missing"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "Some tests need more: install$missing (Debian's names), for example with sudo apt-get install$missing." >&2
