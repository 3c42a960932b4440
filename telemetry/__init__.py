"""GPU telemetry from DCGM exports through a bounded queue into a database, each reading once.

What lives here: the package and the `telemetry` command. The way of a reading is
`streamer` -> `block` -> `broker` -> `collector` -> `store`; the REST API over `store` is the
package `webapi` beside this one.
"""

__version__ = "0.1.0"
