"""The only importer of llama_cpp: thin, typed wrappers over llama.cpp's C interface.

Every NULL and return code is checked here; nothing above this layer sees ctypes. Call order
follows llama.h as shipped in llama-cpp-python 0.3.36.
"""
