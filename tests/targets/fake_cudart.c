/* A CUDA runtime whose GPU is the host's memory: enough of it to run targets/cudart.py and the TensorRT session.
 *
 * Work on a stream runs at once, except between begin and end of a capture, where it is recorded; launching the
 * executable graph runs the record again. fake_kernel stands for the engine: the mean colour of each image.
 * An event's time is how much was done before it: a millisecond for a kernel, ten for a copy.
 * -DRUNTIME and -DDRIVER are the versions of CUDA it pretends to; with -DOLD it is one from before 11.4. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct { void *to; const void *from; size_t size; } Op; /* size 0: the kernel; `from` is its Kernel */
typedef struct { const unsigned char *image; float *probabilities, *embedding, *known; int count, pixels; } Kernel;
typedef struct { Op ops[32]; int length; } Graph;

#ifndef RUNTIME
#define RUNTIME 12060
#endif
#ifndef DRIVER
#define DRIVER 12060
#endif

static int live, capturing, refuse_capture;
static float now_ms;
static Graph recording;

int fake_live(void) { return live; }
void fake_refuse_capture(int yes) { refuse_capture = yes; }

static void run(const Op *op)
{
    now_ms += op->size ? 10 : 1;
    if (op->size) { memcpy(op->to, op->from, op->size); return; }
    const Kernel *k = op->from;
    for (int n = 0; n < k->count; n++) {
        float sum[3] = {0, 0, 0}, all = 0;
        for (int p = 0; p < k->pixels; p++)
            for (int c = 0; c < 3; c++) sum[c] += k->image[(n * k->pixels + p) * 3 + c];
        for (int c = 0; c < 3; c++) all += sum[c];
        k->known[n] = 0;
        for (int c = 0; c < 3; c++) {
            float share = all > 0 ? sum[c] / all : 1.0f / 3;
            k->probabilities[n * 3 + c] = k->embedding[n * 3 + c] = share;
            if (share > k->known[n]) k->known[n] = share;
        }
    }
}

static int put(Op op)
{
    if (!capturing) { run(&op); return 0; }
    recording.ops[recording.length++] = op;
    return 0;
}

int fake_kernel(void *image, void *probabilities, void *embedding, void *known, int count, int pixels)
{
    Kernel *k = malloc(sizeof *k); /* kept: a graph may look at it later */
    *k = (Kernel){image, probabilities, embedding, known, count, pixels};
    return put((Op){0, k, 0});
}

static int get(void **address, size_t size)
{
    if (size > (1u << 30)) return 2;
    *address = malloc(size ? size : 1);
    live++;
    return 0;
}
static int drop(void *address) { free(address); live--; return 0; }

const char *cudaGetErrorString(int status)
{
    return status == 2 ? "out of memory" : status == 900 ? "operation not permitted when stream is capturing" : "unknown";
}
int cudaMalloc(void **address, size_t size) { return get(address, size); }
int cudaFree(void *address) { return drop(address); }
int cudaHostAlloc(void **address, size_t size, unsigned flags) { (void)flags; return get(address, size); }
int cudaFreeHost(void *address) { return drop(address); }
int cudaStreamCreate(void **stream) { return get(stream, 1); }
int cudaStreamDestroy(void *stream) { return drop(stream); }
int cudaStreamSynchronize(void *stream) { (void)stream; return capturing ? 900 : 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream)
{
    (void)stream;
    return kind == 1 || kind == 2 ? put((Op){to, from, size}) : 21;
}
int cudaStreamBeginCapture(void *stream, int mode)
{
    (void)stream;
    (void)mode;
    capturing = 1;
    recording.length = 0;
    return 0;
}
int cudaStreamEndCapture(void *stream, void **graph)
{
    (void)stream;
    capturing = 0;
    *graph = NULL;
    if (refuse_capture) return 901;
    int status = get(graph, sizeof(Graph));
    memcpy(*graph, &recording, sizeof(Graph));
    return status;
}
#ifndef OLD
int cudaGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
    (void)flags;
    int status = get(executable, sizeof(Graph));
    memcpy(*executable, graph, sizeof(Graph));
    return status;
}
#endif
int cudaGraphLaunch(void *executable, void *stream)
{
    (void)stream;
    const Graph *graph = executable;
    for (int i = 0; i < graph->length; i++) run(&graph->ops[i]);
    return 0;
}
int cudaGraphDestroy(void *graph) { return graph ? drop(graph) : 0; }
int cudaGraphExecDestroy(void *executable) { return drop(executable); }
int cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = 3u << 20;
    *total = 8u << 20;
    return 0;
}
int cudaEventCreate(void **event) { return get(event, sizeof now_ms); }
int cudaEventRecord(void *event, void *stream)
{
    (void)stream;
    *(float *)event = now_ms;
    return capturing ? 900 : 0;
}
int cudaEventElapsedTime(float *milliseconds, void *start, void *end)
{
    *milliseconds = *(float *)end - *(float *)start;
    return 0;
}
int cudaEventDestroy(void *event) { return drop(event); }
int cudaRuntimeGetVersion(int *version) { *version = RUNTIME; return 0; }
int cudaDriverGetVersion(int *version) { *version = DRIVER; return 0; }
