"""llama.cpp's own server, run from the xllamacpp package: `python -m errata.inference.llamacpp '{"model": ...}'`."""

import json
import os
import signal
import sys
from typing import TypedDict

DEFAULT_PARALLEL = 16
DEFAULT_CONTEXT = 2048


class Options(TypedDict, total=False):
    """Options of the server.

    Attributes:
        model: path of the GGUF file.
        alias: the name that requests use for the model.
        port: on the loopback address.
        parallel: number of slots.
        context: tokens of each slot.
        threads: number of threads; all cores if left out.
        cache: false processes every prompt from its beginning, even if it begins like the slot's last prompt.
    """

    model: str
    alias: str
    port: int
    parallel: int
    context: int
    threads: int
    cache: bool


def main() -> None:
    """Serve until SIGTERM. The key is in the environment, because other users can read a command line."""
    import xllamacpp

    options: Options = json.loads(sys.argv[1])
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        sys.exit(
            f"unknown llama.cpp options: {', '.join(sorted(unknown))}; known are {', '.join(Options.__annotations__)}"
        )
    parallel = options.get("parallel", DEFAULT_PARALLEL)
    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {options["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = options["port"]
    params.api_keys = [os.environ["ERRATA_API_KEY"]]
    params.n_parallel = parallel
    params.n_ctx = parallel * options.get("context", DEFAULT_CONTEXT)
    params.cpuparams.n_threads = options.get("threads", len(os.sched_getaffinity(0)))
    params.cache_prompt = options.get("cache", True)
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(f"serving {options['alias']} at {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # An orderly end would wait for the requests in flight, and nobody waits for their answers.
    os._exit(0)


if __name__ == "__main__":
    # blocked before the server's threads start, so that sigwait gets the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
