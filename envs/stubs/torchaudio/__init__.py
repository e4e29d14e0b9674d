"""Stands in for torchaudio where the environment has none (CPU).

LLaMA-Factory 0.9.5 imports torchaudio whenever it is started, but uses it for audio data only. PyPI's wheels of it are
CUDA builds, which do not import beside a CPU build of torch. Step `train` puts this folder at the end of the module
path, where an installed torchaudio comes first.
"""
