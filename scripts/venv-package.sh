#!/bin/sh
# Makes sure that $PYTHON can make virtual environments. Debian packs that apart (python3.11-venv): root gets it
# installed, and is told so; anybody else gets one sentence on what to install.
"$PYTHON" -c "import ensurepip" 2>/dev/null && exit 0
package="python$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "$PYTHON cannot make virtual environments yet: installing $package with apt-get."
    apt-get update -qq && apt-get install -y -qq "$package" && exit 0
fi
echo "$PYTHON cannot make virtual environments: install $package, for example with sudo apt-get install $package." >&2
exit 1
