"""Announce ``twistd --reactor hoopgw``."""

from twisted.application.reactors import Reactor

hoopgw_reactor = Reactor(
    "hoopgw", "hoopgw.transport.reactor", "epoll(7) with direct dispatch of hoopgw's data legs"
)
