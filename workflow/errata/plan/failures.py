"""Shorter messages about failed jobs on the screen. Snakemake's log file still contains them in full.

The step has already printed what is wrong. Snakemake then prints the command twice, once with the prefix of every job,
and all inputs and outputs, so that the step's message scrolls away.
"""

import copy
import logging

from snakemake_interface_logger_plugins.common import LogEvent


def shorten_failures(logger: logging.Logger) -> None:
    """Shorten what Snakemake prints about failed jobs from now on.

    Args:
        logger: Snakemake's.
    """
    for handler in logger.handlers:
        # not the handler of a logger plugin, which has its own format
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(_Shorten(handler))


class _Shorten(logging.Filter):
    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        if event == LogEvent.ERROR and "CalledProcessError" in record.getMessage():
            # the message about the failed job follows and contains the same
            return False
        if event == LogEvent.JOB_ERROR:
            short = copy.copy(record)
            short.__dict__.update(input=(), output=())
            if getattr(record, "rule_msg", None) is None:
                short.msg = ""
            self._handler.emit(short)
            return False
        return True
