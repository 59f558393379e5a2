/* A stand-in for CUDA's runtime library: the processor's memory plays the GPU's. It has what the
   board's files call, with the signatures of cuda_runtime_api.h. */
#include <stdlib.h>
#include <string.h>

int cudaStreamCreate(void **stream) { *stream = stream; return 0; }
int cudaStreamDestroy(void *stream) { (void)stream; return 0; }
int cudaStreamSynchronize(void *stream) { (void)stream; return 0; }
int cudaFree(void *address) { free(address); return 0; }
const char *cudaGetErrorString(int status) { return status == 2 ? "out of memory" : "no error"; }

int cudaMalloc(void **address, size_t size) {
    if (getenv("STANDIN_MEMORY_FULL")) return 2;
    *address = malloc(size);
    return 0;
}

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    (void)kind, (void)stream;
    memcpy(to, from, size);
    return 0;
}
