"""Evidence: records written before an operation runs, kept in a tamper-evident log.

The way of a record::

    worker: SpoolRecorder ──os.write──▶ spool/<worker>-<n>.spool ──read──▶ recorder process
                 ▲                                                            │ one tick
                 └──────────── run/recorder.sock: progress, sync ◀────────────┤
                                                                              ▼
               log/<first leaf>.log (frames) · hashes.* (tree) · checkpoint(s) · index.db

Records do not travel over the socket but through a file of the worker's own: a write to the page
cache survives the worker, is synchronous, costs about a microsecond, and says at once when the disk
is full. The socket only carries what the recorder has taken (`progress`) and wishes for durability
(`sync`).

The rooms inside: `framing` (bytes of spool and log), `merkle` (RFC 6962, pure), `notes` (C2SP
signed notes and checkpoints), `spool` (both ends of a spool), `client` (the worker's recorder),
`segments`, `hashes` and `log` (what the recorder process writes), `index` and `reader` (to find
and read it again), `verification` (what an auditor runs). The formats are described in
hoopgw-recording(5).
"""
