"""The control process, and what talks to it.

The control process is the only writer of the store. It gives tokens, enrols agents, keeps the
docket of reviews, and says how everything stands; it is never on the data path.

In that process: `calls` (what workers may call over ``run/control.sock``), `attendance` (who waits
for which review), `switchboard` (both, with the docket), `site`, `web` and ``api_...`` (HTTPS),
`health`, `metrics`, `enrolment`, `service` (puts it together). In the data worker: `client` (the
connection), `desk` (`spi.Reviews`), `logins` (`spi.Logins`), `live`
(`sessions.living.Sessions`). `local` is for commands of the user who owns the gateway.
"""
