"""The optional compiled modules; everything else about the package is in setup.cfg.

Each is the twin of plain Python (`hoopgw.transport.accelerated`). Where there is no compiler, the
build says so and goes on without them.
"""

from setuptools import Extension, setup

MODULES = {
    "hoopgw.transport._dispatch": "hoopgw/transport/_dispatch.pyx",
    "hoopgw.recording._batch": "hoopgw/recording/_batch.pyx",
    "hoopgw.http._fields": "hoopgw/http/_fields.pyx",
    "hoopgw.http._heads": "hoopgw/http/_heads.pyx",
    "hoopgw.documents._scan": "hoopgw/documents/_scan.pyx",
    "hoopgw.documents._signs": "hoopgw/documents/_signs.pyx",
    "hoopgw.streams._anchors": "hoopgw/streams/_anchors.pyx",
    "hoopgw.streams._views": "hoopgw/streams/_views.pyx",
    "hoopgw.recording._keep": "hoopgw/recording/_keep.pyx",
    "hoopgw_postgres._shape": "protocols/hoopgw_postgres/_shape.pyx",
    "hoopgw_postgres._at_once": "protocols/hoopgw_postgres/_at_once.pyx",
}

setup(
    ext_modules=[
        # -O3: Debian's Python says -O2, with which gcc 12 leaves loops over bytes as they are.
        Extension(name, [source], extra_compile_args=["-O3", "-g0"], optional=True)
        for name, source in MODULES.items()
    ],
)
