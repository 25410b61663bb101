"""In which forms an answer that is masked may come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_kubernetes.accepting import JSON, maskable

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PROTOBUF = "application/vnd.kubernetes.protobuf"


class AcceptingTests(SynchronousTestCase):
    """What is asked for instead of what a client asks for."""

    def test_forms(self) -> None:
        for asked, wanted in (
            ("", JSON),
            ("*/*", JSON),
            (JSON, JSON),
            (f"{PROTOBUF},{JSON}", JSON),
            (f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,{TABLE},{JSON}", f"{TABLE},{JSON}"),
            (f"{PARTIAL}, {PROTOBUF}", PARTIAL),
            ("application/yaml", JSON),
            ("application/json;as=Strange;v=v1;g=meta.k8s.io", JSON),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", JSON),
            ("APPLICATION/JSON;stream=watch", JSON),
            (f"{PROTOBUF};type=watch;q=1, application/cbor-seq", JSON),
        ):
            self.assertEqual(maskable(asked, tables=True), wanted, asked)

    def test_tables_of_kinds_whose_columns_may_show_it(self) -> None:
        self.assertEqual(maskable(f"{TABLE},{JSON}", tables=False), JSON)
        self.assertEqual(maskable(TABLE, tables=False), JSON)

    @given(st.text(max_size=80), st.booleans())
    def test_whatever_is_asked(self, asked: str, tables: bool) -> None:
        for each in maskable(asked, tables=tables).split(","):
            self.assertEqual(each.partition(";")[0], JSON)
