"""The results of test cases as JUnit's XML, which every CI service shows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from xml.etree import ElementTree as Xml

from hoopgw.policy.cases import CaseResult
from hoopgw.terminal import printable


def junit(results: Iterable[CaseResult]) -> str:
    """Return the results as one document: a suite for each file, a failure with its reasons."""
    top = Xml.Element("testsuites", name="hoopgw policy test")
    for file, found in groupby(results, key=lambda result: result.file):
        cases = list(found)
        failures = sum(not case.is_passed for case in cases)
        suite = Xml.SubElement(
            top,
            "testsuite",
            name=printable(file),
            tests=str(len(cases)),
            failures=str(failures),
            errors="0",
        )
        for case in cases:
            _case(suite, case)
    Xml.indent(top)
    return Xml.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Xml.Element, case: CaseResult) -> None:
    # Controls and the like are not allowed in XML, however they are escaped.
    element = Xml.SubElement(
        suite,
        "testcase",
        name=printable(case.name),
        classname=printable(case.file.partition(".")[0]),
        file=printable(case.file),
    )
    if case.line:
        element.set("line", str(case.line))
    if not case.is_passed:
        text = "\n".join([case.place, case.asked, *case.explanation.lines()])
        failure = Xml.SubElement(
            element, "failure", message=printable("; ".join(case.problems)), type="policy"
        )
        failure.text = printable(text, keep="\n")
