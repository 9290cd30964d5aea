"""Judge pip-audit's report: `pip-audit --format json ... | python -m scripts.audit`. `.ci/audit` runs both.

It exits with status 1 if a package could not be looked up, or if an advisory names a fixed version of a pinned package
and `ACCEPTED` does not say why that version cannot be used.
"""

import json
import sys
from typing import Any

ACCEPTED = {
    # gradio 6.31.0 requires pillow<13. Images are decoded in children without secrets, with limits of time and memory
    # (imgcap/images/sandbox.py). tests/test_audit.py fails once a gradio is pinned that allows 13.
    "pillow": 13,
}
"""Packages and the major version that cannot be used for now. Advisories that an older version fixes still fail."""


def judge(found: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines about what fails the audit, and those about what is accepted.

    Args:
        found: what pip-audit prints as JSON.
    """
    failing, accepted = [], []
    packages = found["dependencies"]
    if not any("vulns" in package for package in packages):
        reasons = [package["skip_reason"] for package in packages] or ["there are no pins"]
        return [f"No package could be looked up; the first answer: {reasons[0]}"], []
    for package in packages:
        name = package["name"].lower()
        if "skip_reason" in package:
            failing.append(f"{name}: not looked up: {package['skip_reason']}")
            continue
        for advisory in package["vulns"]:
            fixes = advisory["fix_versions"]
            line = f"{name} {package['version']}: {advisory['id']}, fixed in {', '.join(fixes) or 'no version yet'}"
            excused = name in ACCEPTED and all(int(fix.partition(".")[0]) >= ACCEPTED[name] for fix in fixes)
            (accepted if excused or not fixes else failing).append(line)
    return failing, accepted


def main() -> int:
    """Print the judgement of the report on standard input, and return the exit status."""
    found = json.load(sys.stdin)
    failing, accepted = judge(found)
    for line in accepted:
        print(f"accepted: {line}")
    for line in failing:
        print(f"FAILS: {line}")
    print(f"{len(found['dependencies'])} packages, {len(accepted)} accepted, {len(failing)} to mend.")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
