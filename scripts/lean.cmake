# Read by llama.cpp's own CMake project, through CMAKE_PROJECT_llama.cpp_INCLUDE (see scripts/setup).
# The Python bindings never load llama-common (argument parsing, downloads, chat parsers), yet their
# build forces it on; as a plain variable this wins over their cache entry. It is some 40% of the work.
set(LLAMA_BUILD_COMMON OFF)
