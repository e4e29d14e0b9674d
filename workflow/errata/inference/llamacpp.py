"""llama.cpp's own server, run from the xllamacpp package: `python -m errata.inference.llamacpp '{"model": ...}'`."""

import json
import os
import signal
import sys
from typing import TypedDict

DEFAULT_PARALLEL = 16
DEFAULT_CONTEXT = 2048


class Options(TypedDict, total=False):
    """What is served: a GGUF file under a name on a loopback port.

    `parallel` is the number of slots, `context` the tokens of each, `threads` the number of threads (all cores if
    left out). `cache: false` reads every prompt anew, even one that begins as the slot's last one did.
    """

    model: str
    alias: str
    port: int
    parallel: int
    context: int
    threads: int
    cache: bool


def main() -> None:
    """Serve until SIGTERM. The key comes through the environment, since others can read a command line."""
    import xllamacpp

    options: Options = json.loads(sys.argv[1])
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        sys.exit(
            f"unknown llama.cpp options: {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}"
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
    # no orderly end: it would wait for requests under way, which nobody answers any more
    os._exit(0)


if __name__ == "__main__":
    # blocked before the server's threads start, so that the signal waits for sigwait
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
